"""The papers' settings by name, and ours.

Read from the authors' released code, which in places differs from the papers:

``diffpose``
    ResNet-18 at 256 x 256, logarithm in se(3), batches of 8, Adam 1e-3 with 500 steps of warm-up of 100 000, adaptive
    clipping, loss ``1 - NCC + 1e-2 (log + geodesic)``, bone contrast times 1 to 10 and no other augmentation; poses
    normally distributed on the tangent space as for its pelvis data. Its NCC is that of the whole image; the paper
    says patches of 13 pixels as well (``image_patch_px``).
``xvr``
    ResNet-34 at 128 x 128, quaternion adjugate, batches of 116, four of them a step, Adam 1e-3, adaptive clipping,
    loss ``1 - (NCC of the image and of patches of 9 pixels) / 2 + 1e-2 geodesic + 1 - Dice`` where structures are
    given, augmentation of a third of the images, and the pose range of its pelvis model.

Which of the two transverse axes of the image has which of DiffPose's deviations is our reading. A contrast is drawn
from five values instead of continuously, since another contrast is another volume to render.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .settings import TrainingSettings

_XVR_AUGMENTATION = ("local_contrast", "gamma", "blur", "noise", "sharpen", "patch", "blades")
_BONE_TIMES_1_TO_10 = tuple(0.0384 * times for times in (1.0, 1.8, 3.2, 5.6, 10.0))


@dataclass(frozen=True)
class Preset:
    """A training and the pose range that goes with it, where the person gives none.

    rotation_deg, translation_mm, distribution
        As for ``PoseRange``.
    """

    training: TrainingSettings
    rotation_deg: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    distribution: str = "uniform"


PRESETS = {
    "default": Preset(TrainingSettings(), (30.0, 30.0, 30.0), (60.0, 120.0, 60.0)),
    "diffpose": Preset(
        TrainingSettings(
            minutes=720.0,
            batch_size=8,
            backbone="resnet18",
            image_side=256,
            contrast_boxes_px=(),
            rotation="rotation_vector",
            translation="tangent",
            optimiser="adam",
            rate=1e-3,
            warm_up=500 / 100_000,
            clipping="adaptive",
            averaging=0.0,
            landmark_weight=0.0,
            coordinate_weight=0.0,
            vote_weight=0.0,
            geodesic_weight=1e-2,
            log_weight=1e-2,
            image_weight=1.0,
            bone_contrasts=_BONE_TIMES_1_TO_10,
            aimed_share=0.0,
            augmentation={},
            looks=0,
        ),
        (14.3, 11.5, 5.7),
        (50.0, 90.0, 70.0),
        "gaussian",
    ),
    "xvr": Preset(
        TrainingSettings(
            minutes=1440.0,
            batch_size=464,
            parts=4,
            backbone="resnet34",
            image_side=128,
            contrast_boxes_px=(),
            rotation="quaternion_adjugate",
            translation="camera",
            optimiser="adam",
            rate=1e-3,
            warm_up=1000 / 30_000,
            clipping="adaptive",
            averaging=0.0,
            landmark_weight=0.0,
            coordinate_weight=0.0,
            vote_weight=0.0,
            geodesic_weight=1e-2,
            image_weight=1.0,
            image_patch_px=9,
            dice_weight=1.0,
            bone_contrasts=_BONE_TIMES_1_TO_10,
            aimed_share=0.0,
            augmentation=dict.fromkeys(_XVR_AUGMENTATION, 1 / 3),
            all_disturbed_from=0.0,
            looks=0,
        ),
        (45.0, 45.0, 15.0),
        (150.0, 275.0, 150.0),
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name. Raises InputError if there is none."""
    if name not in PRESETS:
        raise InputError(f"Preset {name!r} is not known; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def chosen_settings(
    name: str = "default", training: Mapping[str, Any] | None = None, **budget: Any
) -> TrainingSettings:
    """The settings of the preset ``name``, with those in ``training`` by name and then those in ``budget`` that are not
    None instead. Raises InputError."""
    return changed(preset(name).training, training, budget)


def changed(base: TrainingSettings, training: Mapping[str, Any] | None, budget: Mapping[str, Any]) -> TrainingSettings:
    """``base`` with those in ``training`` by name and then those in ``budget`` that are not None instead. Raises
    InputError."""
    settings = TrainingSettings.from_json(training or {}, base)
    return TrainingSettings.from_json({key: value for key, value in budget.items() if value is not None}, settings)
