"""The jobs behind the tasks: what goes into each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..jobs import events
from . import dicom_geometry, job_files, xray_facts, xray_node
from .ct_node import PatientCT
from .explanation import XRayExplanation, state_of
from .job_runner import Step

# How far a registration looks around its start, as settings of the job.
SEARCHES: dict[str, dict[str, Any]] = {
    "fast": {"range_deg_mm": [5.0, 15.0]},
    "standard": {},
    "thorough": {"twins": True, "grid_deg_mm": [25.0, 80.0]},
}


@dataclass(frozen=True)
class Effort:
    """How a registration looks for the pose.

    search
        One of SEARCHES.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    distance_tolerance_mm, principal_point_tolerance_px
        How far the geometry that is known of the X-ray may be off, for it to be refined too; 0: it is exact.
    seconds
        When they are over the best pose so far is taken; None: when it is found.

    Raises
    ------
    InputError
        If the search is not known.
    """

    search: str = "standard"
    device: str = "auto"
    distance_tolerance_mm: float = 0.0
    principal_point_tolerance_px: float = 0.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise InputError(
                _("The search {name} is not known; choose one of {names}.").format(
                    name=self.search, names=", ".join(SEARCHES)
                )
            )

    @property
    def refines_geometry(self) -> bool:
        """Whether the X-ray's geometry is refined with its pose."""
        return self.distance_tolerance_mm > 0 or self.principal_point_tolerance_px > 0

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the job."""
        return {
            "device": self.device,
            "distance_tolerance_mm": float(self.distance_tolerance_mm),
            "principal_point_tolerance_px": float(self.principal_point_tolerance_px),
            **({} if self.seconds is None else {"seconds": float(self.seconds)}),
            **SEARCHES[self.search],
        }


def registration(
    ct: PatientCT,
    xrays: Sequence,
    images: Sequence[np.ndarray],
    *,
    model: str | None,
    initial: np.ndarray | None,
    effort: Effort,
    finish: Callable[[list[job_files.RegistrationOutcome]], Any],
    watch: Callable[[events.Event], None],
    undo: Callable[[], None],
    camera_to_lab: Sequence[np.ndarray] | None = None,
) -> Step:
    """The registration of one X-ray, or of several that share one pose.

    Parameters
    ----------
    xrays, images
        X-ray nodes with their geometry, and their pixels [row, column]; copied here.
    model, initial
        A model's file, or the initial pose [4, 4] of the first X-ray.
    effort
        How to look for it.
    finish
        Called with what was found of each X-ray.
    watch, undo
        As of a Step.
    camera_to_lab
        Where [4, 4] each of several X-rays stands.

    Raises
    ------
    InputError
        If there is nothing to start from, or the X-rays say differently what their pixels mean.
    """
    if initial is None and not (model and Path(model).is_file()):
        raise InputError(_("There is no model and no initial pose; prepare a model or give a pose."))
    first, *others = (_grey_values_of(xray) for xray in xrays)
    if any(other != first for other in others):
        raise InputError(
            _("The X-rays say differently what their pixels mean; set Bright pixels and Pixel scale alike.")
        )
    images = [np.array(image) for image in images]
    views: list[dict[str, Any]] = [{"name": f"view-{n + 1}", **_known_of(xray)} for n, xray in enumerate(xrays)]
    if initial is not None:
        views[0]["initial_camera_to_world_ras_mm"] = np.asarray(initial).tolist()
    for view, place in zip(views, camera_to_lab or ()):
        view["camera_to_lab_mm"] = np.asarray(place).tolist()
    settings = {
        **first,
        **({} if initial is None else ct.job_settings),  # a model has its own
        "pictures": False,  # the views show the overlay
        **effort.settings,
        **(views[0] if len(views) == 1 else {"views": views}),
    }

    def make_inputs(folder: Path):
        files = [job_files.write_image(image, folder / f"xray-{n + 1}.nrrd") for n, image in enumerate(images)]
        inputs = {
            "ct": ct.write(folder / "ct.nrrd"),
            "xray": files[0] if len(files) == 1 else files,
            "model": Path(model) if initial is None and model else None,
        }
        return inputs, settings

    def read(result: Path) -> Any:
        folders = [result] if len(views) == 1 else [result / view["name"] for view in views]
        return finish([job_files.RegistrationOutcome.read(folder) for folder in folders])

    return Step("register", make_inputs, read, watch, undo)


def explanation(
    ct: PatientCT,
    xray: slicer.vtkMRMLScalarVolumeNode,
    *,
    initial: np.ndarray,
    within: Sequence[float],
    sheet_px: int,
) -> Step:
    """The comparison of the readings of an X-ray, which is copied here.

    Parameters
    ----------
    initial, within
        The rough pose [4, 4], and how far off (degrees, mm) it may be.
    sheet_px
        Width of the page of pictures.
    """
    image, state = np.array(xray_node.pixels(xray)), state_of(xray)
    settings = {
        **_grey_values_of(xray),
        **_known_of(xray),
        **ct.job_settings,
        "initial_camera_to_world_ras_mm": np.asarray(initial).tolist(),
        "range_deg_mm": [float(value) for value in within],
        "sheet_px": sheet_px,
    }

    def make_inputs(folder: Path):
        file = job_files.write_image(image, folder / "xray.nrrd")
        return {"ct": ct.write(folder / "ct.nrrd"), "xray": file}, settings

    return Step("explain", make_inputs, lambda result: XRayExplanation.read(result, state))


def _grey_values_of(xray: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any]:
    """What the person says about the X-ray's pixels, as settings of a job."""
    return {"polarity": xray_facts.polarity_of(xray), "intensity": xray_facts.intensity_of(xray)}


def _known_of(xray: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any]:
    """The X-ray's geometry and, where its file states it, what its pixels mean, as settings of a job."""
    known = {"camera": xray_node.require_camera(xray).to_json()}
    meaning = dicom_geometry.meaning_of(xray)
    return known if meaning is None else {**known, "meaning": meaning.to_json()}
