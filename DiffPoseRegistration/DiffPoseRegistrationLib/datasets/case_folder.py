"""Folders of one's own X-rays with known poses: ``truth.json`` and the picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..imaging.calibration import read_placement
from ..imaging.camera_file import read_camera, read_views
from ..imaging.ct_reader import read_ct
from ..imaging.file_views import read_entry
from ..imaging.pose_file import Truth, read_truth
from ..imaging.xray_reader import read_xray
from .dataset import Dataset, Frame, Prior, Subject


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


def by_ct(
    ct_path: Path, exposures: Sequence[Exposure], say: Callable[[str], None]
) -> list[tuple[Path, list[Exposure]]]:
    """CT files with their exposures, in order of first appearance.

    ``ct_path`` is a CT (a file or a DICOM folder), or a folder of CT files of which each exposure takes the one that it
    names; exposures of other CTs are left out, and ``say`` tells so. Raises InputError if none is left.
    """
    named = list(dict.fromkeys(exposure.ct_name for exposure in exposures))
    is_collection = ct_path.is_dir() and any((ct_path / name).exists() for name in named)
    groups = []
    for name in named:
        theirs = [exposure for exposure in exposures if exposure.ct_name == name]
        path = ct_path / name if is_collection else ct_path
        if (is_collection and not path.exists()) or (not is_collection and name != ct_path.name):
            say(f"Left out {len(theirs)} case(s) of {name}: --ct is {ct_path.name}.")
            continue
        groups.append((path, theirs))
    if not groups:
        raise InputError(
            f"None of the cases belongs to {ct_path}; they name {', '.join(named) or 'no CT'}, so give that file, or "
            "the folder that holds it, as --ct."
        )
    return groups


def read_case_folders(
    ct_path: Path | str,
    folders: Iterable[Path | str],
    *,
    prior: Prior | None = None,
    xray_options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """One's own X-rays as a data set: a subject for each CT. X-rays of one camera share a view, hence a prepared model.

    Parameters
    ----------
    ct_path
        As of :func:`by_ct`.
    folders
        Folders of cases, see :func:`find_cases`, or folders that hold such folders.
    prior
        Where the C-arm may stand in all of them.
    xray_options
        ``frame``, ``intensity``, ``polarity`` of ``read_xray``.

    Raises
    ------
    InputError
        If there are no cases, or no CT of theirs.
    """
    found = [case for folder in map(Path, folders) for case in _below(folder)]
    subjects, cameras = [], []
    for path, exposures in by_ct(Path(ct_path), exposures_of(find_cases(found), together=False), say):
        frames = []
        for case in (exposure.cases[0] for exposure in exposures):
            if case.camera not in cameras:
                cameras.append(case.camera)
            view = f"camera {cameras.index(case.camera) + 1}"
            read = partial(read_xray, case.image, camera=case.camera, **(xray_options or {}))
            frames.append(Frame(case.name, view, case.camera, case.truth, read))
        subjects.append(Subject(exposures[0].ct_name, tuple(frames), partial(read_ct, path)))
    views = [f"camera {n + 1}" for n in range(len(cameras))]
    priors = {} if prior is None else dict.fromkeys(views, prior)
    return Dataset(
        "Own cases", tuple(subjects), ("Cases of one's own, with the poses that their files state.",), priors
    )


def _below(folder: Path) -> list[Path]:
    """The folder itself if it is a case or nothing else, else the cases directly in it."""
    if (folder / "truth.json").is_file() or not folder.is_dir():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/truth.json")) or [folder]
