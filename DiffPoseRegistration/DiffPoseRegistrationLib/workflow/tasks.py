"""Whole tasks as jobs: what the worker process runs.

Inputs are paths; everything else is a setting. A camera is a table as in ``Camera.to_json``, a pose
[4, 4] is camera to world in RAS millimetres; settings in brackets may be left out. ``simulate``, ``prepare``,
``register`` and ``explain`` take a ``mapping`` too, for a volume that is no CT: the name of one as for ``read_ct``, or
a table as of ``VolumeMapping.to_json``; without it ``register`` takes the model's own.

simulate
    Input ``ct``. Settings ``camera``, ``camera_to_world_ras_mm`` (one pose, or a list of them); [``photons``,
    ``blur_px``, ``scatter``, ``seed``]. Results: ``xray.nrrd`` and ``camera.json``. Of a list, which may come with
    [``landmarks_ras_mm``], folders ``case-0000`` ... as ``evaluate`` takes them; those that are done are not done
    again when the job is resumed.
prepare
    Input ``ct``. Settings ``camera``, ``centre_camera_to_world_ras_mm``, ``rotation_deg`` [3] (primary, secondary,
    roll), ``translation_mm`` [3] (across, along the beam, up-down); [``distribution`` as of ``PoseRange``;
    ``preset``, ``training``, ``minutes``, ``until_mm``, ``steps``, ``seed`` as of ``presets.chosen_settings``;
    ``device``, ``checkpoint_seconds``], inputs [``segmentation``, ``pretrained``: a network to begin with, whose
    settings then take the preset's place].
    Result: ``model.safetensors``. Preview: ``preview.json``, the errors on unseen X-rays so far. Resumable.
pretrain
    Input ``volumes`` (list; the first is the reference). Settings ``camera``, ``view`` and ``source_to_isocentre_mm``
    or ``centre_camera_to_world_ras_mm``, and those of ``prepare`` besides. Result: ``pretrained.safetensors``. Preview
    as there. Resumable.
register
    Inputs ``ct``, ``xray``, [``model``]. Settings: ``initial_camera_to_world_ras_mm`` without a model; [``camera``,
    ``viewed_from``, ``frame``, ``intensity``, ``polarity``, ``open_field`` as for ``read_xray``; ``method``,
    ``device``; ``range_deg_mm``, ``twins``, ``grid_deg_mm``, ``distance_tolerance_mm``,
    ``principal_point_tolerance_px``, ``seconds`` as in ``register.Search``; ``landmarks_ras_mm``; ``truth``;
    ``pictures``, ``preview_px``]. Results: ``result.json``, ``pose.h5`` and, unless ``pictures`` is false,
    ``overlay.png``. Preview: ``preview.npy``, the simulated X-ray at the current pose, ``preview_px`` (default 0:
    none) pixels on its longer side. The pose and its similarity travel with the progress as
    ``camera_to_world_ras_mm`` and ``similarity``.
    ``meaning``: what the pixels of a picture mean, as ``PixelMeaning.to_json``; a DICOM file tells itself.
    Several X-rays: ``xray`` is a list and ``views`` a list of tables, one for each, with ``name``, ``camera``,
    ``meaning``, ``camera_to_lab_mm`` (of calibrated X-rays, which share one pose),
    ``initial_camera_to_world_ras_mm``, ``truth``. Results: a folder for each name with the files above, and
    ``result.json`` for all. What travels is the first's.
explain
    Inputs ``ct``, ``xray``. Settings ``initial_camera_to_world_ras_mm``, a rough pose; [``range_deg_mm``, how far off
    that may be; ``meaning`` and those for reading an X-ray as above; ``sheet_px``, the page's width]. Results:
    ``sheet.png``, the readings with the CT's edges, and ``result.json`` as :func:`.explained.record` makes it.
evaluate
    Inputs ``ct``, ``cases`` (list), [``models`` (list)]. Settings ``perturb`` [deg, mm] without models; [``starts``,
    ``seed``, ``method``, ``together``, ``within`` [mm, deg], ``disturb``, ``impostors``, ``device``, and those for
    reading X-rays as above]. Results: ``trials.csv``, ``summary.json``, ``predicted-error.svg``.
    Resumable.

A warm worker keeps the CT with its renderer and the model for the next job, see :class:`~.kept.KeptFiles`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import InputError
from ..geometry.pose_range import PoseRange
from ..imaging.ct_reader import read_ct
from ..imaging.pixel_meaning import PixelMeaning
from ..imaging.values import CTVolume, XRay
from ..imaging.volume_mapping import VolumeMapping
from ..imaging.xray_reader import read_xray
from ..rendering.warm_up import warm_up
from .kept import KeptFiles
from .result_file import described_input
from .task_settings import TaskSettings, required_input

if TYPE_CHECKING:
    from ..encoder.model_file import PreparedModel
    from ..encoder.training import TrainingProgress
    from ..geometry.camera import Camera
    from ..jobs.context import JobContext
    from ..rendering.renderer import Renderer

Inputs = Mapping[str, Any]
Task = Callable[[Inputs, TaskSettings, "JobContext"], "dict[str, Any] | None"]

_READING = ("frame", "intensity", "polarity")
_COMPILED = "the renderer is compiled"


def run_task(kind: str, inputs: Inputs, settings: Mapping[str, Any], context: JobContext) -> dict[str, Any] | None:
    """Do the task ``kind``; results go into ``context.result_folder``. What is returned becomes ``result.json``.

    Raises
    ------
    InputError
        If an input or a setting is missing or cannot be used.
    Cancelled
        If the job is to stop; what was reached is kept for resuming.
    """
    task = _TASKS.get(kind)
    if task is None:
        raise InputError(f"A job of kind {kind!r} cannot be run; choose one of {', '.join(_TASKS)}.")
    if _COMPILED not in context.cache:
        warm_up(lambda sentence: _say(context, sentence))
        context.cache[_COMPILED] = True
    return task(inputs, TaskSettings(settings), context)


def _simulate(inputs: Inputs, settings: TaskSettings, context: JobContext) -> dict[str, Any]:
    from .cases import simulate_cases
    from .simulate import simulate_xray, simulation_renderer

    camera, poses = settings.camera("camera"), settings.poses("camera_to_world_ras_mm")
    options = settings.given("photons", "blur_px", "scatter", "spectrum", "heel", "collimator_px", "tools")
    seed = settings.whole("seed", 0, 2**32 - 1, 0)
    landmarks, mapping = settings.landmarks("landmarks_ras_mm"), settings.mapping("mapping", "ct")
    _tell_unknown(settings, context)
    context.progress(0, 1, {"text": "reading the CT"})
    ct = _ct(inputs, context, mapping)
    if poses.ndim == 2:
        context.raise_if_cancelled()
        context.progress(0.5, 1, {"text": "simulating"})
        renderer = simulation_renderer(ct)
        with renderer.checking(context.raise_if_cancelled):
            image = simulate_xray(ct, camera, poses, seed=seed, renderer=renderer, **options)
        _write_simulated(context.result_folder, image, camera, poses)
        context.progress(1, 1)
        return {"camera": camera.to_json(), "camera_to_world_ras_mm": poses.tolist()}
    simulate_cases(
        context.result_folder,
        ct,
        camera,
        poses,
        ct_name=Path(inputs["ct"]).name,
        source=f"DiffPose {__version__}, seed {seed}",
        landmarks=landmarks,
        seed=seed,
        progress=_progress_of(context),
        cancelled=context.cancelled,
        **options,
    )
    return {"camera": camera.to_json(), "cases": len(poses)}


def _prepare(inputs: Inputs, settings: TaskSettings, context: JobContext) -> dict[str, Any]:
    from ..encoder.model_file import save_model
    from ..encoder.presets import chosen_settings
    from ..encoder.pretrained import load_pretrained
    from ..imaging.segmentation import read_labels
    from .prepare import finetuning, prepare

    camera, centre = settings.camera("camera"), settings.pose("centre_camera_to_world_ras_mm")
    around, mapping = _range_about(settings), settings.mapping("mapping", "ct")
    pretrained = load_pretrained(inputs["pretrained"]) if inputs.get("pretrained") else None
    name, given = settings.text("preset", "default"), settings.given(*_BUDGET)
    training = chosen_settings(name, **given) if pretrained is None else finetuning(pretrained, **given)
    options = {"pretrained": pretrained, **_training_options(settings)}
    _tell_unknown(settings, context)
    context.progress(0, 1, {"text": "reading the CT"})
    ct = _ct(inputs, context, mapping)
    if inputs.get("segmentation"):
        options["labels"] = read_labels(inputs["segmentation"], ct)
    model = prepare(
        ct,
        camera,
        PoseRange(centre, ct.centre_ras, *around),
        training,
        **_watched(context),
        **options,
    )
    save_model(model, context.result_folder / "model.safetensors")
    return {"ct": ct.name, "ct_fingerprint": ct.fingerprint, "training": model.training}


def _pretrain(inputs: Inputs, settings: TaskSettings, context: JobContext) -> dict[str, Any]:
    from ..encoder.presets import chosen_settings
    from ..encoder.pretrained import save_pretrained
    from ..geometry.pose_range import view_pose
    from .pretrain import pretrain, read_volumes

    camera, centre = settings.camera("camera"), settings.pose("centre_camera_to_world_ras_mm", None)
    if centre is None:
        view, distance = settings.text("view"), settings.number("source_to_isocentre_mm", 1, 1e5)
    around, mapping = _range_about(settings), settings.text("mapping", "ct")
    training = chosen_settings(settings.text("preset", "default"), **settings.given(*_BUDGET))
    options = _training_options(settings)
    _tell_unknown(settings, context)
    _say(context, "reading the volumes")
    paths = required_input(inputs, "volumes")
    volumes = read_volumes(paths, mapping, warn=context.warning, cancelled=context.cancelled)
    isocentre = volumes[0].centre_ras
    if centre is None:
        centre = view_pose(view, isocentre, distance)
    made = pretrain(volumes, camera, PoseRange(centre, isocentre, *around), training, **_watched(context), **options)
    save_pretrained(made, context.result_folder / "pretrained.safetensors")
    return {"volumes": len(volumes), "training": made.training}


_HALF_RANGES = {"rotation_deg": 180.0, "translation_mm": 2000.0}
_BUDGET = ("training", "minutes", "until_mm", "steps", "seed")


def _range_about(settings: TaskSettings) -> tuple[Any, Any, str]:
    """Half ranges and distribution of a ``PoseRange``."""
    rotation, translation = (settings.numbers(name, 3, 0, most) for name, most in _HALF_RANGES.items())
    return rotation, translation, settings.text("distribution", "uniform")


def _training_options(settings: TaskSettings) -> dict[str, Any]:
    return {
        "checkpoint_seconds": settings.number("checkpoint_seconds", 0, 3600, None),
        **settings.given("device"),
    }


def _watched(context: JobContext) -> dict[str, Any]:
    """How a training tells of itself and is stopped and resumed."""
    return {
        "progress": _progress_of(context),
        "watch": _curve_of(context),
        "warn": context.warning,
        "cancelled": context.cancelled,
        "checkpoints": context.checkpoints,
    }


def _register(inputs: Inputs, settings: TaskSettings, context: JobContext) -> None:
    from ..refinement.schedule import IntrinsicsTolerance
    from .register import Search, register
    from .result_file import write_result
    from .several import Shot, register_several, write_several

    began = time.perf_counter()
    required_input(inputs, "ct")
    given = required_input(inputs, "xray")
    xray_paths = given if isinstance(given, list) else [given]
    each = settings.tables("views") or [settings]
    if len(each) != len(xray_paths):
        raise InputError(f"The job has {len(xray_paths)} X-rays but {len(each)} views; describe the job anew.")
    pictures, preview_px = settings.yes("pictures", True), settings.whole("preview_px", 0, 1024, 0)
    search = Search(
        range_deg_mm=settings.numbers("range_deg_mm", 2, 0, 2000, None),
        twins=settings.yes("twins", False),
        grid_deg_mm=settings.numbers("grid_deg_mm", 2, 0, 2000, None),
        intrinsics=IntrinsicsTolerance(
            settings.number("distance_tolerance_mm", 0, 1e4, 0.0),
            settings.number("principal_point_tolerance_px", 0, 1e4, 0.0),
        ),
        seconds=settings.number("seconds", 0, 86400, None),
    )
    options: dict[str, Any] = {"search": search, "landmarks": settings.landmarks("landmarks_ras_mm")}
    options |= settings.given("method", "device")
    mapping = settings.mapping("mapping", None)
    reading = _reading(settings)
    known = [_known_of_view(one, number) for number, one in enumerate(each)]
    for one in {id(one): one for one in (settings, *each)}.values():
        _tell_unknown(one, context)
    context.progress(0, 1, {"text": "reading"})
    model = _model(inputs["model"], context) if inputs.get("model") else None
    ct = _ct(inputs, context, mapping or ("ct" if model is None else model.mapping))
    shots = []
    for path, (camera, meaning, of_shot) in zip(xray_paths, known):
        xray = read_xray(path, **{**reading, "camera": camera, "meaning": meaning})
        for sentence in xray.warnings:
            context.warning(sentence)
        shots.append(Shot(xray=xray, **of_shot))
    renderer = _renderer(ct, context)
    reading_seconds = time.perf_counter() - began
    shown = shots[0].xray

    def watch(stage: str, pose: np.ndarray, cost: float) -> None:
        context.note({"camera_to_world_ras_mm": pose})
        if np.isfinite(cost):
            context.note({"similarity": 1 - cost})
        if stage == "start":  # always shown, however fast the refinement then is
            context.progress(0.15, 1.0)
            context.flush()
        if preview_px:
            context.preview(lambda file: np.save(file, _preview_drr(renderer, shown, pose, preview_px)))

    options |= {
        "model": model,
        "progress": _progress_of(context),
        "cancelled": context.cancelled,
        "renderer": renderer,
        "watch": watch,
        "pictures": pictures,
    }
    if len(shots) == 1:
        results = [register(ct, shown, initial=shots[0].initial, **options)]
    else:
        results = register_several(ct, shots, register, **options)
    for result in results:
        result.seconds = {"reading": reading_seconds, **result.seconds}
    kept = KeptFiles(context.cache)
    described = {
        role: kept.of(f"description of {role}", Path(inputs[role]), described_input)
        for role in ("ct", "model")
        if inputs.get(role)
    }
    xrays = [kept.of(f"description of xray {n}", Path(p), described_input) for n, p in enumerate(xray_paths)]
    if len(shots) == 1:
        described["xray"] = xrays[0]
        write_result(context.result_folder, results[0], ct, inputs=described, truth=shots[0].truth)
    else:
        write_several(context.result_folder, results, ct, shots, inputs=described, xray_inputs=xrays)


def _known_of_view(one: TaskSettings, number: int) -> tuple[Camera | None, PixelMeaning | None, dict[str, Any]]:
    """The camera of an X-ray and what its pixels mean, if its table tells, and what a ``Shot`` holds besides."""
    name = one.text("name", f"view-{number + 1}")
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"The job's view is named {name!r}, which no folder can be; describe the job anew.")
    return (
        one.camera("camera", None),
        one.meaning("meaning"),
        {
            "name": name,
            "camera_to_lab": one.pose("camera_to_lab_mm", None),
            "initial": one.pose("initial_camera_to_world_ras_mm", None),
            "truth": one.truth("truth"),
        },
    )


def _explain(inputs: Inputs, settings: TaskSettings, context: JobContext) -> dict[str, Any]:
    from .explain import RANGE_DEG_MM, explain, read_both_polarities
    from .explained import record, sheet
    from .pictures import SHEET_PX, write_png

    pose = settings.pose("initial_camera_to_world_ras_mm")
    within = settings.numbers("range_deg_mm", 2, 0, 2000, RANGE_DEG_MM)
    width, mapping = settings.whole("sheet_px", 200, 4000, SHEET_PX), settings.mapping("mapping", "ct")
    reading = {**_reading(settings), "meaning": settings.meaning("meaning")}
    _tell_unknown(settings, context)
    context.progress(0, 1, {"text": "reading"})
    ct = _ct(inputs, context, mapping)
    both = read_both_polarities(required_input(inputs, "xray"), **reading)
    for sentence in both.as_read.warnings:
        context.warning(sentence)
    renderer = _renderer(ct, context)
    words = {"text": "comparing readings of the picture"}
    with renderer.checking(context.raise_if_cancelled):
        found = explain(
            renderer,
            both,
            pose,
            range_deg_mm=within,
            progress=lambda share: context.progress(0.95 * share, 1, words),
        )
        write_png(sheet(found, renderer, width=width), context.result_folder / "sheet.png")
    return record(found, both, pose, renderer)


def _evaluate(inputs: Inputs, settings: TaskSettings, context: JobContext) -> dict[str, Any]:
    from .evaluate import evaluate

    reading = _reading(settings)
    options = {
        "perturb": settings.numbers("perturb", 2, 0, 2000, None),
        "starts": settings.whole("starts", 1, 10**6, 1),
        "seed": settings.whole("seed", 0, 2**32 - 1, 0),
        "together": settings.yes("together", False),
        "within": settings.numbers("within", 2, 0, 1e6, None),
        "impostors": settings.yes("impostors", False),
        "camera": reading.pop("camera"),
        "viewed_from": reading.pop("viewed_from"),
        **settings.given("method", "device", "disturb"),
    }
    _tell_unknown(settings, context)
    return evaluate(
        required_input(inputs, "ct"),
        required_input(inputs, "cases"),
        context.result_folder,
        models=[_load_model(path) for path in inputs.get("models") or []],
        xray_options=reading,
        progress=_progress_of(context),
        cancelled=context.cancelled,
        say=context.warning,
        checkpoints=context.checkpoints,
        **options,
    )


_TASKS: dict[str, Task] = {
    "simulate": _simulate,
    "prepare": _prepare,
    "pretrain": _pretrain,
    "register": _register,
    "explain": _explain,
    "evaluate": _evaluate,
}


def _ct(inputs: Inputs, context: JobContext, mapping: VolumeMapping | str = "ct") -> CTVolume:
    def read(path: Path) -> CTVolume:
        ct = read_ct(path, mapping)
        for sentence in ct.warnings:
            context.warning(sentence)
        return ct

    path = Path(required_input(inputs, "ct"))
    if mapping not in ("ct", VolumeMapping()):  # which mapping a kept volume was read by is not known
        return read(path)
    return KeptFiles(context.cache).of("ct", path, read)


def _model(path: Path, context: JobContext) -> PreparedModel:
    return KeptFiles(context.cache).of("model", path, _load_model)


def _load_model(path: Path) -> PreparedModel:
    from ..encoder.model_file import load_model

    return load_model(path)


def _renderer(ct: CTVolume, context: JobContext) -> Renderer:
    """The renderer of the CT that is kept; another file with the very same CT shares it."""
    from .register import renderer_for

    kept = context.cache.get("renderer")
    if kept is None or kept[0] != ct.fingerprint:
        context.cache.pop("renderer", None)
        kept = context.cache["renderer"] = (ct.fingerprint, renderer_for(ct))
    return kept[1]


def _reading(settings: TaskSettings) -> dict[str, Any]:
    """Keyword arguments of ``read_xray``."""
    viewed_from = settings.text("viewed_from", None)
    open_field = settings.number("open_field", 0, math.inf, None)
    given = {"viewed_from": viewed_from, "open_field": open_field, **settings.given(*_READING)}
    return {"camera": settings.camera("camera", None), **given}


def _write_simulated(folder: Path, image: np.ndarray, camera: Camera, pose: np.ndarray) -> None:
    """The picture as ``xray.nrrd`` and then what is known of it as ``camera.json``."""
    import SimpleITK as sitk

    from ..imaging.files import write_whole
    from .result_file import write_json

    write_whole(folder / "xray.nrrd", lambda made: sitk.WriteImage(sitk.GetImageFromArray(image), str(made)))
    write_json(folder / "camera.json", {"camera": camera.to_json(), "camera_to_world_ras_mm": pose})


def _preview_drr(renderer: Renderer, xray: XRay, pose: np.ndarray, side: int) -> np.ndarray:
    """Line integrals [rows, columns], float32, at most ``side`` pixels a side."""
    factor = min(side / max(xray.camera.rows, xray.camera.columns), 1.0)
    small = xray.camera.resampled(max(round(xray.camera.rows * factor), 1), max(round(xray.camera.columns * factor), 1))
    distance = float(np.linalg.norm(pose[:3, 3] - renderer.isocentre))
    return renderer.render(small, pose, renderer.level_for(small, distance, 1.5))


def _say(context: JobContext, sentence: str) -> None:
    """Show at once what takes long before the work begins."""
    context.progress(0, 1, {"text": sentence})
    context.flush()


def _tell_unknown(settings: TaskSettings, context: JobContext) -> None:
    for name in settings.unknown():
        context.warning(f"The job's setting '{name}' is not known and was left out.")


def _progress_of(context: JobContext) -> Callable[[float, str, float | None], None]:
    """The workflow's progress as the job's: its line of text travels among the metrics."""

    def progress(done: float, text: str, _remaining: float | None) -> None:
        context.progress(min(max(done, 0.0), 1.0), 1.0, {"text": text})

    return progress


def _curve_of(context: JobContext) -> Callable[[TrainingProgress], None]:
    """The training's numbers among the metrics, and the curve of its errors as the preview."""
    shown = 0

    def watch(state: TrainingProgress) -> None:
        nonlocal shown
        context.note(
            {
                "images": state.images,
                "loss": state.loss,
                "median_error_mm": math.nan if state.error is None else state.error.median_mm,
                "percentile95_error_mm": math.nan if state.error is None else state.error.percentile95_mm,
            }
        )
        if len(state.curve) > shown and context.preview(_as_json(state), "preview.json"):
            shown = len(state.curve)

    return watch


def _as_json(state: TrainingProgress) -> bytes:
    names = ("seconds", "images", "median_mm", "percentile95_mm", "low_mm", "high_mm")
    points = [point.to_json() for point in state.curve]
    return json.dumps({name: [point[name] for point in points] for name in names}).encode()
