"""Training the pose encoder within a budget of time or of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import Cancelled, InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.values import CTVolume
from ..metrics.errors import target_registration_errors
from .augmentation import disturbed, normalised
from .coordinates import coordinate_scale, coordinates_to_poses
from .image_term import image_term
from .losses import geodesic_loss, log_loss
from .network import PoseEncoder
from .simulator import TrainingSimulator, has_content
from .training_state import Checkpoints, TrainingState, Validation

LEVER_ARM_MM = 100.0
_REPORT_SECONDS = 0.5
# Saving a checkpoint every so often, and less often where that would take more than this share of the time.
_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE = 10.0, 0.02


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    minutes
        Time budget for learning; validation comes on top (a second). How many steps fit into it depends on
        what else the machine does, so two trainings agree in accuracy but not to the bit.
    steps
        Instead of the time: exactly so many batches. The same seed then gives the same weights to the bit
        on the same machine (same packages, same number of threads), also if it is stopped and resumed.
    geodesic_weight, log_weight, image_weight
        Weights of the loss's terms: double geodesic and tangent distance [1/mm], and 1 - NCC between the
        X-ray and the one simulated at the predicted pose.
    hidden_rate, other_rate
        Learning rates of Muon and AdamW, see :mod:`.muon`.
    image_share
        Share of the batches, at the end of the training, that have the image term (it needs a second
        rendering, and far from the truth it has no useful gradient).
    """

    minutes: float = 2.0
    steps: int | None = None
    batch_size: int = 64
    hidden_rate: float = 0.015
    other_rate: float = 2e-3
    geodesic_weight: float = 1e-2
    log_weight: float = 2e-3
    image_weight: float = 1.0
    image_share: float = 0.0
    validation_images: int = 200
    seed: int = 0


@dataclass
class TrainingProgress:
    """What the person is told while training: share done, remaining time, errors on unseen X-rays so far."""

    done: float
    remaining_seconds: float
    images: int
    loss: float
    median_error_mm: float
    percentile95_error_mm: float
    curve: list[Validation]


@dataclass
class Trained:
    """Weights (by name) and the record of a training."""

    network: PoseEncoder
    record: dict


def train(
    ct: CTVolume,
    camera: Camera,
    pose_range: PoseRange,
    landmarks: np.ndarray,
    settings: TrainingSettings | None = None,
    device: str = "cpu",
    on_progress: Callable[[TrainingProgress], None] | None = None,
    *,
    cancelled: Callable[[], bool] | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float | None = None,
) -> Trained:
    """Trains a :class:`PoseEncoder` for one CT, camera and pose range.

    Parameters
    ----------
    landmarks
        Points [n, 3] (RAS, mm) whose error is reported.
    on_progress
        Called every half second or so; what it raises ends the training.
    cancelled
        Asked several times a step; True ends the training, with its state saved.
    checkpoints
        Where the state is saved and, if one of this very training is there, taken up again.
    checkpoint_seconds
        How often; by default every 10 s, less often where saving takes more than 2 % of the time.

    Raises
    ------
    InputError
        If the CT projects into the image from next to none of the range's poses.
    Cancelled
        If ``cancelled`` said so.
    """
    training = _Training(ct, camera, pose_range, landmarks, settings or TrainingSettings(), device)
    if checkpoints is not None:
        training.resume(checkpoints)
    saver = _Saver(training, checkpoints, checkpoint_seconds)
    last_report = last_validation = time.perf_counter()
    while (done := training.done()) < 1:
        if not training.step(done, cancelled or _never):
            saver.save()
            raise Cancelled
        saver.save_when_due()
        now = time.perf_counter()
        if on_progress is not None and now - last_report > _REPORT_SECONDS:
            if now - last_validation > training.validation_interval:
                training.validate()
                last_validation = time.perf_counter()
            last_report = now
            on_progress(training.progress())
    training.validate()
    if on_progress is not None:
        on_progress(training.progress())
    return Trained(training.state.averaged.cpu().eval(), training.record())


class _Training:
    """What stays the same during a training, and its state."""

    def __init__(
        self,
        ct: CTVolume,
        camera: Camera,
        pose_range: PoseRange,
        landmarks: np.ndarray,
        settings: TrainingSettings,
        device: str,
    ) -> None:
        self._settings, self._device = settings, device
        self._pose_range, self._landmarks = pose_range, landmarks
        self._simulator = TrainingSimulator(ct, camera, pose_range)
        _require_content(self._simulator, np.random.default_rng(settings.seed), ct.name)
        self._validation = _validation_set(self._simulator, settings)
        self._scale = torch.tensor(coordinate_scale(pose_range), dtype=torch.float32, device=device)
        self._belongs_to = {
            "settings": asdict(settings),
            "ct": ct.fingerprint,
            "camera": camera.to_json(),
            "pose_range": pose_range.to_json(),
        }
        self.state = TrainingState.new(settings.seed, device, settings.hidden_rate, settings.other_rate)
        self._loss = math.nan
        self._errors = np.array([math.nan])
        self._resume_clock()

    @property
    def validation_interval(self) -> float:
        """Seconds from one validation to the next."""
        return max(5.0, 0.0 if self._settings.steps else self._settings.minutes * 5)

    def seconds(self) -> float:
        """Time spent learning so far, over all attempts."""
        return self._seconds_before + time.perf_counter() - self._started

    def done(self) -> float:
        """Share of the budget that is used up, 0 to 1."""
        if self._settings.steps:
            return min(self.state.step / self._settings.steps, 1.0)
        return min(self.seconds() / (self._settings.minutes * 60), 1.0)

    def resume(self, checkpoints: Checkpoints) -> None:
        """Take up the newest saved state of this very training, if there is one."""
        saved = checkpoints.latest()
        if saved is not None and self.state.read(saved.folder, self._belongs_to):
            self._resume_clock()

    def save(self, checkpoints: Checkpoints) -> None:
        """Save the state as it is."""
        self.state.seconds = self.seconds()
        checkpoints.save(self.state.step, lambda folder: self.state.write(folder, self._belongs_to))

    def step(self, done: float, cancelled: Callable[[], bool]) -> bool:
        """Learn from one batch; ``done`` (0 to 1) sets the learning rate. False: cancelled, and the state is as if
        the step had not begun."""
        state = self.state
        random, torch_random = state.random.bit_generator.state, state.torch_random.get_state()
        loss = None if cancelled() else self._loss_of_batch(done, cancelled)
        if loss is not None:
            state.network.zero_grad(set_to_none=True)
            loss.backward()
        if loss is None or cancelled():
            state.random.bit_generator.state = random
            state.torch_random.set_state(torch_random)
            return False
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        for optimiser in state.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * _schedule(done)
            optimiser.step()
        _average(state.averaged, state.network, state.step)
        state.step += 1
        state.images += self._settings.batch_size
        self._loss = float(loss.detach())
        return True

    def _loss_of_batch(self, done: float, cancelled: Callable[[], bool]) -> Tensor | None:
        """The loss on a new batch; None: cancelled."""
        settings, state, device = self._settings, self.state, self._device
        before = time.perf_counter()
        clean, _, coordinates = self._simulator.batch(state.random, settings.batch_size, state.step)
        state.rendering_seconds += time.perf_counter() - before
        if cancelled():
            return None
        target = torch.from_numpy(coordinates.astype(np.float32)).to(device)
        image, mask = disturbed(torch.from_numpy(clean)[:, None], state.torch_random)
        predicted = _apply(state.network, normalised(image, mask).to(device))
        loss = settings.geodesic_weight * geodesic_loss(predicted, target, self._scale, LEVER_ARM_MM)
        loss = loss + settings.log_weight * log_loss(predicted, target, self._scale, LEVER_ARM_MM)
        if settings.image_weight > 0 and done > 1 - settings.image_share:
            loss = loss + settings.image_weight * image_term(predicted, clean, self._simulator, state.step, self._scale)
        return None if cancelled() else loss

    def validate(self) -> None:
        """Measure the errors on the unseen X-rays and enter them in the curve."""
        self._errors = validation_errors(
            self.state.averaged, self._validation, self._pose_range, self._landmarks, self._device
        )
        median, high = float(np.median(self._errors)), float(np.percentile(self._errors, 95))
        self.state.curve.append(Validation(self.seconds(), self.state.images, median, high))

    def progress(self) -> TrainingProgress:
        """What there is to tell now."""
        done, curve = self.done(), self.state.curve
        if self._settings.steps:
            remaining = self.seconds() * (1 - done) / max(done, 1e-9)
        else:
            remaining = self._settings.minutes * 60 * (1 - done)
        median, high = (curve[-1].median_mm, curve[-1].percentile95_mm) if curve else (math.nan, math.nan)
        return TrainingProgress(done, remaining, self.state.images, self._loss, median, high, list(curve))

    def record(self) -> dict:
        """What the model file says of its training."""
        return {
            "settings": asdict(self._settings),
            "seconds": self.seconds(),
            "rendering_seconds": self.state.rendering_seconds,
            "images": self.state.images,
            "steps": self.state.step,
            "unseen_images": len(self._errors),
            "median_error_mm": float(np.median(self._errors)),
            "percentile95_error_mm": float(np.percentile(self._errors, 95)),
            "curve": [asdict(point) for point in self.state.curve],
            "device": self._device,
        }

    def _resume_clock(self) -> None:
        self._seconds_before, self._started = self.state.seconds, time.perf_counter()


class _Saver:
    """Saves a training's state now and then."""

    def __init__(self, training: _Training, checkpoints: Checkpoints | None, interval: float | None) -> None:
        self._training, self._checkpoints = training, checkpoints
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
        self._training.save(self._checkpoints)
        self._last = time.perf_counter()
        if self._given is None:
            self._interval = max(_CHECKPOINT_SECONDS, (self._last - before) / _CHECKPOINT_SHARE)


def validation_errors(
    network: PoseEncoder,
    validation: tuple[Tensor, np.ndarray],
    pose_range: PoseRange,
    landmarks: np.ndarray,
    device: str = "cpu",
) -> np.ndarray:
    """Target registration errors [n] (mm, mean over the landmarks) on the validation images."""
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([_apply(network, part.to(device)).cpu() for part in validation[0].split(64)])
    network.train()
    poses = coordinates_to_poses(predicted.numpy().astype(np.float64), pose_range)
    return np.array(
        [target_registration_errors(a, b, landmarks).mean() for a, b in zip(poses, validation[1], strict=True)]
    )


def _apply(network: PoseEncoder, image: Tensor) -> Tensor:
    """The network in bfloat16 where the processor has it; coordinates come back in float32."""
    with torch.autocast(image.device.type, torch.bfloat16, enabled=_bfloat16(image.device.type)):
        return network(image.contiguous(memory_format=torch.channels_last)).float()


def _bfloat16(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _never() -> bool:
    return False


def _schedule(done: float) -> float:
    """Warm-up over the first 3 % of the budget, then a cosine to zero."""
    warm_up = 0.03
    return done / warm_up if done < warm_up else 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


@torch.no_grad()
def _average(averaged: PoseEncoder, network: PoseEncoder, step: int) -> None:
    """Exponential moving average of the weights, which evens out the noise of small batches."""
    decay = min(0.995, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)


def _validation_set(simulator: TrainingSimulator, settings: TrainingSettings) -> tuple[Tensor, np.ndarray]:
    """Unseen X-rays, disturbed like the training's, and their poses; drawn from another stream."""
    random = np.random.default_rng([settings.seed, 1])
    torch_random = torch.Generator().manual_seed(settings.seed + 1)
    inputs, poses = [], []
    left = settings.validation_images
    number = 0
    while left > 0:
        images, part, _ = simulator.batch(random, min(left, 64), number)
        inputs.append(normalised(*disturbed(torch.from_numpy(images)[:, None], torch_random)))
        poses.append(part)
        left -= len(part)
        number += 1
    return torch.cat(inputs), np.concatenate(poses)


def _require_content(simulator: TrainingSimulator, random: np.random.Generator, name: str) -> None:
    poses = simulator.pose_range.sample(random, 64)
    seen = has_content(simulator.renderer(0).render_batch(simulator.camera, poses, simulator.level)).mean()
    if seen < 0.25:
        raise InputError(
            f"{name} projects into the image from only {seen:.0%} of the poses in the range; check the view, the "
            "source-to-isocentre distance and the X-ray's geometry."
        )
