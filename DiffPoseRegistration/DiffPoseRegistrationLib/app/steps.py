"""The jobs behind the tasks: what goes into each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ..errors import InputError
from ..jobs import events
from . import job_files, xray_facts, xray_node
from .ct_node import PatientCT
from .job_runner import Step

# How far a registration looks around its start, as settings of the job.
SEARCHES: dict[str, dict[str, Any]] = {
    "fast": {"range_deg_mm": [5.0, 15.0]},
    "standard": {},
    "thorough": {"twins": True, "grid_deg_mm": [25.0, 80.0]},
}


def registration(
    ct: PatientCT,
    xrays: Sequence,
    images: Sequence[np.ndarray],
    *,
    model: str | None,
    initial: np.ndarray | None,
    search: str,
    device: str,
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
    search
        One of SEARCHES.
    finish
        Called with what was found of each X-ray.
    watch, undo
        As of a Step.
    camera_to_lab
        Where [4, 4] each of several X-rays stands.

    Raises
    ------
    InputError
        If there is nothing to start from, the search is not known, or the X-rays say differently what their pixels
        mean.
    """
    if search not in SEARCHES:
        raise InputError(
            _("The search {name} is not known; choose one of {names}.").format(name=search, names=", ".join(SEARCHES))
        )
    if initial is None and not (model and Path(model).is_file()):
        raise InputError(_("There is no model and no initial pose; prepare a model or give a pose."))
    meanings = {(xray_facts.polarity_of(xray), xray_facts.intensity_of(xray)) for xray in xrays}
    if len(meanings) > 1:
        raise InputError(
            _("The X-rays say differently what their pixels mean; set Bright pixels and Pixel scale alike.")
        )
    ((polarity, intensity),) = meanings
    images = [np.array(image) for image in images]
    views = [{"name": f"view-{n + 1}", "camera": xray_node.require_camera(x).to_json()} for n, x in enumerate(xrays)]
    if initial is not None:
        views[0]["initial_camera_to_world_ras_mm"] = np.asarray(initial).tolist()
    for view, place in zip(views, camera_to_lab or ()):
        view["camera_to_lab_mm"] = np.asarray(place).tolist()
    settings = {
        "polarity": polarity,
        "intensity": intensity,
        "device": device,
        "pictures": False,  # the views show the overlay
        **SEARCHES[search],
        **(views[0] if len(views) == 1 else {"views": views}),
    }

    def make_inputs(folder: Path):
        files = [job_files.write_image(image, folder / f"xray-{n + 1}.nrrd") for n, image in enumerate(images)]
        inputs = {
            "ct": ct.write(folder / "ct.nrrd"),
            "xray": files[0] if len(files) == 1 else files,
            "model": Path(model) if initial is None else None,
        }
        return inputs, settings

    def read(result: Path) -> Any:
        folders = [result] if len(views) == 1 else [result / view["name"] for view in views]
        return finish([job_files.RegistrationOutcome.read(folder) for folder in folders])

    return Step("register", make_inputs, read, watch, undo)
