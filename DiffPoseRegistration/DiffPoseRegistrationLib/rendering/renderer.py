"""The one entry to simulated X-rays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..imaging.attenuation import AttenuationRule
from ..imaging.values import CTVolume
from .backends import chosen_backend, march
from .grid import AttenuationGrid, attenuation_pyramid
from .rays import ray_bundle
from .siddon import trace_images

METHODS = ("joseph", "trilinear", "siddon")

# Distance of the trilinear march's samples as a fraction of the smallest voxel edge. At a half, the weights of the
# samples between two planes sum to one wherever the samples lie, which at 0.75 they do not: the sum then has a ripple
# in depth, ten times that of a half or of Joseph's method on a noisy CT.
DEFAULT_STEP_VOXELS = 0.5

_PART_SAMPLES = 3e7  # of the volume, at most, between two checks: a tenth of a second on two cores


class Renderer:
    """Simulates X-rays of one CT.

    Parameters
    ----------
    ct
        The volume, HU.
    rule
        HU to attenuation.
    levels
        Size of the resolution pyramid; level 0 is the CT itself, each further one halves it.
    method
        ``"joseph"``: one bilinear sample a voxel, the fastest. ``"trilinear"``: samples ``step_voxels`` apart, as
        exact as the step is short. ``"siddon"``: exact for uniform voxels; images only.
    step_voxels
        Distance between the trilinear march's samples, in voxel edges of the level.
    backend
        ``"cpu"``, ``"cuda"``, ``"reference"`` (torch, slow, for checks), or ``"auto"``: CUDA where numba drives a
        GPU and its images equal the CPU's, else the CPU.

    The images are line integrals of attenuation (no unit; large = dense).

    Raises
    ------
    InputError
        If the volume attenuates nothing, or the backend cannot be had.
    """

    def __init__(
        self,
        ct: CTVolume,
        rule: AttenuationRule | None = None,
        levels: int = 3,
        *,
        method: str = "joseph",
        step_voxels: float = DEFAULT_STEP_VOXELS,
        backend: str = "auto",
    ) -> None:
        if method not in METHODS:
            raise InputError(f"There is no rendering method {method!r}; choose one of {', '.join(METHODS)}.")
        if not step_voxels > 0:
            raise InputError(f"The sampling step is {step_voxels} voxels; give a positive number.")
        self.isocentre = ct.centre_ras
        self.is_cut_out = ct.is_cut_out
        self.method = method
        self.step_voxels = step_voxels
        self.backend = chosen_backend(backend)
        self.grids: list[AttenuationGrid] = attenuation_pyramid(ct, rule or AttenuationRule(), levels)
        self.renders = 0
        self._checks: tuple[Callable[[], None], ...] = ()

    @contextlib.contextmanager
    def checking(self, check: Callable[[], None]) -> Iterator[None]:
        """While this lasts, ``check`` is called before every image, and between parts of a large one that take a
        fraction of a second each; what it raises ends the rendering."""
        before = self._checks
        self._checks = (*before, check)
        try:
            yield
        finally:
            self._checks = before

    def render(self, camera: Camera, pose: np.ndarray, level: int = 0) -> np.ndarray:
        """Line integrals [rows, columns], float32, at one pose [4, 4]."""
        return self.render_batch(camera, np.asarray(pose)[None], level)[0]

    def render_batch(
        self, camera: Camera, poses: np.ndarray, level: int = 0, zooms: np.ndarray | None = None
    ) -> np.ndarray:
        """Line integrals [n, rows, columns], float32, at poses [n, 4, 4]; with ``zooms`` [n] each by the camera zoomed
        by that."""
        return self._march(camera, poses, level, None, None, zooms)[0]

    def render_with_jacobian(
        self,
        camera: Camera,
        poses: np.ndarray,
        isocentre: np.ndarray,
        level: int = 0,
        zooms: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Line integrals [n, rows, columns] and their derivatives [n, rows, columns, 6] with respect to a
        twist (omega [rad], v [mm]) of the camera about ``isocentre`` [3] (RAS, world axes). ``zooms`` as above."""
        image, jacobian = self._march(camera, poses, level, isocentre, None, zooms)
        assert jacobian is not None
        return image, jacobian

    def render_pixels(
        self,
        camera: Camera,
        poses: np.ndarray,
        pixels: np.ndarray,
        level: int = 0,
        isocentre: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Line integrals [n, p] at ``pixels`` [p, 2] = (column, row) alone, which may lie between pixel centres, and,
        if ``isocentre`` [3] is given, their derivatives [n, p, 6] as above."""
        pixels = np.asarray(pixels, dtype=np.float64)
        if pixels.ndim != 2 or pixels.shape[1] != 2:
            raise ValueError(f"pixels has shape {pixels.shape}; it is [p, 2] = (column, row)")
        return self._march(camera, poses, level, isocentre, pixels)

    def level_for(self, camera: Camera, distance_mm: float, voxels_per_pixel: float = 1.0) -> int:
        """The coarsest level whose voxels are not larger than a pixel's footprint at ``distance_mm`` from
        the source, times ``voxels_per_pixel``."""
        footprint = min(camera.pixel_spacing_mm) * distance_mm / camera.source_to_detector_mm
        fitting = [
            n for n, grid in enumerate(self.grids) if grid.spacing_mm.max() <= footprint * voxels_per_pixel * 1.01
        ]
        return max(fitting, default=0)

    def _march(
        self,
        camera: Camera,
        poses: np.ndarray,
        level: int,
        isocentre: np.ndarray | None,
        pixels: np.ndarray | None,
        zooms: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        grid = self.grids[min(level, len(self.grids) - 1)]
        self.renders += len(poses)
        if self.method == "siddon":
            if isocentre is not None or pixels is not None:
                raise ValueError("Siddon's method renders whole images without derivatives")
            rays = ray_bundle(camera, poses, grid.ras_to_grid, zooms)
            return trace_images(grid.for_kernels, rays, (camera.rows, camera.columns)), None
        step_mm = self.step_voxels * float(grid.spacing_mm.min()) if self.method == "trilinear" else None
        for check in self._checks:
            check()
        if pixels is not None or not self._checks:
            return march(self.backend, grid, camera, poses, step_mm, isocentre, pixels, zooms)
        return self._march_in_parts(grid, camera, poses, step_mm, isocentre, zooms)

    def _march_in_parts(
        self,
        grid: AttenuationGrid,
        camera: Camera,
        poses: np.ndarray,
        step_mm: float | None,
        isocentre: np.ndarray | None,
        zooms: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Whole images, rendered in bands of rows where they are so large that nobody should have to wait for them."""
        samples = max(grid.size_ijk) * (1.0 if step_mm is None else float(grid.spacing_mm.min()) / step_mm)
        rows = max(int(_PART_SAMPLES / (samples * camera.columns * max(len(poses), 1))), 1)
        if rows >= camera.rows:
            return march(self.backend, grid, camera, poses, step_mm, isocentre, None, zooms)
        parts = []
        for top in range(0, camera.rows, rows):
            for check in self._checks:
                check()
            band = camera.cropped(top, 0, min(rows, camera.rows - top), camera.columns)
            parts.append(march(self.backend, grid, band, poses, step_mm, isocentre, None, zooms))
        images, jacobians = zip(*parts)
        return np.concatenate(images, axis=1), None if isocentre is None else np.concatenate(jacobians, axis=1)
