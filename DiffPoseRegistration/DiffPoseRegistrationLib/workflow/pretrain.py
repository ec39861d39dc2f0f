"""Pretrain: one network from the CTs of many people, which knows anatomy before it meets a patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from ..encoder.frame import PoseFrame
from ..encoder.lessons import TrainingBody
from ..encoder.pretrained import PretrainedEncoder
from ..encoder.settings import TrainingSettings
from ..encoder.training import TrainingProgress, train
from ..encoder.training_state import Checkpoints
from ..errors import Cancelled, InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.alignment import Alignment, align, mean_of
from ..imaging.ct_reader import read_ct
from ..imaging.ct_size import of_reasonable_size
from ..imaging.values import CTVolume
from .device import resolved_device
from .prepare import Progress, training_reporter
from .scoring import bone_points

VOLUME_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_MOST_VOXELS = 5_000_000  # of a volume: the network's pixels are coarser, and many volumes share the memory


def find_volumes(places: Sequence[str | Path], match: str = "*") -> list[Path]:
    """The volumes in ``places``: files, and folders with volume files or DICOM series at any depth, sorted.

    ``match``: of volume files only those whose name fits this pattern, such as ``ct.nii.gz``.

    Raises
    ------
    InputError
        If a place does not exist or there is nothing.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise InputError(f"{place} does not exist; give folders or files with volumes.")
        found += [place] if place.is_file() else _volumes_in(place, match)
    if not found:
        raise InputError(
            f"There is no volume ({', '.join(VOLUME_SUFFIXES)}, or a folder with a DICOM series) in "
            f"{', '.join(map(str, places))}" + (f" that fits {match!r}." if match != "*" else ".")
        )
    return list(dict.fromkeys(found))


def read_volumes(
    paths: Sequence[Path], mapping: str = "ct", *, warn: Callable[[str], None], cancelled: Callable[[], bool]
) -> list[CTVolume]:
    """The volumes in files and folders, made small; what cannot be read is left out, with a word.

    Raises
    ------
    InputError
        If none is left.
    Cancelled
        If ``cancelled`` said so.
    """
    volumes, known = [], set()
    for path in paths:
        if cancelled():
            raise Cancelled
        try:
            ct = read_ct(path, mapping)
        except InputError as error:
            warn(f"Left out: {error}")
            continue
        if ct.fingerprint in known:
            warn(f"Left out: {path} is the same volume as another one.")
            continue
        known.add(ct.fingerprint)
        volumes.append(_small(ct))
    if not volumes:
        raise InputError("None of the volumes can be used; see what was said of each.")
    return volumes


def pretrain(
    volumes: Sequence[CTVolume],
    camera: Camera,
    pose_range: PoseRange,
    settings: TrainingSettings | None = None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
    watch: Callable[[TrainingProgress], None] | None = None,
    warn: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float | None = None,
) -> PretrainedEncoder:
    """A network that reads the pose of X-rays of people like those of ``volumes``.

    Under torch's distributed launcher the processes learn together; the result is the first one's to save.

    Parameters
    ----------
    volumes
        Of any sizes and orientations. The first is the reference: the others are aligned with it.
    pose_range
        Of the first volume's X-rays. The others' lies alike about their own centre.
    settings, device, progress, watch, warn, cancelled, checkpoints, checkpoint_seconds
        As for :func:`.prepare.prepare`.

    Raises
    ------
    InputError
        If a volume does not project into the image from the range or is empty, the device is missing, or the settings
        ask for structures.
    Cancelled
        If ``cancelled`` said so.
    """
    settings = settings or TrainingSettings()
    if settings.dice_weight > 0:
        raise InputError("Pretraining has no structures to compare; set dice_weight to 0.")
    tell, stop = warn or _nothing, cancelled or _never
    others = []
    for number, ct in enumerate(volumes[1:], 1):
        if stop():
            raise Cancelled
        if progress is not None:
            progress(0.0, f"aligning volume {number + 1} of {len(volumes)}", None)
        found = align(volumes[0], ct)
        if not found.is_convincing:
            tell(f"{ct.name} looks little like {volumes[0].name} (correlation {found.correlation:.2f} once aligned).")
        others.append((ct, found))
    frame = PoseFrame.of_range(pose_range)
    unmoved = Alignment(np.eye(4), 1.0)
    bodies = [_body(ct, found, volumes[0], pose_range, frame) for ct, found in [(volumes[0], unmoved), *others]]
    trained = train(
        bodies,
        camera,
        settings,
        resolved_device(device),
        training_reporter(progress, watch, warn),
        cancelled=cancelled,
        checkpoints=checkpoints,
        checkpoint_seconds=checkpoint_seconds,
    )
    template = mean_of(volumes[0], others, "template")
    record = {**trained.record, "volumes": len(volumes)}
    return PretrainedEncoder(trained.network, trained.frame, settings, camera, pose_range, template, record)


def _body(ct: CTVolume, found: Alignment, reference: CTVolume, pose_range: PoseRange, frame: PoseFrame) -> TrainingBody:
    """The frame goes where the patient lies; the range goes with it, and then to the volume's own centre, about which
    its X-rays will be taken."""
    beside = pose_range.isocentre - reference.centre_ras
    isocentre = ct.centre_ras + found.motion[:3, :3] @ beside
    moved = rigid.transform_points(found.motion, pose_range.isocentre[None])[0]
    centre = found.motion @ pose_range.centre
    centre[:3, 3] += isocentre - moved
    own = replace(pose_range, centre=centre, isocentre=isocentre)
    return TrainingBody(ct, own, bone_points(ct), frame=frame.moved(found.motion))


def _small(ct: CTVolume) -> CTVolume:
    voxels, affine, _ = of_reasonable_size(ct.hounsfield, ct.ijk_to_ras, ct.name, _MOST_VOXELS)
    return CTVolume(voxels, affine, ct.name, ct.warnings, ct.mapping)


def _volumes_in(folder: Path, match: str) -> list[Path]:
    inside = sorted(folder.iterdir())
    files = [path for path in inside if path.is_file()]
    volumes = [path for path in files if path.name.lower().endswith(VOLUME_SUFFIXES)]
    if not volumes and any(_may_be_dicom(path) for path in files):
        return [folder]
    below = [found for path in inside if path.is_dir() for found in _volumes_in(path, match)]
    return [path for path in volumes if fnmatch(path.name, match)] + below


def _may_be_dicom(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _nothing(sentence: str) -> None:
    pass


def _never() -> bool:
    return False
