"""Prepare a patient: train the encoder on X-rays simulated out of the CT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..encoder.lessons import TrainingBody
from ..encoder.model_file import PreparedModel
from ..encoder.presets import changed
from ..encoder.pretrained import PretrainedEncoder
from ..encoder.settings import TrainingSettings
from ..encoder.training import TrainingProgress, train
from ..encoder.training_state import Checkpoints
from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.alignment import align
from ..imaging.values import CTVolume
from ..rendering.structures import only_structures
from .device import resolved_device
from .scoring import bone_points

Progress = Callable[[float, str, float | None], None]


def prepare(
    ct: CTVolume,
    camera: Camera,
    pose_range: PoseRange,
    settings: TrainingSettings | None = None,
    *,
    labels: np.ndarray | None = None,
    pretrained: PretrainedEncoder | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    watch: Callable[[TrainingProgress], None] | None = None,
    warn: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float | None = None,
) -> PreparedModel:
    """A model that reads the pose of X-rays of ``ct`` taken by ``camera`` from within ``pose_range``.

    Parameters
    ----------
    settings
        How to train and for how long; with ``pretrained`` what :func:`finetuning` gives.
    pretrained
        A network that knows other patients, to begin with; this CT is aligned with their mean.
    labels
        Array [k, j, i] of whole numbers on the CT's voxels: structures for the Dice loss, 0 being none.
    progress
        Called with the share done (0 to 1), a line of text and the remaining seconds.
    watch
        Called with all the numbers, before ``progress``.
    warn
        Called with sentences that the person should read.
    cancelled
        Asked between steps; True ends the training.
    checkpoints, checkpoint_seconds
        Where and how often the training is saved, and taken up again; see :func:`~..encoder.training.train`.

    Raises
    ------
    InputError
        If the CT does not project into the image from the range, the device is missing, the settings ask for
        structures and there are none, or what was pretrained does not fit the settings or the range.
    Cancelled
        If ``cancelled`` said so.
    """
    settings = settings or TrainingSettings()
    structures = _structures(ct, labels) if labels is not None else ()
    if settings.dice_weight > 0 and not structures:
        raise InputError("The Dice loss compares structures; give a segmentation of the CT, or set dice_weight to 0.")
    frame = None
    if pretrained is not None:
        if progress is not None:
            progress(0.0, "aligning the CT with those learned from", None)
        found = align(pretrained.template, ct)
        if not found.is_convincing and warn is not None:
            warn(
                f"{ct.name} looks little like those that the network was pretrained on (correlation "
                f"{found.correlation:.2f} once aligned); it may have to learn anew."
            )
        pretrained.require_range(pose_range, found.motion)
        frame = pretrained.frame.moved(found.motion)
    trained = train(
        [TrainingBody(ct, pose_range, bone_points(ct), frame=frame, structures=structures)],
        camera,
        settings,
        resolved_device(device),
        training_reporter(progress, watch, warn),
        weights=None if pretrained is None else pretrained.network,
        cancelled=cancelled,
        checkpoints=checkpoints,
        checkpoint_seconds=checkpoint_seconds,
    )
    return PreparedModel(
        trained.network,
        trained.frame,
        settings,
        camera,
        pose_range,
        ct.fingerprint,
        ct.name,
        ct.mapping,
        trained.record,
    )


def _structures(ct: CTVolume, labels: np.ndarray) -> tuple[CTVolume, ...]:
    chosen: Sequence[int] = [int(label) for label in np.unique(labels) if label > 0]
    return tuple(only_structures(ct, labels, [label]) for label in chosen)


def finetuning(
    pretrained: PretrainedEncoder, training: Mapping[str, Any] | None = None, **budget: Any
) -> TrainingSettings:
    """The settings to go on from ``pretrained`` with: its own, with those in ``training`` by name and then those in
    ``budget`` that are not None instead; without ``until_mm`` and ``steps`` of its own. Raises InputError."""
    base = replace(pretrained.settings, until_mm=None, steps=None, seed=TrainingSettings.seed)
    return changed(base, training, budget)


def training_reporter(
    progress: Progress | None,
    watch: Callable[[TrainingProgress], None] | None,
    warn: Callable[[str], None] | None,
) -> Callable[[TrainingProgress], None]:
    """Tells everyone who wants to know how a training goes."""

    def report(state: TrainingProgress) -> None:
        if watch is not None:
            watch(state)
        if warn is not None:
            for sentence in state.warnings:
                warn(sentence)
        if progress is not None:
            progress(state.done, progress_in_words(state), state.remaining_seconds)

    return report


def progress_in_words(state: TrainingProgress) -> str:
    """Such as "12800 simulated X-rays, median error on unseen ones 11.3 mm (10.1 to 12.9)"."""
    text = f"{state.images} simulated X-rays"
    if state.error is not None:
        error = state.error
        text += f", median error on unseen ones {error.median_mm:.1f} mm"
        if error.low_mm is not None:
            text += f" ({error.low_mm:.1f} to {error.high_mm:.1f})"
    return text
