"""Folders of one's own X-rays with known poses: ``truth.json`` and the picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..imaging.calibration import read_placement
from ..imaging.camera_file import read_camera, read_entry, read_views
from ..imaging.pose_file import Truth, read_truth


@dataclass(frozen=True)
class Case:
    """One X-ray with its truth.

    folder, view
        Names of its folder, and of the view where the folder has several, else "".
    ct_name
        File name of the CT that it belongs to.
    camera_to_lab
        Where the camera stands [4, 4] (mm) if its calibration says so.
    """

    folder: str
    view: str
    ct_name: str
    image: Path
    camera: Camera
    truth: Truth
    camera_to_lab: np.ndarray | None = None

    @property
    def name(self) -> str:
        return f"{self.folder}:{self.view}" if self.view else self.folder


@dataclass(frozen=True)
class Exposure:
    """What one trial registers: a case, or the views of a folder together, which share one pose."""

    name: str
    cases: tuple[Case, ...]

    @property
    def ct_name(self) -> str:
        return self.cases[0].ct_name

    @property
    def truth(self) -> Truth:
        """Of the first view."""
        return self.cases[0].truth


def find_cases(folders: Iterable[Path | str], camera: Camera | None = None) -> list[Case]:
    """The cases in ``folders``: each holds a ``truth.json`` and the X-ray that it names (``image``, else
    ``xray.dcm``); a truth with several views gives several cases.

    Parameters
    ----------
    camera
        Instead of the cameras in the truth files.

    Raises
    ------
    InputError
        If a folder holds no case.
    """
    cases = []
    for folder in map(Path, folders):
        truth_file = folder / "truth.json"
        if not truth_file.is_file():
            raise InputError(f"{folder} holds no truth.json; name folders that each hold truth.json and an X-ray.")
        views = read_views(truth_file)
        ct_name = json.loads(truth_file.read_text(encoding="utf-8-sig")).get("ct")
        if not ct_name:
            raise InputError(f"{truth_file} lacks 'ct', the file name of the CT that the case belongs to.")
        for view in views:
            spec = f"{truth_file}:{view}" if view else str(truth_file)
            entry, _ = read_entry(spec, "truth")
            place = read_placement(spec)
            cases.append(
                Case(
                    folder=folder.name,
                    view=view,
                    ct_name=Path(str(ct_name)).name,
                    image=folder / entry.get("image", "xray.dcm"),
                    camera=camera or read_camera(spec),
                    truth=read_truth(spec),
                    camera_to_lab=None if place is None else place.camera_to_lab,
                )
            )
    return cases


def exposures_of(cases: Sequence[Case], together: bool) -> list[Exposure]:
    """An exposure for each case, or, if ``together``, for each folder."""
    exposures: dict[str, list[Case]] = {}
    for case in cases:
        exposures.setdefault(case.folder if together else case.name, []).append(case)
    return [Exposure(name, tuple(of_one)) for name, of_one in exposures.items()]
