"""One training: what it learns from, its steps, its measurements."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ..errors import InputError
from ..geometry.camera import Camera
from . import optimisation
from .batches import BatchStream
from .distributed import Processes
from .frame import PoseFrame
from .lesson import Lesson
from .lessons import Lessons, TrainingBody
from .network import PoseEncoder
from .reading import PoseReader, apply, one_thread
from .settings import TrainingSettings
from .training_state import Checkpoints, TrainingState, Validation
from .validation import ErrorEstimate, UnseenXRays

_MEASUREMENTS, _STEPS_APART = 8, 25  # of a training by steps: how often, and the fewest steps between two
_MEASURING_SHARE, _MEASURING_SECONDS = 0.06, 5.0  # of the time of any other, and the least time between two
_LIVE_LOOKS = 4  # where it is measured often


class Trainer:
    """A training in progress; see ``training.train`` for the parameters."""

    def __init__(
        self,
        bodies: Sequence[TrainingBody],
        camera: Camera,
        settings: TrainingSettings,
        device: str,
        weights: PoseEncoder | None = None,
    ) -> None:
        self._settings, self._device = settings, device
        self._processes = Processes(device)
        self._lessons = Lessons(bodies, camera, settings, self._processes.rank, self._processes.count)
        self.frame = bodies[0].pose_frame
        self._parameterisation = settings.parameterisation(self.frame)
        shape = settings.network_shape(self.frame)
        if weights is not None and weights.shape != shape:
            raise InputError("The network to begin with has another shape than the settings ask for.")
        self.state = TrainingState.new(settings, shape, device, weights)
        self._unseen: list[UnseenXRays] = []
        if self._processes.rank == 0:
            share = -(-settings.validation_images // len(bodies))
            self._unseen = [
                UnseenXRays(self._lessons.simulator(number), body.landmarks, settings, share)
                for number, body in enumerate(bodies)
            ]
        self._belongs_to = {
            "settings": settings.to_json(),
            "camera": camera.to_json(),
            "bodies": [
                {
                    "ct": body.ct.fingerprint,
                    "pose_range": body.pose_range.to_json(),
                    "frame": body.pose_frame.to_json(),
                }
                for body in bodies
            ],
            "weights": _digest(weights),
            "processes": self._processes.count,
        }
        self.loss = math.nan
        self._final: list[np.ndarray] = []
        self._warnings: list[str] = []
        self._stream: BatchStream[Lesson] | None = None
        self._reached = False
        self._resume_clock()

    # -- the budget --------------------------------------------------------------------------------

    def seconds(self) -> float:
        """Time spent learning so far, over all attempts."""
        return self._seconds_before + time.perf_counter() - self._started

    def done(self) -> float:
        """Share of the budget that is used up, 0 to 1; the same for all processes."""
        return self._processes.agreed(self.done_here())

    def remaining_seconds(self) -> float:
        """How long the rest will take at most."""
        done = self.done_here()
        if self._settings.steps:
            return self.seconds() * (1 - done) / max(done, 1e-9)
        return self._settings.minutes * 60 * (1 - done)

    def done_here(self) -> float:
        """The same as this process sees it."""
        if self._reached:
            return 1.0
        if self._settings.steps:
            return min(self.state.step / self._settings.steps, 1.0)
        return min(self.seconds() / max(self._settings.minutes * 60, 1e-9), 1.0)

    def _resume_clock(self) -> None:
        self._seconds_before, self._started = self.state.seconds, time.perf_counter()
        # Not at once: the clock goes on meanwhile, and the rates would jump over their warm-up.
        self._next_measurement = self.state.seconds + _MEASURING_SECONDS

    # -- the state ---------------------------------------------------------------------------------

    def resume(self, checkpoints: Checkpoints) -> None:
        """Take up the newest saved state of this very training, if there is one."""
        saved = checkpoints.latest()
        if saved is not None and self.state.read(saved.folder, self._belongs_to):
            self._reached = self._goal_is_reached()
            self._resume_clock()
        if self.state.step != self._processes.agreed(self.state.step):
            raise InputError("The processes do not see the same checkpoint; give them all one folder that they share.")

    def save(self, checkpoints: Checkpoints) -> None:
        """Save the state as it is."""
        if self._processes.rank == 0:
            self.state.seconds = self.seconds()
            checkpoints.save(self.state.step, lambda folder: self.state.write(folder, self._belongs_to))

    @property
    def reports(self) -> bool:
        """Whether this process is the one that measures, reports and saves."""
        return self._processes.rank == 0

    def stops(self, cancelled: Callable[[], bool]) -> Callable[[], bool]:
        """What is asked within a step. Among several processes nobody leaves the others waiting there: they agree
        between two steps, see :meth:`all_stop`."""
        return cancelled if self._processes.count == 1 else _never

    def all_stop(self, cancelled: Callable[[], bool]) -> bool:
        """Whether any of several processes was told to stop."""
        return self._processes.count > 1 and self._processes.any(cancelled())

    def take_warnings(self) -> list[str]:
        """What the person should read, each sentence once."""
        taken, self._warnings = self._warnings, []
        return taken

    # -- learning ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def learning(self, threads: int) -> Iterator[None]:
        """While this lasts, half of the ``threads`` make batches ahead and half learn."""
        torch.set_num_threads(max(1, threads // 2))
        stream = self._stream = BatchStream(self._lesson, self.state.step, max(1, threads - threads // 2))
        before = self.state.rendering_seconds
        try:
            yield
        finally:
            self._stream = None
            stream.close()
            self.state.rendering_seconds = before + stream.making_seconds

    def _lesson(self, number: int) -> Lesson:
        """The batch of a step; ahead of its time, but that hardly matters to what it is like."""
        steps = self._settings.steps
        return self._lessons.lesson(number, number / steps if steps else self.done_here())

    def step(self, done: float, cancelled: Callable[[], bool]) -> bool:
        """Learn from one batch; ``done`` (0 to 1) sets the learning rate. False: cancelled, and the state is as if
        the step had not begun."""
        assert self._stream is not None, "steps are taken within learning()"
        state, settings = self.state, self._settings
        lesson = self._stream.get(state.step, cancelled)
        started = time.perf_counter()
        loss = None if lesson is None else self._gradient_in_parts(lesson, done, cancelled)
        if loss is None:
            return False
        self._processes.average_gradients(state.network)
        optimisation.bound(state.network, settings.clipping)
        optimisation.step(state.optimisers, optimisation.schedule(done, settings.warm_up))
        optimisation.average(state.averaged, state.network, state.step, settings.averaging)
        state.step += 1
        state.images += settings.batch_size * self._processes.count
        state.learning_seconds += time.perf_counter() - started
        self.loss = loss
        return True

    def _gradient_in_parts(self, lesson: Lesson, done: float, cancelled: Callable[[], bool]) -> float | None:
        """The loss, its gradient left in the network. None: cancelled. Where memory runs out, the batch is processed
        in twice as many parts, now and from then on."""
        while True:
            try:
                return self._gradient(lesson, done, cancelled)
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if self.state.parts * 2 > self._settings.batch_size:
                    raise InputError(
                        f"The memory does not suffice for X-rays of {self._settings.image_side} pixels; choose a "
                        "smaller image_side or backbone, or another device."
                    ) from None
            self.state.parts *= 2
            self.state.network.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._warnings.append(
                f"Memory ran out; batches of {self._settings.batch_size} X-rays are now processed in "
                f"{self.state.parts} parts."
            )

    def _gradient(self, lesson: Lesson, done: float, cancelled: Callable[[], bool]) -> float | None:
        network, loss_of = self.state.network, self._lessons.loss(lesson.body)
        late = loss_of.compares_images and done >= 1 - self._settings.image_share
        network.zero_grad(set_to_none=True)
        count, total = len(lesson), 0.0
        for indices in np.array_split(np.arange(count), self.state.parts):
            part = lesson.part(slice(int(indices[0]), int(indices[-1]) + 1), self._device)
            outputs = apply(network, part.images, learning=True)
            predicted = self._parameterisation(outputs.poses).through(part.zooms[:, None])
            loss = loss_of(predicted, outputs, part, late) * (len(part) / count)
            if cancelled():
                return None
            loss.backward()
            if cancelled():
                return None
            total += float(loss.detach())
        return total

    # -- measuring ---------------------------------------------------------------------------------

    def validate_when_due(self) -> bool:
        """Measure the error on unseen X-rays if it is time for that; whether it was. The average of the weights is
        kept where it is the best so far, and the budget is used up where the goal is reached."""
        if self._processes.rank > 0:
            return False
        if self._settings.steps:
            due = self.state.step % max(_STEPS_APART, self._settings.steps // _MEASUREMENTS) == 0
        else:
            due = self.seconds() >= self._next_measurement
        if due:
            self._validate()
        return due

    def _validate(self) -> None:
        before = self.seconds()
        errors = self._errors(self.state.averaged, live=True)
        estimate = ErrorEstimate.of(errors)
        self.state.curve.append(Validation(self.seconds(), self.state.images, estimate))
        if estimate.median_mm < self.state.best_error_mm:
            self.state.best_error_mm = estimate.median_mm
            self.state.best.load_state_dict(self.state.averaged.state_dict())
        self._reached = self._goal_is_reached()
        now = self.seconds()
        self._next_measurement = now + max(_MEASURING_SECONDS, (now - before) / _MEASURING_SHARE)

    def finish(self) -> None:
        """Measure the last state, and the best one thoroughly."""
        if self._processes.rank > 0:
            return
        if not self.state.curve or self.state.curve[-1].images < self.state.images:
            self._validate()
        with one_thread():
            self._final = [self._errors(self.state.best, disturbed=disturbed) for disturbed in (False, True)]

    def _goal_is_reached(self) -> bool:
        goal, curve = self._settings.until_mm, self.state.curve
        return goal is not None and bool(curve) and curve[-1].estimate.is_below(goal)

    def _errors(self, network: PoseEncoder, *, disturbed: bool = False, live: bool = False) -> np.ndarray:
        looks = min(self._settings.looks, _LIVE_LOOKS) if live else self._settings.looks

        def reader(frame: PoseFrame) -> PoseReader:
            return PoseReader(network, self._parameterisation, frame, looks, self._device)

        return np.concatenate([u.errors(reader(u.frame), disturbed=disturbed, half=live) for u in self._unseen])

    def record(self) -> dict:
        """What the model file says of its training: how long it took and, in mm over the landmarks, the errors on
        unseen simulated X-rays, as they are and disturbed like the training's. Of the first process only."""
        if self._processes.rank > 0:
            return {"processes": self._processes.count}
        plain, disturbed = (ErrorEstimate.of(errors) for errors in self._final)
        return {
            "seconds": self.seconds(),
            "rendering_seconds": self.state.rendering_seconds,
            "learning_seconds": self.state.learning_seconds,
            "images": self.state.images,
            "steps": self.state.step,
            "goal_reached": self._reached,
            "unseen_images": len(self._final[0]),
            "median_error_mm": plain.median_mm,
            "median_error_interval_mm": [plain.low_mm, plain.high_mm],
            "percentile95_error_mm": plain.percentile95_mm,
            "disturbed_median_error_mm": disturbed.median_mm,
            "disturbed_percentile95_error_mm": disturbed.percentile95_mm,
            "curve": [point.to_json() for point in self.state.curve],
            "parts": self.state.parts,
            "processes": self._processes.count,
            "device": self._device,
        }


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "alloc" in str(error) and "memory" in str(error)  # torch on the CPU has no class of its own for it


def _never() -> bool:
    return False


def _digest(network: PoseEncoder | None) -> str | None:
    if network is None:
        return None
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
