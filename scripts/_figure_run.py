"""What scripts/make_figure does once it is inside the environment.

Every picture in the figure is computed: X-rays simulated at poses of a training range, the steps of a refinement from a
pose that is off by some degrees and millimetres, and where it ended.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.refinement.pyramid import reduced
from DiffPoseRegistrationLib.workflow.pictures import flattened, resized, windowed, write_png
from DiffPoseRegistrationLib.workflow.register import RegistrationResult, register, renderer_for
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray
from PIL import Image, ImageDraw, ImageFont

REPOSITORY = Path(__file__).resolve().parents[1]
CAMERA = Camera(1020.0, 512, 512, (0.72, 0.72))
HIDDEN = np.array([-14.0, 9.0, 4.0, 12.0, -25.0, 8.0])  # coordinates in the range about AP
START = np.array([0.10, -0.08, 0.12, 10.0, 30.0, -14.0])  # twist from there to where the refinement starts
STAGES = ("12 px", "24 px", "64 px", "256 px")

SIDE, GAP, TITLE, CAPTION = 250, 46, 34, 62
BACKGROUND, INK, MUTED, ACCENT = (255, 255, 255), (30, 36, 44), (96, 104, 114), (214, 120, 20)


def main(argv: list[str]) -> int:
    """Draw the figure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make_figure", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "Resources" / "how-it-works.png")
    out = parser.parse_args(argv).out
    ct = phantom_ct()
    about = PoseRange(view_pose("AP", ct.centre_ras, 765.0), ct.centre_ras, (30, 30, 30), (60, 120, 60))
    true = about.pose(HIDDEN)
    radiation = simulate_xray(ct, CAMERA, true).astype(np.float64)
    xray = XRay(-np.log(np.maximum(radiation, 1) / radiation.max()), CAMERA)
    found = register(ct, xray, initial=rigid.update_pose(true, START, ct.centre_ras))
    captions = (
        "A small network learns poses from X-rays\nsimulated out of the CT.",
        "A rough pose, read by the network or given:\nleft half the X-ray, right half simulated there.",
        "Simulated X-rays with exact derivatives pull\nthe pose, from coarse to fine.",
        f"Verdict {found.verdict}: predicted error {found.predicted_error_mm:.1f} mm,\n"
        f"largest {found.predicted.weak_words}.",
    )
    pictures = (
        _training_page(ct, about),
        _pair(xray, found.views[0].drr_before),
        _stages(ct, xray, found),
        _pair(xray, found.views[0].drr_after),
    )
    panels = list(zip(("1  Prepare", "2  Start", "3  Refine", "4  Judge"), pictures, captions))
    write_png(_figure(panels).quantize(128, dither=0), out)
    print(f"{out}: {out.stat().st_size // 1024} kB")
    return 0


def _training_page(ct: CTVolume, about: PoseRange) -> Image.Image:
    """Nine of the X-rays that the network would learn from."""
    small = CAMERA.resampled(82, 82)
    images = renderer_for(ct).render_batch(small, about.sample(np.random.default_rng(3), 9), 1)
    rows = [np.concatenate([_grey(image, 82) for image in images[n : n + 3]], axis=1) for n in (0, 3, 6)]
    return Image.fromarray(np.concatenate(rows)).resize((SIDE, SIDE))


def _pair(xray: XRay, drr: np.ndarray) -> Image.Image:
    """The X-ray on the left, the simulated one on the right."""
    left, right = _grey(xray.attenuation, SIDE), _grey(drr, SIDE)
    picture = Image.fromarray(np.concatenate([left[:, : SIDE // 2], right[:, SIDE // 2 :]], axis=1)).convert("RGB")
    ImageDraw.Draw(picture).line([(SIDE // 2, 0), (SIDE // 2, SIDE)], fill=ACCENT, width=2)
    return picture


def _stages(ct: CTVolume, xray: XRay, found: RegistrationResult) -> Image.Image:
    """Simulated X-rays at the end of some stages, in the resolution of each."""
    half, renderer = SIDE // 2, renderer_for(ct)
    page = Image.new("RGB", (SIDE, SIDE))
    for n, name in enumerate(STAGES):
        pose = np.array([step["pose"] for step in found.trajectory if step["stage"] == name][-1])
        camera = reduced(xray, int(name.split()[0])).camera
        distance = float(np.linalg.norm(pose[:3, 3] - renderer.isocentre))
        image = renderer.render(camera, pose, renderer.level_for(camera, distance))
        tile = Image.fromarray(_grey(image, camera.rows)).resize((half, half), Image.Resampling.NEAREST)
        page.paste(tile, (n % 2 * half, n // 2 * half))
    return page


def _grey(image: np.ndarray, side: int) -> np.ndarray:
    """8-bit [side, side], bone bright."""
    small = resized(image, side, side)
    everywhere = np.ones(small.shape, bool)
    shown = windowed(flattened(small, everywhere), everywhere) if side > 32 else windowed(small, everywhere)
    return np.clip(255 * shown, 0, 255).astype(np.uint8)


def _figure(panels: list[tuple[str, Image.Image, str]]) -> Image.Image:
    width = len(panels) * (SIDE + GAP) - GAP
    page = Image.new("RGB", (width + 2 * GAP // 3, TITLE + SIDE + CAPTION), BACKGROUND)
    draw = ImageDraw.Draw(page)
    heading, text = ImageFont.load_default(19), ImageFont.load_default(12.5)
    for n, (title, picture, caption) in enumerate(panels):
        x = GAP // 3 + n * (SIDE + GAP)
        draw.text((x, 6), title, INK, heading)
        page.paste(picture.convert("RGB"), (x, TITLE))
        draw.multiline_text((x, TITLE + SIDE + 8), caption, MUTED, text, spacing=4)
        if n:
            y, tip = TITLE + SIDE // 2, x - 10
            draw.line([(x - GAP + 10, y), (tip - 8, y)], fill=ACCENT, width=4)
            draw.polygon([(tip, y), (tip - 12, y - 8), (tip - 12, y + 8)], fill=ACCENT)
    return page
