"""The patient's models: which files there are, and what each says of itself. Nothing heavy is needed to look at one."""

from __future__ import annotations

import json
import math
import struct
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..imaging.volume_mapping import KINDS
from ..jobs.folder import JobFolder

MODELS_ATTRIBUTE = "DiffPose.Models"
UNFINISHED_ATTRIBUTE = "DiffPose.UnfinishedPreparation"
_FORMAT = "diffpose-model"
_LONGEST_HEADER = 2**24


@dataclass(frozen=True)
class ModelSummary:
    """What a model's file says.

    rotation_deg, translation_mm
        Half ranges [3] of the poses that it knows.
    median_error_mm, percentile95_error_mm
        On simulated X-rays that it had not seen; NaN if it was not tested.
    mapping
        What the volume was that it was prepared from, one of ``volume_mapping.KINDS`` or the name of a table.
    made
        When, in seconds since 1970.
    """

    path: Path
    ct_name: str
    rotation_deg: tuple[float, ...]
    translation_mm: tuple[float, ...]
    median_error_mm: float
    percentile95_error_mm: float
    mapping: str
    made: float

    @property
    def date(self) -> str:
        """When it was made, for a person."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))


def read_summary(path: str | Path) -> ModelSummary:
    """Read the description in a model's file (the header of its safetensors), not its weights.

    Raises
    ------
    InputError
        If the file is not there or is no model.
    """
    path = Path(path)
    try:
        return _summary(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise InputError(_("The model {path} is not there; choose another or prepare one.").format(path=path)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise InputError(_("{path} is no DiffPose model; choose another or prepare one.").format(path=path)) from None


@lru_cache(maxsize=64)
def _summary(path: Path, changed_ns: int) -> ModelSummary:
    """Asked for at every change in the panel, and read again only when the file has changed."""
    description = _description(path)
    training, range_ = description["training"], description["pose_range"]
    return ModelSummary(
        path,
        str(description["ct"]["name"]),
        tuple(float(v) for v in range_["rotation_deg"]),
        tuple(float(v) for v in range_["translation_mm"]),
        float(training.get("median_error_mm") or math.nan),
        float(training.get("percentile95_error_mm") or math.nan),
        str(description["ct"].get("mapping", {}).get("kind", KINDS[0])),
        changed_ns / 1e9,
    )


def _description(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _LONGEST_HEADER:
            raise ValueError
        metadata = json.loads(file.read(length))["__metadata__"]
    if metadata["format"] != _FORMAT:
        raise ValueError
    return json.loads(metadata["description"])


def models_of(ct: slicer.vtkMRMLScalarVolumeNode | None) -> list[Path]:
    """The models that are kept with a CT, the newest last."""
    text = ct.GetAttribute(MODELS_ATTRIBUTE) if ct is not None else None
    return [Path(one) for one in json.loads(text)] if text else []


def add_model(ct: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Keep a model with a CT."""
    _keep(ct, [*(one for one in models_of(ct) if one != path), path])


def remove_model(ct: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Forget a model; its file stays."""
    _keep(ct, [one for one in models_of(ct) if one != path])


def unfinished(ct: slicer.vtkMRMLScalarVolumeNode | None) -> Path | None:
    """The job folder of a preparation for a CT that was stopped and can go on; None if there is none."""
    text = ct.GetAttribute(UNFINISHED_ATTRIBUTE) if ct is not None else None
    return Path(text) if text and JobFolder(Path(text)).checkpoint.is_dir() else None


def set_unfinished(ct: slicer.vtkMRMLScalarVolumeNode, folder: Path | None) -> None:
    """Keep where a preparation is under way; None: it has ended with a model."""
    ct.SetAttribute(UNFINISHED_ATTRIBUTE, str(folder) if folder is not None else None)


def _keep(ct, paths: list[Path]) -> None:
    ct.SetAttribute(MODELS_ATTRIBUTE, json.dumps([str(one) for one in paths]) if paths else None)
