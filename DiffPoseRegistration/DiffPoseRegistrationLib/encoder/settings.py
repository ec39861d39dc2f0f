"""How to train: every choice by name, with what measures best per minute as the default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..errors import InputError
from .augmentation import REAL_XRAYS, checked_shares
from .frame import PoseFrame
from .network import NetworkShape
from .parameterisation import ROTATIONS, TRANSLATIONS, WIDEST_ROTATION_VECTOR_RAD, Parameterisation

OPTIMISERS, CLIPPINGS = ("muon", "adam"), ("norm", "adaptive")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    minutes, until_mm
        Budget: the training ends when the time is over or when the median error on unseen simulated X-rays is below
        ``until_mm`` with 97.5 % confidence, whichever comes first. How many steps fit into a time depends on what
        else the machine does, so two trainings agree in accuracy but not to the bit.
    steps
        Instead of the time: at most so many batches. The same seed then gives the same weights to the bit on the same
        machine (same packages, same number of threads), also if it is stopped and resumed.
    seed
        Of everything random.
    batch_size, parts
        X-rays a step, and in how many parts they are processed one after the other, to save memory.
    backbone, widths, hypotheses
        See ``NetworkShape``; 0 hypotheses: one, or four where the range reaches round the patient.
    image_side, contrast_boxes_px
        Longest side of the network's image in pixels; the boxes in which it is normalised, see ``network_input``.
    rotation, translation
        Pose parameterisation, see :mod:`.parameterisation`; rotation "auto": ``rotation_vector``, or ``rotation_6d``
        where the range is too wide for it.
    optimiser, hidden_rate, rate, warm_up, clipping, averaging
        "muon" with ``hidden_rate`` for the trunk and AdamW with ``rate`` for the rest, or "adam" with ``rate`` for
        all; share of the budget over which the rates rise; bound on the gradient ("norm", "adaptive"); decay of the
        moving average of the weights that is kept (0: none).
    landmark_weight, coordinate_weight, vote_weight, geodesic_weight, log_weight, consistency_weight
        Weights [1/mm] of the distances between poses, of the scene coordinates and of the cells' votes, see
        :mod:`.losses`.
    image_weight, image_patch_px, dice_weight, image_share
        Weight of ``1 - NCC`` between the X-ray and the one simulated at the predicted pose, patch of its finer scale
        (0: the whole image only), and weight of ``1 - Dice`` of the structures' projections, where structures are
        given. They count in the last ``image_share`` of the budget: far from the truth they have no useful gradient,
        and they need a second rendering.
    lever_arm_mm
        Of the double geodesic distance; None: half the source-to-detector distance.
    bone_contrasts, distance_jitter, principal_point_jitter_px, aimed_share
        Of the simulated X-rays, see ``TrainingSimulator``.
    augmentation, undisturbed_until, all_disturbed_from
        See ``augmentation.disturbed``. Up to the first share of the budget no X-ray is disturbed, from the second on as
        many as ``augmentation`` says, and between them more and more: what a body looks like is learned faster from
        clean images. With ``until_mm``, which may end the training at any time, all are from the beginning.
    looks
        From how many aimed cameras an X-ray is read after the first reading, see :mod:`.reading`; 0: it is read once.
    validation_images
        Unseen X-rays on which the error is measured.

    Raises
    ------
    InputError
        Naming what cannot be used.
    """

    minutes: float = 2.0
    until_mm: float | None = None
    steps: int | None = None
    seed: int = 0
    batch_size: int = 64
    parts: int = 1
    backbone: str = "patch"
    widths: tuple[int, ...] = (32, 64, 128)
    hypotheses: int = 0
    image_side: int = 64
    contrast_boxes_px: tuple[int, ...] = (5, 9)
    rotation: str = "auto"
    translation: str = "projection"
    optimiser: str = "muon"
    hidden_rate: float = 0.015
    rate: float = 2e-3
    warm_up: float = 0.03
    clipping: str = "norm"
    averaging: float = 0.97
    landmark_weight: float = 1e-2
    coordinate_weight: float = 3e-2
    vote_weight: float = 1e-2
    geodesic_weight: float = 0.0
    log_weight: float = 0.0
    consistency_weight: float = 0.0
    image_weight: float = 0.0
    image_patch_px: int = 0
    dice_weight: float = 0.0
    image_share: float = 1.0
    lever_arm_mm: float | None = None
    # From a little below the linear rule to more than cortical bone at 50 keV.
    bone_contrasts: tuple[float, ...] = (0.033, 0.045, 0.065)
    distance_jitter: float = 0.0
    principal_point_jitter_px: float = 0.0
    aimed_share: float = 0.8
    augmentation: Mapping[str, float] = field(default_factory=lambda: dict(REAL_XRAYS))
    undisturbed_until: float = 0.3
    all_disturbed_from: float = 0.8
    looks: int = 16
    validation_images: int = 400

    def __post_init__(self) -> None:
        for name in ("widths", "contrast_boxes_px", "bone_contrasts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and low <= value <= high):
                raise InputError(f"The training's {name} is {value!r}; give a number from {low:g} to {high:g}.")
        for name in _WHOLE:
            if isinstance(getattr(self, name), float) and not getattr(self, name).is_integer():
                raise InputError(f"The training's {name} is {getattr(self, name)!r}; give a whole number.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"The training's {name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}."
                )
        if not self.bone_contrasts or not all(_is_number(c) and 0 < c <= 1 for c in self.bone_contrasts):
            raise InputError("The training's bone_contrasts must be attenuations between 0 and 1 per mm.")
        if self.parts > self.batch_size:
            raise InputError(f"A batch of {self.batch_size} X-rays cannot be split in {self.parts} parts.")
        checked_shares(self.augmentation)
        NetworkShape(self.backbone, self.widths, 6, max(self.hypotheses, 1), self.contrast_boxes_px)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], base: TrainingSettings | None = None) -> TrainingSettings:
        """``base`` (default: the defaults) with ``values`` by name. Raises InputError."""
        known = {f.name for f in fields(cls)}
        if not isinstance(values, Mapping):
            raise InputError("Training settings are a JSON object of names and values.")
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"Training setting {unknown[0]!r} is not known; there are {', '.join(sorted(known))}.")
        try:
            return replace(base or cls(), **values)
        except (TypeError, ValueError, AttributeError):
            raise InputError("A training setting has a value of the wrong kind; see the names and defaults.") from None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def disturbed(self, done: float) -> float:
        """Share (0 to 1) of ``augmentation`` that holds when ``done`` (0 to 1) of the budget is used up."""
        if self.until_mm is not None or done >= self.all_disturbed_from:
            return 1.0
        rise = max(self.all_disturbed_from - self.undisturbed_until, 1e-9)
        return min(max((done - self.undisturbed_until) / rise, 0.0), 1.0)

    def parameterisation(self, frame: PoseFrame) -> Parameterisation:
        """The parameterisation for poses in ``frame``, "auto" decided."""
        rotation = self.rotation
        if rotation == "auto":
            wide = frame.rotation_rad.max() > WIDEST_ROTATION_VECTOR_RAD
            rotation = "rotation_6d" if wide and self.translation != "tangent" else "rotation_vector"
        return Parameterisation(rotation, self.translation, frame)

    def network_shape(self, frame: PoseFrame) -> NetworkShape:
        """The network for poses in ``frame``."""
        wide = frame.rotation_rad.max() > WIDEST_ROTATION_VECTOR_RAD
        count = self.hypotheses or (_WIDE_HYPOTHESES if wide else 1)
        outputs = self.parameterisation(frame).outputs
        return NetworkShape(self.backbone, self.widths, outputs, count, self.contrast_boxes_px)


_WIDE_HYPOTHESES = 4
_CHOICES = {
    "rotation": ("auto", *ROTATIONS),
    "translation": TRANSLATIONS,
    "optimiser": OPTIMISERS,
    "clipping": CLIPPINGS,
}
_WEIGHTS = (0.0, 1e6)
_BOUNDS = {
    "minutes": (0.0, 1e5),
    "until_mm": (0.1, 1e4),
    "steps": (1, 1e9),
    "seed": (0, 2**32 - 1),
    "batch_size": (1, 1e5),
    "parts": (1, 1e5),
    "hypotheses": (0, 64),
    "image_side": (16, 1024),
    "hidden_rate": (0.0, 10.0),
    "rate": (0.0, 10.0),
    "warm_up": (0.0, 0.9),
    "averaging": (0.0, 0.99999),
    "landmark_weight": _WEIGHTS,
    "coordinate_weight": _WEIGHTS,
    "vote_weight": _WEIGHTS,
    "geodesic_weight": _WEIGHTS,
    "log_weight": _WEIGHTS,
    "consistency_weight": _WEIGHTS,
    "image_weight": _WEIGHTS,
    "image_patch_px": (0, 1024),
    "dice_weight": _WEIGHTS,
    "image_share": (0.0, 1.0),
    "lever_arm_mm": (1.0, 1e5),
    "distance_jitter": (0.0, 0.5),
    "principal_point_jitter_px": (0.0, 100.0),
    "aimed_share": (0.0, 1.0),
    "undisturbed_until": (0.0, 1.0),
    "all_disturbed_from": (0.0, 1.0),
    "looks": (0, 256),
    "validation_images": (1, 1e5),
}
_WHOLE = ("steps", "seed", "batch_size", "parts", "hypotheses", "image_side", "image_patch_px", "looks")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
