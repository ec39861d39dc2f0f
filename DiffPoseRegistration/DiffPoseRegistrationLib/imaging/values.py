"""The two images of a registration, as immutable values that validate themselves when made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from .volume_mapping import VolumeMapping


@dataclass(frozen=True)
class CTVolume:
    """A CT in Hounsfield units.

    Parameters
    ----------
    hounsfield
        Array [k, j, i], float32, HU.
    ijk_to_ras
        Affine [4, 4] from (i, j, k) voxel **centres** to RAS mm. Oblique, anisotropic and left-handed
        affines are ordinary.
    name
        What to call it in messages (the file's name).
    warnings
        Sentences the person should read: what was done to the file's voxels.
    mapping
        How the values of a volume that is no CT became Hounsfield units.

    Raises
    ------
    InputError
        If it is not 3D, has NaN or infinite voxels, or a degenerate affine.
    """

    hounsfield: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = "CT"
    warnings: tuple[str, ...] = ()
    mapping: VolumeMapping = field(default_factory=VolumeMapping)

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.hounsfield, dtype=np.float32)
        if values.ndim != 3 or min(values.shape) < 1:
            raise InputError(f"{self.name} has shape {values.shape}; a CT is a volume with three dimensions.")
        if min(values.shape) < 2:
            raise InputError(f"{self.name} has a single slice; load the whole CT series.")
        if not np.isfinite(values).all():
            raise InputError(
                f"{self.name} holds voxels that are not finite numbers (NaN or infinity); export the CT again."
            )
        affine = np.array(self.ijk_to_ras, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InputError(f"{self.name} has no valid voxel spacing and orientation; export it again.")
        object.__setattr__(self, "hounsfield", values)
        object.__setattr__(self, "ijk_to_ras", affine)

    @property
    def size_ijk(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        k, j, i = self.hounsfield.shape
        return i, j, k

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance [3] between voxel centres along i, j, k."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @property
    def centre_ras(self) -> np.ndarray:
        """Centre [3] of the volume in RAS mm: the default isocentre."""
        middle = (np.array(self.size_ijk) - 1) / 2
        return self.ijk_to_ras[:3, :3] @ middle + self.ijk_to_ras[:3, 3]

    @cached_property
    def is_cut_out(self) -> bool:
        """Whether this is one structure cut out of a CT (a segmented bone) rather than a whole body.

        A body meets the air through skin and partial volume, so the voxels that touch air are light; a
        masked bone ends in dense tissue all around.
        """
        air = self.hounsfield < -900
        touching = np.zeros_like(air)
        for axis in range(3):
            first, last = np.moveaxis(air, axis, 0)[:-1], np.moveaxis(air, axis, 0)[1:]
            touches = np.moveaxis(touching, axis, 0)
            touches[1:] |= first
            touches[:-1] |= last
        shell = touching & ~air
        return bool(shell.any() and np.median(self.hounsfield[shell]) > 0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of voxels and affine: tells whether a model was made for this CT."""
        digest = hashlib.sha256()
        digest.update(np.asarray(self.hounsfield.shape, dtype="<i8").tobytes())
        digest.update(np.round(self.ijk_to_ras, 4).astype("<f8").tobytes())
        digest.update(np.round(self.hounsfield).astype("<i2").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class XRay:
    """One X-ray, ready for comparison with a simulated one.

    Parameters
    ----------
    attenuation
        Array [row, column], float32, proportional to the line integral of attenuation up to offset and
        scale (**large = dense**).
    camera
        Intrinsics; its size equals the array's.
    mask
        Array [row, column], bool: True where the pixel may be used (not collimator, text, saturation); None: all
    name
        What to call it in messages (the file's name).
    provenance
        Where each number came from, by name, in words.
    warnings
        Sentences the person should read.

    Raises
    ------
    InputError
        If shapes disagree, pixels are not finite, the image is constant, or nothing is left in the mask.
    """

    attenuation: np.ndarray
    camera: Camera
    mask: np.ndarray = None  # type: ignore[assignment] # never None once it is made
    name: str = "X-ray"
    provenance: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        image = np.ascontiguousarray(self.attenuation, dtype=np.float32)
        if image.ndim != 2:
            raise InputError(f"{self.name} has {image.ndim} dimensions; an X-ray is one 2D image.")
        if image.shape != (self.camera.rows, self.camera.columns):
            raise InputError(
                f"{self.name} is {image.shape[0]} x {image.shape[1]} pixels (rows x columns) but its geometry says "
                f"{self.camera.rows} x {self.camera.columns}; give the geometry of this very image."
            )
        if not np.isfinite(image).all():
            raise InputError(f"{self.name} holds pixels that are not finite (NaN or infinity); export it again.")
        mask = np.ones(image.shape, bool) if self.mask is None else np.ascontiguousarray(self.mask, dtype=bool)
        if mask.shape != image.shape:
            raise InputError(f"The mask of {self.name} has shape {mask.shape}, its image {image.shape}.")
        if mask.sum() < 64:
            raise InputError(f"{self.name}: next to nothing is left outside the mask; give a smaller mask.")
        if np.ptp(image[mask]) <= 0:
            raise InputError(f"{self.name} has the same value everywhere; it holds no picture.")
        object.__setattr__(self, "attenuation", image)
        object.__setattr__(self, "mask", mask)
