"""Trial of the geometry wizard, a quarter of an hour: X-rays turned, mirrored, inverted and wrongly scaled at random.

``scripts/test --slow Testing/trials/test_explain_trials.py`` prints how many of 200 it names.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.camera_file import read_camera
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.picture_change import PictureChange
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.explain import explain, read_both_polarities
from PIL import Image

pytestmark = pytest.mark.slow

TRIALS, LEAST_SHARE = 200, 0.95
CASES = tuple(f"{ct}-{n:02d}" for ct in ("lumbar_pelvis", "skull_phantom", "thorax") for n in range(4))
WRIST = ("cam1", "cam2")


@dataclass(frozen=True)
class Original:
    """An X-ray as it should be."""

    ct: Path
    xray: Path
    camera: Camera | None
    pose: np.ndarray


def _original(shared: Path, name: str) -> Original:
    if name in WRIST:
        wrist = shared / "data" / "wrist"
        camera = read_camera(wrist / f"calibration_{name}.txt")
        return Original(
            wrist / "radius.nrrd", wrist / f"xray_{name}.png", camera, read_pose(f"{wrist}/truth.json:{name}")
        )
    case = shared / "cases" / name
    ct = shared / "data" / "ct" / f"{name[:-3]}.nrrd"
    return Original(ct, case / "xray.dcm", None, read_pose(case / "truth.json"))


def _random_change(rng: np.random.Generator, can_misstate_spacing: bool) -> PictureChange:
    spacing = rng.choice(["stated", "of the patient", "magnified"], p=[0.7, 0.15, 0.15])
    return PictureChange(
        bool(rng.integers(2)),
        int(rng.integers(4)) * 90,
        bool(rng.random() < 0.4),
        str(spacing) if can_misstate_spacing else "stated",
    )


def _write_changed(folder: Path, original: Original, change: PictureChange, isocentre: np.ndarray) -> Path:
    """The X-ray as another program would have left it."""
    if original.camera is not None:
        pixels = change.applied(np.array(Image.open(original.xray)))
        Image.fromarray(255 - pixels if change.inverted else pixels).save(folder / "changed.png")
        return folder / "changed.png"
    file = pydicom.dcmread(original.xray)
    pixels = change.applied(file.pixel_array)
    file.PixelData = np.ascontiguousarray(65535 - pixels if change.inverted else pixels).astype("<u2").tobytes()
    depth = (rigid.inverse(original.pose) @ [*isocentre, 1])[2]
    magnification = float(file.DistanceSourceToDetector) / depth
    factor = {"of the patient": 1 / magnification, "magnified": magnification}.get(change.spacing, 1.0)
    file.ImagerPixelSpacing = [f"{float(value) * factor:.8f}" for value in file.ImagerPixelSpacing]
    file.save_as(folder / "changed.dcm")
    return folder / "changed.dcm"


def _named(renderer, changed: Path, original: Original, change: PictureChange, pose) -> tuple[PictureChange, bool]:
    """What the wizard says happened, and whether that is the truth."""
    both = read_both_polarities(changed, original.camera)
    best = explain(renderer, both, pose)[0].change
    # Of a file without tags the polarity was read off the picture, so right or wrong before the wizard came.
    was_read_inverted = ("air is bright" in both.as_read.provenance["intensity"]) == change.inverted
    return best, best == replace(change, inverted=was_read_inverted)


def test_named_disturbances(shared, tmp_path, capsys):
    rng = np.random.default_rng(8)
    names = [(CASES + WRIST)[n % 14] for n in range(TRIALS)]
    right, controls, wrong = {}, [], []
    for name in dict.fromkeys(names):
        original = _original(shared, name)
        renderer = Renderer(read_ct(original.ct))
        for n in range(names.count(name)):
            change = _random_change(rng, original.camera is None)
            changed = _write_changed(tmp_path, original, change, renderer.isocentre)
            twist = np.r_[np.deg2rad(rng.uniform(-10, 10, 3)), rng.uniform(-20, 20, 3)]
            pose = rigid.update_pose(original.pose, twist, renderer.isocentre)
            said, is_right = _named(renderer, changed, original, change, pose)
            right.setdefault(name, []).append(is_right)
            if not is_right:
                wrong.append(f"{name}: {change.words} was called: {said.words}")
            if n == 0:  # the control: where the pose lies on its side, so must the answer
                on_its_side = pose.copy()
                on_its_side[:3, :3] = pose[:3, :3] @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
                controls.append(_named(renderer, changed, original, change, on_its_side)[1])
    count = sum(map(sum, right.values()))
    with capsys.disabled():
        print(f"\nwizard: {count} of {TRIALS} named; on its side {sum(controls)} of {len(controls)}")
        print("\n".join(wrong))
    assert count >= LEAST_SHARE * TRIALS
    assert not any(controls)
