"""Many registrations against known poses: a row a trial, and what they say together."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.case_folder import Exposure, by_ct, exposures_of, find_cases
from ..errors import Cancelled, InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import perturbed
from ..imaging.ct_reader import read_ct
from ..imaging.files import write_whole
from ..imaging.values import CTVolume
from ..imaging.xray_reader import read_xray
from .charts import scatter
from .disturb import DISTURBANCES, known_disturbances, write_disturbed
from .record import circumstances
from .result_file import plain, writable_folder, write_json
from .summary import FLIPPED, IMPOSTORS, OTHER_PATIENT, predicted_and_true, summarise, write_rows
from .trial import COLUMNS, trial

if TYPE_CHECKING:
    from ..encoder.model_file import PreparedModel
    from ..encoder.training_state import Checkpoints
    from ..refinement.views import View
    from ..rendering.renderer import Renderer

Progress = Callable[[float, str, float | None], None]

_CHECKPOINT_SECONDS = 10.0
_ROWS = "rows.json"
PREDICTED_ERROR_CHART = "predicted-error.svg"

_COLUMNS = ("ct", "case", "disturbance", "start", *COLUMNS)
_UNDISTURBED = "none"


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
    disturb: Sequence[str] = (),
    impostors: bool = False,
    device: str = "auto",
    camera: Camera | None = None,
    viewed_from: str | None = None,
    xray_options: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    say: Callable[[str], None] = lambda line: None,
    checkpoints: Checkpoints | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Register every case and write ``trials.csv``, ``summary.json`` and a chart of the errors into ``out``.

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
    disturb
        Some of ``disturb.DISTURBANCES``: besides each X-ray as it is, copies disturbed so are registered from the same
        initial poses; they are kept in the folder ``disturbed`` of ``out``.
    impostors
        Whether each X-ray is registered mirrored too, and with the CTs of the others: none of their poses is right, so
        none counts above, and none should be accepted.
    camera, viewed_from, xray_options
        Instead of what the truth files say of the cameras; ``frame``, ``intensity``, ``polarity`` of
        ``read_xray``.
    checkpoints
        Where the trials that are done are kept every ten seconds; an evaluation that was stopped goes on there.
    command
        What was typed, for the record.

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
    variants = (_UNDISTURBED, *known_disturbances(disturb))
    out = writable_folder(out)
    cases = find_cases(case_folders, camera)
    if viewed_from:
        cases = [replace(case, camera=replace(case.camera, viewed_from=viewed_from)) for case in cases]
    groups = by_ct(Path(ct_path), exposures_of(cases, together), say)
    from .register import register

    patients = _Patients(models, say)
    own_cts = [(path, exposure) for path, exposures in groups for exposure in exposures]
    plan = [(path, path, exposure, variant) for path, exposure in own_cts for variant in variants]
    if impostors:
        plan += [
            (path, own, exposure, FLIPPED if own == path else OTHER_PATIENT)
            for path, _ in groups
            for own, exposure in own_cts
        ]
    per_exposure = starts if perturb else 1
    total = len(plan) * per_exposure
    beginning = circumstances("evaluate", command)
    rows = _rows_before(checkpoints)
    known = {(row["ct"], row["case"], row["disturbance"], row["start"]) for row in rows}
    began = saved = time.perf_counter()
    try:
        for path, own, exposure, variant in plan:
            identity = {
                "ct": exposure.ct_name if own == path else path.name,
                "case": exposure.name,
                "disturbance": variant,
            }
            todo = [n for n in range(per_exposure) if (*identity.values(), n) not in known]
            views = _views(exposure, variant, out, xray_options or {}) if todo else []
            for start in todo:
                if cancelled is not None and cancelled():
                    raise Cancelled
                if checkpoints is not None and time.perf_counter() - saved > _CHECKPOINT_SECONDS:
                    _save_rows(checkpoints, rows)
                    saved = time.perf_counter()
                truth = exposure.truth
                moved = patients.centre(path) - patients.centre(own)
                patient = patients.at(path)
                initial = None
                if perturb is not None:
                    random = np.random.default_rng([seed, zlib.crc32(exposure.name.encode()), start])
                    pose = truth.camera_to_world.copy()
                    pose[:3, 3] += moved  # another patient lies where this one lay
                    initial = perturbed(pose, patient.ct.centre_ras, *perturb, random)
                row = {**identity, "start": start}
                if isinstance(views, InputError):
                    row["error"] = str(views)
                else:
                    options: dict[str, Any] = {
                        "model": patient.model,
                        "initial": initial,
                        "method": method,
                        "device": device,
                    }
                    options |= {"cancelled": cancelled, "renderer": patient.renderer, "pictures": False}
                    row.update(trial(register, patient.ct, views, truth, options)[0])
                rows.append(row)
                if progress is not None:
                    spent = time.perf_counter() - began
                    remaining = spent / (len(rows) - len(known)) * (total - len(rows))
                    progress(len(rows) / total, f"{exposure.name} start {start}: {_in_short(row)}", remaining)
    finally:
        if rows:  # what was finished is kept, also when someone presses Ctrl-C
            write_rows(out / "trials.csv", rows, _COLUMNS)
            if checkpoints is not None and len(rows) > len(known):
                _save_rows(checkpoints, rows)
    settings: dict[str, Any] = {
        "perturb_deg_mm": perturb,
        "starts": per_exposure,
        "seed": seed,
        "method": method,
        "together": together,
    }
    settings |= {"disturb": list(disturb), "impostors": impostors, "device": device}
    summary = {
        **beginning,
        "settings": settings,
        **summarise(rows, ("ct", "case", "disturbance") if disturb else ("ct", "case"), within),
    }
    write_json(out / "summary.json", summary)
    _draw(rows, out / PREDICTED_ERROR_CHART)
    return summary


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """What was predicted of each error, and what it was."""
    right = [row for row in rows if row["disturbance"] not in IMPOSTORS]
    groups = {
        ct: predicted_and_true([row for row in right if row["ct"] == ct]) for ct in {row["ct"]: None for row in right}
    }
    chart = scatter(groups, "Target registration error of each trial", "predicted [mm]", "true [mm]")
    write_whole(path, lambda made: made.write_text(chart, encoding="utf-8"))


def _views(exposure: Exposure, variant: str, out: Path, options: dict[str, Any]) -> list[View] | InputError:
    """An exposure's X-rays, changed as ``variant`` says; one that is unreadable is a failed trial, not the end."""
    from ..refinement.views import View

    try:
        xrays = []
        for case in exposure.cases:
            image = case.image
            if variant in DISTURBANCES:
                seed = zlib.crc32(f"{case.name} {variant}".encode())
                image = write_disturbed(image, out / "disturbed" / variant / case.name.replace(":", "-"), variant, seed)
            xrays.append(read_xray(image, camera=case.camera, **options))
    except InputError as error:
        return error
    if variant == FLIPPED:
        xrays = [replace(x, attenuation=x.attenuation[:, ::-1].copy(), mask=x.mask[:, ::-1].copy()) for x in xrays]
    places = [case.camera_to_lab for case in exposure.cases if case.camera_to_lab is not None]
    if len(places) < len(xrays):
        places = [case.truth.camera_to_world for case in exposure.cases]
    return View.calibrated(xrays, places)


@dataclass(frozen=True)
class _Patient:
    ct: CTVolume
    renderer: Renderer
    model: PreparedModel | None


class _Patients:
    """The CTs by their paths; the last one is kept."""

    def __init__(self, models: Sequence[PreparedModel], say: Callable[[str], None]) -> None:
        self._models, self._say = models, say
        self._centres: dict[Path, np.ndarray] = {}
        self._last: tuple[Path, _Patient] | None = None

    def at(self, path: Path) -> _Patient:
        if self._last is None or self._last[0] != path:
            self._last = None  # two CTs at once may be more than the memory holds
            from .register import renderer_for

            ct, model = _read_ct(path, self._models)
            if path not in self._centres:
                for sentence in ct.warnings:
                    self._say(sentence)
            self._centres[path] = ct.centre_ras
            self._last = path, _Patient(ct, renderer_for(ct), model)
        return self._last[1]

    def centre(self, path: Path) -> np.ndarray:
        """The middle [3] (RAS) of a CT."""
        return self._centres[path] if path in self._centres else self.at(path).ct.centre_ras


def _read_ct(path: Path, models: Sequence[PreparedModel]) -> tuple[CTVolume, PreparedModel | None]:
    """The CT, and that of the ``models`` which was made for it and by whose mapping it is read."""
    if not models:
        return read_ct(path), None
    refusals = []
    for mapping in dict.fromkeys(model.mapping for model in models):
        try:
            ct = read_ct(path, mapping)
        except InputError as refusal:  # as another mapping than its own reads it, it may be no body
            refusals.append(refusal)
            continue
        for model in models:
            if model.ct_fingerprint == ct.fingerprint:
                return ct, model
    made_for = ", ".join(model.ct_name for model in models)
    raise InputError(
        f"No model was made for {path.name} (made for: {made_for}); run 'prepare' with this CT first."
        + "".join(f" Read as one of theirs: {refusal}" for refusal in refusals)
    )


def _in_short(row: dict[str, Any]) -> str:
    if "error" in row:
        return row["error"]
    if row["disturbance"] in IMPOSTORS:
        return f"{row['disturbance']}, {row['verdict']}"
    return f"TRE {row['tre_mm']:.2f} mm"


def _rows_before(checkpoints: Checkpoints | None) -> list[dict[str, Any]]:
    """The trials of an attempt that was stopped."""
    saved = None if checkpoints is None else checkpoints.latest()
    return [] if saved is None else json.loads((saved.folder / _ROWS).read_text(encoding="utf-8"))


def _save_rows(checkpoints: Checkpoints, rows: Sequence[dict[str, Any]]) -> None:
    text = json.dumps(plain(list(rows)))
    checkpoints.save(len(rows), lambda folder: (folder / _ROWS).write_text(text, encoding="utf-8"))
