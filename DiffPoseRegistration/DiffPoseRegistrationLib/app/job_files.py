"""The files a job reads and writes, from and to arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry.camera import Camera
from ..imaging.values import CTVolume

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_ct(ct: CTVolume, path: Path) -> Path:
    """Write the CT as NRRD (LPS, int16 HU) where it lies in the world. Raises InputError as :func:`write_volume`."""
    values = np.clip(np.rint(ct.hounsfield), -32768, 32767).astype(np.int16)
    return write_volume(values, ct.ijk_to_ras, ct.name, path)


def write_volume(values: np.ndarray, ijk_to_ras: np.ndarray, name: str, path: Path) -> Path:
    """Write voxels [k, j, i] as NRRD where ``ijk_to_ras`` [4, 4] says that they lie in the world (RAS, mm).

    Raises
    ------
    InputError
        If the axes are sheared, which no image file can hold.
    """
    import SimpleITK as sitk  # not at file scope: half a second that nobody needs before the first job

    lps = _LPS_RAS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise InputError(
            _("{name} has sheared axes (through its parent transform); harden it and resample it.").format(name=name)
        )
    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path), False)
    return path


def write_image(pixels: np.ndarray, path: Path) -> Path:
    """Write an X-ray's pixels [row, column] as they are, as NRRD."""
    import SimpleITK as sitk

    if pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(pixels)), str(path), False)
    return path


def read_image(path: Path) -> np.ndarray:
    """Pixels [row, column] of an image that a job wrote."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return array.reshape(array.shape[-2:])


@dataclass(frozen=True)
class RegistrationOutcome:
    """What a registration found.

    verdict
        ``"accept"``, ``"check"`` or ``"reject"``.
    reasons
        Why, in words.
    camera_to_world
        The pose [4, 4].
    predicted_error_mm
        None if it could not be told.
    refined_camera
        The camera to which the pose belongs, where it was refined too; else None.
    """

    verdict: str
    reasons: tuple[str, ...]
    camera_to_world: np.ndarray
    similarity: float
    predicted_error_mm: float | None
    data: dict[str, Any]
    refined_camera: Camera | None = None

    @classmethod
    def read(cls, folder: Path) -> RegistrationOutcome:
        """From ``result.json`` in a job's result folder."""
        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return cls(
            verdict=data["verdict"],
            reasons=tuple(data.get("verdict_reasons", ())),
            camera_to_world=np.array(data["camera_to_world_ras_mm"]),
            similarity=data["similarity"],
            predicted_error_mm=data.get("predicted_error_mm"),
            data=data,
            refined_camera=Camera.from_json(data["camera"]) if "refined_intrinsics" in data else None,
        )
