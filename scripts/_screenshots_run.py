"""What scripts/make_screenshots does once it is inside the environment.

The real panel on the stand-in of Slicer's application, and Slicer's real views: the README's tutorial on the sample
case is gone through by clicking, with a picture at each step (step-1-inputs.png ...), then the panel as a whole
(panel.png), X-ray, C-arm and CT together (registered.png), and the ways to compare (comparison.png).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

REPOSITORY = Path(__file__).resolve().parents[1]
SECTIONS = ("inputs", "geometry", "prepare", "register", "result", "environment")
VIEW_SIZE, TILE_SIZE, PANEL_WIDTH = (600, 460), (390, 300), 610
GAP, MARGIN, BEHIND = 4, 20, (60, 60, 70)
STEPS = 300
COLOURS = 256  # a screenshot hardly shows that there are so few, a repository does


def main(argv: list[str]) -> int:
    """Make the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make_screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "Resources" / "screenshots")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"of the preparation (default {STEPS}: a minute on two cores)"
    )
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(REPOSITORY / "Testing"), str(REPOSITORY / "Testing" / "app")]
    with tempfile.TemporaryDirectory() as folder:
        Session(Path(folder), arguments.out).tutorial(arguments.steps)
    return 0


class Session:
    """Slicer's stand-in with the module shown, and pictures taken of it."""

    def __init__(self, folder: Path, out: Path) -> None:
        import doubles

        self._folder, self._out = folder, out
        application = doubles.install(str(folder))
        import slicer
        from doubles.scripted_module import discover, show_module
        from doubles.views import Views

        slicer.mrmlScene = slicer.vtkMRMLScene()
        logic = application.applicationLogic()
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.GetColorLogic().SetMRMLScene(slicer.mrmlScene)
        logic.GetColorLogic().AddDefaultColorNodes()
        self._application = application
        self._views = Views(logic, VIEW_SIZE)
        self._widget = show_module(discover(REPOSITORY / "DiffPoseRegistration" / "DiffPoseRegistration.py"))
        self._ui = self._widget.ui

    def tutorial(self, steps: int) -> None:
        """Every step of the README's tutorial, and what the README shows besides."""
        import slicer.util
        from DiffPoseRegistrationLib.app import carm_model, sample_data
        from driving import settle, wait_for, wait_for_job

        ui, views = self._ui, self._views
        ct, xray, landmarks, reference = sample_data.make_phantom()
        landmarks.GetDisplayNode().SetVisibility(False)
        ui.ctSelector.setCurrentNode(ct)
        ui.xraySelector.setCurrentNode(xray)
        settle()
        self._step("step-1-inputs", "inputs", "geometry", pictures=(views.slice_picture,))
        views.show_volume_rendering(ct)
        self._look_from_aside(slicer.util.arrayFromTransformMatrix(reference))

        ui.minutesSpinBox.value = 1
        settle()
        # As the button does, but for a number of steps: what is shown then does not depend on the machine's load.
        self._widget.logic.prepare(ct, xray, "AP", minutes=1, steps=steps, wait=False)
        wait_for(lambda: ui.prepareProgressBar.value >= 90 or not self._widget.logic.jobs.state.is_busy, 3600)
        self._step("step-2-prepare", "prepare", pictures=())
        wait_for_job(self._widget)
        self._stop_at_a_problem()

        ui.referenceSelector.setCurrentNode(reference)
        settle()
        ui.registerButton.click()
        wait_for_job(self._widget)
        self._stop_at_a_problem()
        ui.comparisonComboBox.currentIndex = 1
        settle()
        self._step("step-3-register", "register", "result")

        self._step("registered", "inputs", "register", "result")

        ui.ctLandmarksSelector.setCurrentNode(landmarks)
        settle()
        ui.landmarksButton.click()
        settle()
        carm_model.look_from_source(xray, views.camera_node)
        self._step("step-4-landmarks", "result", pictures=(views.three_d_picture,))

        self._step("panel", *SECTIONS[:-1], pictures=())
        tiles = []
        for index in range(ui.comparisonComboBox.count):
            ui.comparisonComboBox.currentIndex = index
            settle()
            tiles.append(self._picture(views.slice_picture).resize(TILE_SIZE))
        tiles.append(self._picture(views.three_d_picture).resize(TILE_SIZE))
        self._save(_beside(tiles), "comparison")
        self._widget.cleanup()

    def _look_from_aside(self, pose: np.ndarray) -> None:
        """Put the 3D camera where the C-arm at ``pose`` [4, 4] and the patient are seen from the side."""
        middle = (pose @ [0, 0, 560, 1])[:3]
        camera = self._views.camera_node
        camera.SetFocalPoint(*middle)
        camera.SetPosition(*(middle + np.array([1700, 800, 600])))
        camera.SetViewUp(0, 0, 1)

    def _step(self, name: str, *sections: str, pictures: Sequence[Any] | None = None) -> None:
        """A page with the panel, of which only ``sections`` are open, beside the views."""
        for section in SECTIONS:
            getattr(self._ui, f"{section}CollapsibleButton").collapsed = section not in sections
        panel = self._panel()
        views = (self._views.slice_picture, self._views.three_d_picture) if pictures is None else pictures
        beside = _below([self._picture(view) for view in views])
        self._save(_beside([panel, *([beside] if beside else [])]), name)

    def _panel(self) -> Image.Image:
        from driving import settle

        parent = self._widget.parent
        labels = [child for child in vars(self._ui).values() if child.objectName.endswith("Label") and child.wordWrap]
        for wrapping in (False, True):
            for label in labels:  # the stand-in's sections do not ask them how high they are when they wrap
                label.minimumHeight = max(label.heightForWidth(label.width), 0) if wrapping else 0
            parent.resize(PANEL_WIDTH, parent.sizeHint().height())
            settle()
            parent.grab()  # lays it out: only then labels have their width
        path = self._folder / "panel.png"
        parent.grab().save(str(path))
        return _without_empty_end(Image.open(path).convert("RGB"))

    def _picture(self, take: Any) -> Image.Image:
        path = self._folder / "view.png"
        take(path)
        return Image.open(path).convert("RGB")

    def _save(self, picture: Image.Image, name: str) -> None:
        path = self._out / f"{name}.png"
        picture.quantize(COLOURS, kmeans=1, dither=0).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size // 1024} kB", flush=True)

    def _stop_at_a_problem(self) -> None:
        if self._widget.logic.problem:
            sys.exit(self._widget.logic.problem)


def _without_empty_end(panel: Image.Image) -> Image.Image:
    """Cut off the empty rows at the bottom, but for a margin."""
    background = Image.new("RGB", panel.size, panel.getpixel((0, panel.height - 1)))
    used = ImageChops.difference(panel, background).getbbox()
    return panel.crop((0, 0, panel.width, min(used[3] + MARGIN, panel.height))) if used else panel


def _beside(pictures: list[Image.Image]) -> Image.Image:
    """From left to right."""
    width = sum(picture.width + GAP for picture in pictures) - GAP
    page = Image.new("RGB", (width, max(picture.height for picture in pictures)), BEHIND)
    x = 0
    for picture in pictures:
        page.paste(picture, (x, 0))
        x += picture.width + GAP
    return page


def _below(pictures: list[Image.Image]) -> Image.Image | None:
    """From top to bottom; None without any."""
    if not pictures:
        return None
    turned = [picture.transpose(Image.Transpose.TRANSPOSE) for picture in pictures]
    return _beside(turned).transpose(Image.Transpose.TRANSPOSE)
