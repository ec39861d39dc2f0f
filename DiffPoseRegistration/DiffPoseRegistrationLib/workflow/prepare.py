"""Prepare a patient: train the encoder on X-rays simulated out of the CT."""

from __future__ import annotations

from collections.abc import Callable

from ..encoder.model_file import PreparedModel
from ..encoder.training import TrainingProgress, TrainingSettings, train
from ..encoder.training_state import Checkpoints
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.values import CTVolume
from .device import resolved_device
from .scoring import bone_points


def prepare(
    ct: CTVolume,
    camera: Camera,
    pose_range: PoseRange,
    *,
    minutes: float = 2.0,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[float, str, float | None], None] | None = None,
    watch: Callable[[TrainingProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float | None = None,
) -> PreparedModel:
    """A model that reads the pose of X-rays of ``ct`` taken by ``camera`` from within ``pose_range``.

    Parameters
    ----------
    minutes
        Time to learn. steps: instead of it, exactly so many batches; see ``TrainingSettings``.
    progress
        Called with the share done (0 to 1), a line of text and the remaining seconds.
    watch
        Called with all the numbers, before ``progress``.
    cancelled
        Asked between steps; True ends the training.
    checkpoints, checkpoint_seconds
        Where and how often the training is saved, and taken up again; see :func:`~..encoder.training.train`.

    Raises
    ------
    InputError
        If the CT does not project into the image from the range, or the device is missing.
    Cancelled
        If ``cancelled`` said so.
    """

    def report(state: TrainingProgress) -> None:
        if watch is not None:
            watch(state)
        if progress is not None:
            text = f"{state.images} simulated X-rays"
            if state.median_error_mm == state.median_error_mm:  # not NaN: validated at least once
                text += f", error on unseen ones {state.median_error_mm:.1f} mm (median)"
            progress(state.done, text, state.remaining_seconds)

    settings = TrainingSettings(minutes=minutes, steps=steps, seed=seed)
    trained = train(
        ct,
        camera,
        pose_range,
        bone_points(ct),
        settings,
        resolved_device(device),
        report,
        cancelled=cancelled,
        checkpoints=checkpoints,
        checkpoint_seconds=checkpoint_seconds,
    )
    return PreparedModel(trained.network, camera, pose_range, ct.fingerprint, ct.name, trained.record)
