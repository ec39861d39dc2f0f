"""Training the pose encoder within a budget of time, of steps or of accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..errors import Cancelled
from ..geometry.camera import Camera
from .frame import PoseFrame
from .lessons import TrainingBody
from .memory import keep_freed_memory
from .network import PoseEncoder
from .settings import TrainingSettings
from .trainer import Trainer
from .training_state import Checkpoints, Validation
from .validation import ErrorEstimate

_REPORT_SECONDS = 0.5
# Saving a checkpoint every so often, and less often where that would take more than this share of the time.
_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE = 10.0, 0.02


@dataclass
class TrainingProgress:
    """What the person is told while training.

    done, remaining_seconds
        Share of the budget that is used up, and how long the rest will take at most.
    images, loss
        X-rays learned from, and the loss of the last batch.
    error
        The newest estimate of the error on unseen simulated X-rays; None before the first.
    curve
        All of them.
    warnings
        Sentences the person should read, the new ones.
    """

    done: float
    remaining_seconds: float
    images: int
    loss: float
    error: ErrorEstimate | None
    curve: list[Validation]
    warnings: list[str]


@dataclass
class Trained:
    """The network, the frame of its poses, and the record of its training."""

    network: PoseEncoder
    frame: PoseFrame
    record: dict


def train(
    bodies: Sequence[TrainingBody],
    camera: Camera,
    settings: TrainingSettings | None = None,
    device: str = "cpu",
    on_progress: Callable[[TrainingProgress], None] | None = None,
    *,
    weights: PoseEncoder | None = None,
    cancelled: Callable[[], bool] | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float | None = None,
) -> Trained:
    """Trains a :class:`PoseEncoder` for one camera and one CT, or for many whose anatomy it is to know in general.

    Under torch's distributed launcher (``torchrun``) every process learns from X-rays of its own, and each step from
    all of them together; the first process measures, reports and saves.

    Parameters
    ----------
    on_progress
        Called every half second or so; what it raises ends the training.
    weights
        A network to begin with; None: an untrained one.
    cancelled
        Asked several times a step; True ends the training, with its state saved.
    checkpoints
        Where the state is saved and, if one of this very training is there, taken up again.
    checkpoint_seconds
        How often; by default every 10 s, less often where saving takes more than 2 % of the time.

    Raises
    ------
    InputError
        If a CT projects into the image from next to none of the range's poses, a setting cannot be used, or the memory
        does not suffice for a single X-ray.
    Cancelled
        If ``cancelled`` said so.
    """
    cancelled = cancelled or _never
    keep_freed_memory()
    trainer = Trainer(bodies, camera, settings or TrainingSettings(), device, weights)
    if not trainer.reports:
        on_progress = None
    if checkpoints is not None:
        trainer.resume(checkpoints)
    saver = _Saver(trainer, checkpoints, checkpoint_seconds)
    threads = torch.get_num_threads()
    last_report = time.perf_counter()
    try:
        with trainer.learning(threads):
            while (done := trainer.done()) < 1:
                if trainer.all_stop(cancelled) or not trainer.step(done, trainer.stops(cancelled)):
                    saver.save()
                    raise Cancelled
                saver.save_when_due()
                measured = trainer.validate_when_due()
                now = time.perf_counter()
                if on_progress is not None and (measured or now - last_report > _REPORT_SECONDS):
                    last_report = now
                    on_progress(_progress(trainer))
    finally:
        torch.set_num_threads(threads)
    trainer.finish()
    if on_progress is not None:
        on_progress(_progress(trainer))
    return Trained(trainer.state.best.cpu().eval(), trainer.frame, trainer.record())


def _progress(trainer: Trainer) -> TrainingProgress:
    curve = trainer.state.curve
    return TrainingProgress(
        trainer.done_here(),  # of several processes only the first one reports, so nothing may be agreed here
        trainer.remaining_seconds(),
        trainer.state.images,
        trainer.loss,
        curve[-1].estimate if curve else None,
        list(curve),
        trainer.take_warnings(),
    )


class _Saver:
    """Saves a training's state now and then."""

    def __init__(self, trainer: Trainer, checkpoints: Checkpoints | None, interval: float | None) -> None:
        self._trainer, self._checkpoints = trainer, checkpoints
        self._given = interval
        self._interval = _CHECKPOINT_SECONDS if interval is None else interval
        self._last = time.perf_counter()

    def save_when_due(self) -> None:
        """Save if the time has come."""
        if time.perf_counter() - self._last >= self._interval:
            self.save()

    def save(self) -> None:
        """Save, if there is anywhere to save to."""
        if self._checkpoints is None:
            return
        before = time.perf_counter()
        self._trainer.save(self._checkpoints)
        self._last = time.perf_counter()
        if self._given is None:
            self._interval = max(_CHECKPOINT_SECONDS, (self._last - before) / _CHECKPOINT_SHARE)


def _never() -> bool:
    return False
