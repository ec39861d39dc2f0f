"""Many registrations against known poses: a row a trial, and what they say together."""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Cancelled, InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import perturbed
from ..imaging.calibration import read_placement
from ..imaging.camera_file import read_camera, read_entry, read_views
from ..imaging.ct_reader import read_ct
from ..imaging.files import write_whole
from ..imaging.pose_file import Truth, read_truth
from ..imaging.values import CTVolume
from ..imaging.xray_reader import read_xray
from .result_file import plain, versions, writable_folder, write_json
from .scoring import score

if TYPE_CHECKING:
    from ..encoder.model_file import PreparedModel
    from ..encoder.training_state import Checkpoints
    from ..refinement.views import View

Progress = Callable[[float, str, float | None], None]

_CHECKPOINT_SECONDS = 10.0
_ROWS = "rows.json"

COLUMNS = (
    "ct", "case", "start", "tre_mm", "projection_error_mm", "projection_error_isocentre_mm",
    "reprojection_distance_mm", "rotation_deg", "in_plane_mm", "depth_mm", "initial_tre_mm", "initial_rotation_deg",
    "similarity", "verdict", "predicted_error_mm", "seconds", "renders", "error",
)  # fmt: skip


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
    groups = _by_ct(Path(ct_path), exposures_of(cases, together), say)
    from .register import register, renderer_for

    per_exposure = starts if perturb else 1
    total = sum(len(exposures) for _, exposures in groups) * per_exposure
    rows = _rows_before(checkpoints)
    known = {(row["ct"], row["case"], row["start"]) for row in rows}
    began = saved = time.perf_counter()
    try:
        for path, exposures in groups:
            ct = read_ct(path)
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
                        row.update(_trial(register, ct, views, exposure.truth, options))
                    rows.append(row)
                    if progress is not None:
                        spent = time.perf_counter() - began
                        tre = f"TRE {row['tre_mm']:.2f} mm" if "tre_mm" in row else row["error"]
                        remaining = spent / (len(rows) - len(known)) * (total - len(rows))
                        progress(len(rows) / total, f"{exposure.name} start {start}: {tre}", remaining)
    finally:
        if rows:  # what was finished is kept, also when someone presses Ctrl-C
            _write_rows(out / "trials.csv", rows)
            if checkpoints is not None and len(rows) > len(known):
                _save_rows(checkpoints, rows)
    settings = {"perturb_deg_mm": perturb, "starts": per_exposure, "seed": seed, "method": method, "together": together}
    summary = {"settings": {**settings, "device": device}, **summarise(rows, within), "versions": versions()}
    write_json(out / "summary.json", summary)
    return summary


def summarise(rows: Sequence[dict[str, Any]], within: tuple[float, float] | None = None) -> dict[str, Any]:
    """Statistics of the trials: ``overall``, ``by_ct``, ``by_case``.

    Of each: ``trials``; ``failed`` (no pose at all); ``tre_mm``, ``projection_error_mm``, ``rotation_deg``,
    ``in_plane_mm``, ``depth_mm``, ``seconds`` with median and 95th percentile; ``success_1mm``,
    ``success_2mm``, ``gross_10mm``: share of all trials with a TRE below 1 mm, below 2 mm, above 10 mm or
    failed; ``verdicts``: for each verdict the number of trials, and of these below 2 mm and above 10 mm. With
    ``within`` (mm, degrees) also ``within``: the bound, and the share of all trials below it in TRE and rotation.
    """
    names = {key: list(dict.fromkeys(row[key] for row in rows)) for key in ("ct", "case")}
    return {
        "overall": _statistics(rows, within),
        "by_ct": {name: _statistics([r for r in rows if r["ct"] == name], within) for name in names["ct"]},
        "by_case": {name: _statistics([r for r in rows if r["case"] == name], within) for name in names["case"]},
    }


def table(summary: dict[str, Any]) -> str:
    """The summary as lines for a terminal."""
    head = f"{'':28}{'trials':>7}{'TRE median':>12}{'95 %':>9}{'< 1 mm':>9}{'< 2 mm':>9}{'> 10 mm':>9}{'seconds':>9}"
    lines = [head, "-" * len(head)]
    groups = [*summary["by_case"].items(), *summary["by_ct"].items(), ("all", summary["overall"])]
    for number, (name, s) in enumerate(groups):
        if number in (len(summary["by_case"]), len(groups) - 1):
            lines.append("-" * len(head))
        tre, seconds = s["tre_mm"], s["seconds"]
        lines.append(
            f"{name[:27]:28}{s['trials']:>7}{_mm(tre['median']):>12}{_mm(tre['p95']):>9}{s['success_1mm']:>9.0%}"
            f"{s['success_2mm']:>9.0%}{s['gross_10mm']:>9.0%}{_mm(seconds['median'], ''):>9}"
        )
    lines.append("")
    for verdict, count in summary["overall"]["verdicts"].items():
        lines.append(
            f"verdict {verdict}: {count['trials']} trials, {count['below_2mm']} of them below 2 mm, "
            f"{count['above_10mm']} above 10 mm"
        )
    if "within" in summary["overall"]:
        bound = summary["overall"]["within"]
        lines.append(
            f"{bound['trials']} of {summary['overall']['trials']} trials ({bound['share']:.1%}) are within "
            f"{bound['tre_mm']:g} mm and {bound['rotation_deg']:g} degrees of the true pose"
        )
    failed = summary["overall"]["failed"]
    if failed:
        lines.append(f"{failed} trials gave no pose; see the column 'error' in trials.csv")
    return "\n".join(lines)


def _mm(value: float | None, unit: str = " mm") -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def _statistics(rows: Sequence[dict[str, Any]], within: tuple[float, float] | None) -> dict[str, Any]:
    scored = [row for row in rows if "tre_mm" in row]
    result: dict[str, Any] = {"trials": len(rows), "failed": len(rows) - len(scored)}
    for key in ("tre_mm", "projection_error_mm", "rotation_deg", "in_plane_mm", "depth_mm", "seconds"):
        values = [row[key] for row in scored]
        result[key] = {
            "median": float(np.median(values)) if values else None,
            "p95": float(np.percentile(values, 95)) if values else None,
        }
    tre = np.array([row.get("tre_mm", np.inf) for row in rows])
    result["success_1mm"] = float((tre < 1).mean())
    result["success_2mm"] = float((tre < 2).mean())
    result["gross_10mm"] = float((tre > 10).mean())
    if within is not None:
        mm, deg = within
        inside = sum(row["tre_mm"] < mm and row["rotation_deg"] < deg for row in scored)
        result["within"] = {"tre_mm": mm, "rotation_deg": deg, "trials": inside, "share": inside / max(len(rows), 1)}
    result["verdicts"] = {}
    for verdict in dict.fromkeys(row["verdict"] for row in scored):
        of_these = np.array([row["tre_mm"] for row in scored if row["verdict"] == verdict])
        result["verdicts"][verdict] = {
            "trials": len(of_these),
            "below_2mm": int((of_these < 2).sum()),
            "above_10mm": int((of_these > 10).sum()),
        }
    return result


def _trial(
    register: Callable[..., Any],
    ct: CTVolume,
    views: list[View],
    truth: Truth,
    options: dict[str, Any],
) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        result = register(ct, views, **options)
    except InputError as error:
        return {"error": str(error)}
    seconds = time.perf_counter() - began
    camera = views[0].xray.camera
    found = score(result.camera_to_world, truth, ct, camera)
    before = score(result.initial_camera_to_world, truth, ct, camera)
    del found["landmarks"]
    return {
        **found,
        "initial_tre_mm": before["tre_mm"],
        "initial_rotation_deg": before["rotation_deg"],
        "similarity": result.similarity,
        "verdict": result.verdict,
        "predicted_error_mm": result.predicted_error_mm,
        "seconds": seconds,
        "renders": result.renders,
    }


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


def _by_ct(
    ct_path: Path, exposures: Sequence[Exposure], say: Callable[[str], None]
) -> list[tuple[Path, list[Exposure]]]:
    """CT files with their exposures, in order of first appearance."""
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


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    def write(made: Path) -> None:
        with made.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)
