"""Many registrations against known poses: a row a trial, and what they say together."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.case_folder import Exposure, by_ct, exposures_of, find_cases
from ..errors import Cancelled, InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import perturbed
from ..imaging.ct_reader import read_ct
from ..imaging.values import CTVolume
from ..imaging.xray_reader import read_xray
from .result_file import plain, versions, writable_folder, write_json
from .summary import summarise, write_rows
from .trial import COLUMNS, trial

if TYPE_CHECKING:
    from ..encoder.model_file import PreparedModel
    from ..encoder.training_state import Checkpoints
    from ..refinement.views import View

Progress = Callable[[float, str, float | None], None]

_CHECKPOINT_SECONDS = 10.0
_ROWS = "rows.json"

_COLUMNS = ("ct", "case", "start", *COLUMNS)


def evaluate(
    ct_path: Path | str,
    case_folders: Sequence[Path | str],
    out: Path | str,
    *,
    models: Sequence[PreparedModel] = (),
    perturb: tuple[float, float] | None = None,
    starts: int = 1,
    seed: int = 0,
    method: str = "lm",
    together: bool = False,
    within: tuple[float, float] | None = None,
    device: str = "auto",
    camera: Camera | None = None,
    viewed_from: str | None = None,
    xray_options: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    say: Callable[[str], None] = lambda line: None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, Any]:
    """Register every case and write ``trials.csv`` and ``summary.json`` into ``out``.

    Parameters
    ----------
    ct_path
        A CT (a file or a DICOM folder), or a folder of CT files, of which each case takes the one that its
        truth names. Cases of other CTs are left out, and ``say`` tells so.
    models
        Prepared models; each CT takes the one that was made for it.
    perturb, starts
        Instead of a model: ``starts`` initial poses a case, the true one disturbed by up to (degrees, mm)
        on each axis about the CT's centre. They depend on ``seed`` and the case alone, not on its place in the
        list.
    method
        How to refine, one of ``refinement.methods.METHODS``.
    together
        Whether the views of a folder share one pose: as their cameras' calibration says, else as their true poses do.
        The pose that is disturbed and scored is the first view's.
    within
        A bound (mm, degrees): the share of trials with TRE and rotation error below it is told too.
    camera, viewed_from, xray_options
        Instead of what the truth files say of the cameras; ``frame``, ``intensity``, ``polarity`` of
        ``read_xray``.
    checkpoints
        Where the trials that are done are kept every ten seconds; an evaluation that was stopped goes on there.

    Returns
    -------
    dict
        What ``summary.json`` says.

    Raises
    ------
    InputError
        If there is nothing to evaluate, or no model for a CT. A case that cannot be registered is a row
        with its ``error``, and counts as a failure.
    Cancelled
        If ``cancelled`` said so; ``trials.csv`` holds what was done by then.
    """
    if bool(models) == (perturb is not None):
        raise InputError("Evaluation starts either from a model (--model) or from disturbed poses (--perturb).")
    if starts < 1:
        raise InputError(f"--starts is {starts}; give the number of initial poses for each case, 1 or more.")
    out = writable_folder(out)
    cases = find_cases(case_folders, camera)
    if viewed_from:
        cases = [replace(case, camera=replace(case.camera, viewed_from=viewed_from)) for case in cases]
    groups = by_ct(Path(ct_path), exposures_of(cases, together), say)
    from .register import register, renderer_for

    per_exposure = starts if perturb else 1
    total = sum(len(exposures) for _, exposures in groups) * per_exposure
    rows = _rows_before(checkpoints)
    known = {(row["ct"], row["case"], row["start"]) for row in rows}
    began = saved = time.perf_counter()
    try:
        for path, exposures in groups:
            ct = read_ct(path)
            for sentence in ct.warnings:
                say(sentence)
            model = _model_for(ct, models) if models else None
            renderer = renderer_for(ct)
            for exposure in exposures:
                todo = [n for n in range(per_exposure) if (exposure.ct_name, exposure.name, n) not in known]
                views = _views(exposure, xray_options or {}) if todo else None
                for start in todo:
                    if cancelled is not None and cancelled():
                        raise Cancelled
                    if checkpoints is not None and time.perf_counter() - saved > _CHECKPOINT_SECONDS:
                        _save_rows(checkpoints, rows)
                        saved = time.perf_counter()
                    initial = None
                    if perturb is not None:
                        random = np.random.default_rng([seed, zlib.crc32(exposure.name.encode()), start])
                        initial = perturbed(exposure.truth.camera_to_world, ct.centre_ras, *perturb, random)
                    row = {"ct": exposure.ct_name, "case": exposure.name, "start": start}
                    if isinstance(views, InputError):
                        row["error"] = str(views)
                    else:
                        options = {"model": model, "initial": initial, "method": method, "device": device}
                        options |= {"cancelled": cancelled, "renderer": renderer, "pictures": False}
                        row.update(trial(register, ct, views, exposure.truth, options)[0])
                    rows.append(row)
                    if progress is not None:
                        spent = time.perf_counter() - began
                        tre = f"TRE {row['tre_mm']:.2f} mm" if "tre_mm" in row else row["error"]
                        remaining = spent / (len(rows) - len(known)) * (total - len(rows))
                        progress(len(rows) / total, f"{exposure.name} start {start}: {tre}", remaining)
    finally:
        if rows:  # what was finished is kept, also when someone presses Ctrl-C
            write_rows(out / "trials.csv", rows, _COLUMNS)
            if checkpoints is not None and len(rows) > len(known):
                _save_rows(checkpoints, rows)
    settings = {"perturb_deg_mm": perturb, "starts": per_exposure, "seed": seed, "method": method, "together": together}
    summary = {"settings": {**settings, "device": device}, **summarise(rows, within=within), "versions": versions()}
    write_json(out / "summary.json", summary)
    return summary


def _views(exposure: Exposure, options: dict[str, Any]) -> list[View] | InputError:
    """An exposure's X-rays; one that is unreadable is a failed trial, not the end of an evaluation."""
    from ..refinement.views import View

    try:
        xrays = [read_xray(case.image, camera=case.camera, **options) for case in exposure.cases]
    except InputError as error:
        return error
    places = [case.camera_to_lab for case in exposure.cases]
    if any(place is None for place in places):
        places = [case.truth.camera_to_world for case in exposure.cases]
    return View.calibrated(xrays, places)


def _model_for(ct: CTVolume, models: Sequence[PreparedModel]) -> PreparedModel:
    for model in models:
        if model.ct_fingerprint == ct.fingerprint:
            return model
    made_for = ", ".join(model.ct_name for model in models)
    raise InputError(f"No model was made for {ct.name} (made for: {made_for}); run 'prepare' with this CT first.")


def _rows_before(checkpoints: Checkpoints | None) -> list[dict[str, Any]]:
    """The trials of an attempt that was stopped."""
    saved = None if checkpoints is None else checkpoints.latest()
    return [] if saved is None else json.loads((saved.folder / _ROWS).read_text(encoding="utf-8"))


def _save_rows(checkpoints: Checkpoints, rows: Sequence[dict[str, Any]]) -> None:
    text = json.dumps(plain(list(rows)))
    checkpoints.save(len(rows), lambda folder: (folder / _ROWS).write_text(text, encoding="utf-8"))
