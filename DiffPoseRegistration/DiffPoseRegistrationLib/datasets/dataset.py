"""What a data set is, whatever its files: subjects, each a CT with X-rays whose poses are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange, view_pose
from ..imaging.pose_file import Truth
from ..imaging.values import CTVolume, XRay


@dataclass(frozen=True)
class Prior:
    """What is known of a pose before the X-ray is looked at: where the C-arm may stand.

    view
        Named view in the middle, see ``geometry.pose_range``.
    source_to_isocentre_mm
        Distance of the source from the CT's centre there.
    rotation_deg, translation_mm
        Half ranges as of ``PoseRange``.
    origin
        Where these numbers come from, in words: a prior fitted to the poses to be found proves nothing.
    """

    view: str
    source_to_isocentre_mm: float
    rotation_deg: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    origin: str

    def pose_range(self, ct: CTVolume) -> PoseRange:
        """About the centre of ``ct``."""
        centre = view_pose(self.view, ct.centre_ras, self.source_to_isocentre_mm)
        return PoseRange(centre, ct.centre_ras, self.rotation_deg, self.translation_mm)


@dataclass(frozen=True)
class Frame:
    """One X-ray of a subject.

    name
        Unique within the subject.
    view
        Frames of a subject with the same view share a prior, hence a prepared model.
    camera, truth
        Of the X-ray that ``read`` gives.
    read
        Reads it; raises InputError as readers do.
    """

    name: str
    view: str
    camera: Camera
    truth: Truth
    read: Callable[[], XRay]


@dataclass(frozen=True)
class Subject:
    """One patient or specimen: ``read_ct`` reads the CT, ``frames`` are its X-rays."""

    name: str
    frames: tuple[Frame, ...]
    read_ct: Callable[[], CTVolume]


@dataclass(frozen=True)
class Dataset:
    """X-rays with known poses, by subject.

    priors
        By view; empty where the data set says none.
    excluded
        Frames left out (``subject/frame``) with the reason.
    splits
        Names of subjects by the split's name. A split is made of whole subjects: X-rays of one are too alike for some
        to test what was tuned on others.
    facts
        Sentences for the report: source, licence, what the ground truth is, what the reader did.
    options
        What the reader was asked for that changes a registration's numbers.
    """

    name: str
    subjects: tuple[Subject, ...]
    facts: tuple[str, ...]
    priors: Mapping[str, Prior] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def chosen(self, split: str | None = None, names: tuple[str, ...] = ()) -> tuple[Subject, ...]:
        """The subjects of a split, or those named (all without either).

        Raises
        ------
        InputError
            If there is no such split or subject.
        """
        if split is not None:
            if split not in self.splits:
                known = ", ".join(self.splits) or "none"
                raise InputError(f"{self.name} has no split '{split}'; it has {known}.")
            names = self.splits[split]
        missing = [name for name in names if name not in {subject.name for subject in self.subjects}]
        if missing:
            known = ", ".join(subject.name for subject in self.subjects)
            raise InputError(f"{self.name} has no subject {', '.join(missing)}; its file holds {known}.")
        return tuple(subject for subject in self.subjects if not names or subject.name in names)
