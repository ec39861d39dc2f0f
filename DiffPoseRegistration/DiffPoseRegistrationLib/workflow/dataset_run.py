"""A whole data set, registered: models prepared, a row for each trial. What was done is never done twice."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.dataset import Dataset, Frame, Subject
from ..errors import Cancelled, InputError
from ..geometry.pose_range import perturbed
from ..imaging.values import CTVolume, XRay
from .record import circumstances
from .result_file import plain, writable_folder, write_json
from .summary import Rows, summarise, write_rows
from .trial import COLUMNS, trial

if TYPE_CHECKING:
    from ..encoder.model_file import PreparedModel

Progress = Callable[[float, str, float | None], None]

_ROWS, _SETTINGS = "trials.jsonl", "settings.json"
_PLACE = ("subject", "view", "frame", "start")
_TRIAL_SECONDS = 1.0  # before the first one is done


@dataclass(frozen=True)
class RunSettings:
    """How to run. A run that is taken up again must agree in all but ``starts`` and ``limit``.

    perturb, starts
        Start each X-ray from its true pose disturbed by up to (degrees, mm), so many times; None: from a model that is
        prepared for the subject.
    minutes, steps
        Of each preparation, see ``workflow.prepare``.
    limit
        At most so many X-rays of a subject, spread evenly over them.
    method
        How to refine, one of ``refinement.methods.METHODS``.
    """

    perturb: tuple[float, float] | None = None
    starts: int = 1
    minutes: float = 2.0
    steps: int | None = None
    seed: int = 0
    limit: int | None = None
    method: str = "lm"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.perturb is not None and not (0 <= self.perturb[0] <= 180 and 0 <= self.perturb[1] <= 2000):
            raise InputError("The disturbance takes degrees (0 to 180) and millimetres (0 to 2000).")
        for name, value in (("starts", self.starts), ("limit", self.limit), ("steps", self.steps)):
            if value is not None and value < 1:
                raise InputError(f"The number of {name} is {value}; give a whole number from 1 upwards.")
        if not 0 < self.minutes <= 1440:
            raise InputError(f"The minutes of a preparation are {self.minutes:g}; give a time such as 2.")
        if self.seed < 0:
            raise InputError(f"The seed is {self.seed}; give a whole number from 0 upwards.")

    def frames_of(self, subject: Subject) -> list[Frame]:
        """The subject's X-rays that are registered."""
        count = len(subject.frames)
        if self.limit is None or self.limit >= count:
            return list(subject.frames)
        return [subject.frames[n] for n in np.linspace(0, count - 1, self.limit).round().astype(int)]


@dataclass(frozen=True)
class DatasetRun:
    """What a run came to: ``rows`` one a trial, with both poses; ``summary`` as ``summary.json`` holds it."""

    rows: Rows
    summary: dict[str, Any]


def run_dataset(
    dataset: Dataset,
    subjects: Sequence[Subject],
    out: Path | str,
    settings: RunSettings,
    *,
    command: str = "",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> DatasetRun:
    """Register every X-ray of ``subjects`` and write ``trials.csv`` and ``summary.json`` into ``out``.

    Each trial is kept in ``trials.jsonl`` when it is done, each model in ``models/``; a run that was stopped, in
    whatever way, goes on from there when it is started again with the same settings.

    Raises
    ------
    InputError
        If ``out`` holds another run, a model is wanted where the data set has no prior, or a CT cannot be read. An
        X-ray that cannot be read or registered is a row with its ``error``, and counts as a failure.
    Cancelled
        If ``cancelled`` said so; what was done by then is kept.
    """
    record = circumstances("dataset", command)
    out = writable_folder(out)
    _require_same_run(out / _SETTINGS, _what_numbers_depend_on(dataset, settings))
    if settings.perturb is None:
        _require_priors(dataset, subjects)
    rows = rows_of(out)
    known = {tuple(row[key] for key in _PLACE) for row in rows}
    wanted = [
        (subject.name, frame.view, frame.name, start)
        for subject in subjects
        for frame in settings.frames_of(subject)
        for start in range(settings.starts if settings.perturb else 1)
    ]
    clock = _Clock([place for place in wanted if place not in known], settings, out, progress)
    with (out / _ROWS).open("a", encoding="utf-8", newline="\n") as stream:
        for subject in subjects:
            for row in _trials_of(dataset, subject, out, settings, known, clock, cancelled):
                rows.append(row)
                stream.write(json.dumps(plain(row)) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
                clock.trial_done(row)
    asked = {place: n for n, place in enumerate(wanted)}
    rows = sorted((row for row in rows if _place(row) in asked), key=lambda row: asked[_place(row)])
    write_rows(out / "trials.csv", rows, (*_PLACE, *COLUMNS))
    groups = ("subject", "view") if len({row["view"] for row in rows}) > 1 else ("subject",)
    summary = {
        **record,
        "dataset": dataset.name,
        "settings": asdict(settings),
        "excluded": dict(dataset.excluded),
        "median_of_subject_medians_mm": _median_of_medians(rows),
        **summarise(rows, groups),
    }
    write_json(out / "summary.json", summary)
    return DatasetRun(rows, summary)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The trials that a run has done so far. A last line that was cut off when the run was killed is removed."""
    path = out / _ROWS
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
    try:
        return [json.loads(line) for line in whole.decode("utf-8").splitlines()]
    except ValueError:
        raise InputError(f"{path} is damaged; remove it, or choose another --out.") from None


def model_for(
    dataset: Dataset,
    subject: Subject,
    view: str,
    ct: CTVolume,
    out: Path,
    settings: RunSettings,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> PreparedModel:
    """The model of a subject's view, read from ``out`` or prepared and kept there."""
    from ..encoder.model_file import load_model, save_model
    from ..encoder.settings import TrainingSettings
    from .prepare import prepare

    path = _model_file(out, subject, view)
    if path.exists():
        model = load_model(path)
        model.require_ct(ct)
        return model
    camera = next(frame.camera for frame in subject.frames if frame.view == view)
    pose_range = dataset.priors[view].pose_range(ct)
    training = TrainingSettings(minutes=settings.minutes, steps=settings.steps, seed=settings.seed)
    model = prepare(ct, camera, pose_range, training, device=settings.device, progress=progress, cancelled=cancelled)
    path.parent.mkdir(exist_ok=True)
    save_model(model, path)
    return model


def _trials_of(
    dataset: Dataset,
    subject: Subject,
    out: Path,
    settings: RunSettings,
    known: set[tuple],
    clock: _Clock,
    cancelled: Callable[[], bool] | None,
) -> Iterator[dict[str, Any]]:
    """The rows that a subject still lacks."""
    from .register import register, renderer_for

    starts = range(settings.starts if settings.perturb else 1)
    todo = [
        (frame, [n for n in starts if (subject.name, frame.view, frame.name, n) not in known])
        for frame in settings.frames_of(subject)
    ]
    todo = [(frame, missing) for frame, missing in todo if missing]
    if not todo:
        return
    ct = subject.read_ct()
    renderer = renderer_for(ct)
    options = {"method": settings.method, "device": settings.device, "cancelled": cancelled, "renderer": renderer}
    models = {}
    if settings.perturb is None:
        for view in dict.fromkeys(frame.view for frame, _ in todo):
            models[view] = model_for(
                dataset, subject, view, ct, out, settings, clock.preparing(f"{subject.name}, {view}"), cancelled
            )
            clock.model_done()
    for frame, missing in todo:
        xray = _read(frame)
        for start in missing:
            if cancelled is not None and cancelled():
                raise Cancelled
            row = {"subject": subject.name, "view": frame.view, "frame": frame.name, "start": start}
            if isinstance(xray, InputError):
                yield {**row, "error": str(xray)}
                continue
            begin: dict[str, Any] = {"model": models.get(frame.view)}
            if settings.perturb is not None:
                place = zlib.crc32(f"{subject.name}/{frame.name}".encode())
                random = np.random.default_rng([settings.seed, place, start])
                begin = {"initial": perturbed(frame.truth.camera_to_world, ct.centre_ras, *settings.perturb, random)}
            yield {**row, **registered(register, ct, xray, frame, {**begin, **options, "pictures": False})}


def registered(
    register: Callable[..., Any], ct: CTVolume, xray: XRay, frame: Frame, options: dict[str, Any]
) -> dict[str, Any]:
    """The numbers of one registration (see ``workflow.trial``) with its initial and found pose [4, 4]."""
    from ..refinement.views import View

    row, result = trial(register, ct, [View.single(xray)], frame.truth, options)
    if result is None:
        return row
    return {
        **row,
        "camera_to_world": result.camera_to_world,
        "initial_camera_to_world": result.initial_camera_to_world,
    }


class _Clock:
    """Tells the progress: what is left, by how long models and trials took so far."""

    def __init__(self, todo: Sequence[tuple], settings: RunSettings, out: Path, progress: Progress | None) -> None:
        self._progress = progress
        self._todo, self._done, self._trial_seconds = len(todo), 0, 0.0
        views = {(subject, view) for subject, view, _, _ in todo} if settings.perturb is None else set()
        self._models = sum(not (out / "models" / _model_name(*place)).exists() for place in views)
        self._model_seconds = 60.0 * settings.minutes
        self._since = time.perf_counter()

    def preparing(self, what: str) -> Progress:
        """Progress of a preparation, within that of the whole."""

        def tell(done: float, text: str, remaining: float | None) -> None:
            left = self._left() - self._model_seconds + (remaining or 0.0)
            self._say(f"preparing {what}: {text}", left)

        return tell

    def model_done(self) -> None:
        self._models = max(self._models - 1, 0)
        self._since = time.perf_counter()

    def trial_done(self, row: dict[str, Any]) -> None:
        now = time.perf_counter()
        self._trial_seconds += now - self._since
        self._since = now
        self._done += 1
        tre = f"TRE {row['tre_mm']:.2f} mm" if "tre_mm" in row else row["error"]
        self._say(f"{row['subject']}/{row['frame']}: {tre}", self._left())

    def _left(self) -> float:
        each = self._trial_seconds / self._done if self._done else _TRIAL_SECONDS
        return (self._todo - self._done) * each + self._models * self._model_seconds

    def _say(self, text: str, left: float) -> None:
        if self._progress is not None:
            self._progress(self._done / max(self._todo, 1), text, max(left, 0.0))


def _place(row: dict[str, Any]) -> tuple:
    return tuple(row[key] for key in _PLACE)


def _median_of_medians(rows: Rows) -> float | None:
    """Every subject weighs the same, however many X-rays it has."""
    by_subject: dict[str, list[float]] = {}
    for row in rows:
        by_subject.setdefault(row["subject"], []).append(row.get("tre_mm", float("inf")))
    medians = [float(np.median(values)) for values in by_subject.values()]
    return float(np.median(medians)) if medians else None


def _read(frame: Frame) -> XRay | InputError:
    """One unreadable X-ray is a failed trial, not the end of a run."""
    try:
        return frame.read()
    except InputError as error:
        return error


def _model_file(out: Path, subject: Subject, view: str) -> Path:
    return out / "models" / _model_name(subject.name, view)


def _model_name(subject: str, view: str) -> str:
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in f"{subject}-{view}")
    return f"{safe}.safetensors"


def _require_priors(dataset: Dataset, subjects: Sequence[Subject]) -> None:
    views = dict.fromkeys(frame.view for subject in subjects for frame in subject.frames)
    missing = [view for view in views if view not in dataset.priors]
    if missing:
        raise InputError(
            f"{dataset.name} does not say where the C-arm may stand ({', '.join(missing)}); give --view and the "
            "distance, or start from disturbed true poses with --perturb."
        )


def _what_numbers_depend_on(dataset: Dataset, settings: RunSettings) -> dict[str, Any]:
    chosen = asdict(settings)
    del chosen["starts"], chosen["limit"]  # more trials do not change those that are done
    priors = {view: asdict(prior) for view, prior in dataset.priors.items()} if settings.perturb is None else {}
    return {"dataset": dataset.name, **dataset.options, "priors": priors, **chosen}


def _require_same_run(path: Path, settings: dict[str, Any]) -> None:
    """Numbers of two settings in one folder would be neither's."""
    settings = plain(settings)
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{path} is damaged; remove the folder, or choose another --out.") from None
        differing = [key for key in settings if before.get(key) != settings[key]]
        if differing:
            was = ", ".join(f"{key} {before.get(key)!r} instead of {settings[key]!r}" for key in differing)
            raise InputError(
                f"{path.parent} holds a run with other settings ({was}); choose another --out, or give the same "
                "settings to go on with it."
            )
        return
    write_json(path, settings)
