"""Which of the marchers renders: chosen once, by name or by what the machine has."""

from __future__ import annotations

import functools
import warnings

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from . import march_cpu
from .grid import AttenuationGrid
from .rays import ray_bundle
from .single_ray import JOSEPH, TRILINEAR

BACKENDS = ("auto", "cpu", "cuda", "reference")


def march(
    backend: str,
    grid: AttenuationGrid,
    camera: Camera,
    poses: np.ndarray,
    step_mm: float | None,
    isocentre: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
    zooms: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Line integrals [n, rows, columns] at ``poses`` [n, 4, 4], or [n, p] at ``pixels`` [p, 2] = (column, row), and,
    if ``isocentre`` [3] is given, their derivatives [..., 6] with respect to the twist about it; float32.

    ``step_mm``: distance of the trilinear march's samples; None: Joseph's method. ``zooms`` [n]: each pose has
    the camera zoomed by that.
    """
    poses = np.asarray(poses, dtype=np.float64)
    if backend == "reference":
        cameras = [camera if zooms is None else camera.zoomed(zooms[n]) for n in range(len(poses))]
        return _march_reference(grid, cameras, poses, step_mm, isocentre, pixels)
    if backend == "cuda":
        from .march_cuda import march_images
    else:
        march_images = march_cpu.march_images
    rays = ray_bundle(camera, poses, grid.ras_to_grid, zooms)
    method, step = (JOSEPH, 1.0) if step_mm is None else (TRILINEAR, step_mm)
    return march_images(grid.for_kernels, rays, (camera.rows, camera.columns), method, step, isocentre, pixels)


def chosen_backend(name: str) -> str:
    """The backend that ``name`` stands for: "auto" becomes "cuda" or "cpu".

    Raises
    ------
    InputError
        If there is no such backend, or CUDA is asked for and cannot be had.
    """
    if name not in BACKENDS:
        raise InputError(f"There is no rendering backend {name!r}; choose one of {', '.join(BACKENDS)}.")
    if name in ("auto", "cuda"):
        trouble = cuda_trouble()
        if trouble is None:
            return "cuda"
        if name == "cuda":
            raise InputError(f"The GPU cannot render: {trouble}; choose the cpu backend.")
        return "cpu"
    return name


@functools.cache
def cuda_trouble() -> str | None:
    """Why CUDA cannot render here, in words; None if it can and its images equal the CPU's."""
    try:
        from numba import cuda

        if not cuda.is_available():
            return "numba finds no CUDA device (pip install numba-cuda[cu12], and an NVIDIA driver)"
        difference = _difference_to_cpu("cuda")
    except Exception as problem:  # whatever a driver or a compiler raises: the CPU is always there
        return f"CUDA failed ({type(problem).__name__}: {problem})".replace("\n", " ")[:300]
    if difference > 1e-4:
        warnings.warn(
            f"The GPU's images differ from the CPU's by {difference:.1e}; rendering on the CPU.", stacklevel=2
        )
        return f"its images differ from the CPU's by {difference:.1e}"
    return None


def _difference_to_cpu(backend: str) -> float:
    """Difference of image and Jacobian between a backend and the CPU on a small scene, relative to each one's
    largest value."""
    grid, camera, pose = small_scene()
    worst = 0.0
    for step_mm in (None, 0.7):
        (image, jacobian), (image_cpu, jacobian_cpu) = (
            march(name, grid, camera, pose, step_mm, np.zeros(3)) for name in (backend, "cpu")
        )
        assert jacobian is not None and jacobian_cpu is not None
        pairs = ((image, image_cpu), (jacobian, jacobian_cpu))
        # Not the very worst entries: a sample that rounding puts across a voxel's face has another gradient.
        worst = max(worst, *(float(np.quantile(np.abs(a - b), 0.95) / np.abs(b).max()) for a, b in pairs))
    return worst


def small_scene() -> tuple[AttenuationGrid, Camera, np.ndarray]:
    """A blob of 12^3 voxels, a camera of 8 x 8 pixels, and one oblique pose [1, 4, 4]: to try a backend with."""
    z, y, x = np.mgrid[-5.5:6, -5.5:6, -5.5:6]
    blob = 0.02 * np.exp(-((x / 4) ** 2) - (y / 3) ** 2 - (z / 4) ** 2)
    affine = np.eye(4)
    affine[:3, 3] = -5.5
    pose = np.eye(4)
    pose[:3, :3] = [[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]
    pose[:3, 3] = pose[:3, :3] @ np.array([1.0, -2.0, -60.0])
    return AttenuationGrid.from_attenuation(blob, affine), Camera(100.0, 8, 8, (2.0, 2.0)), pose[None]


def _march_reference(
    grid: AttenuationGrid,
    cameras: list[Camera],
    poses: np.ndarray,
    step_mm: float | None,
    isocentre: np.ndarray | None,
    pixels: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    from . import reference

    if isocentre is None:
        none = np.zeros(3), None, step_mm, pixels
        images = [reference.render(grid, camera, p, *none).numpy() for camera, p in zip(cameras, poses)]
        return np.stack(images).astype(np.float32), None
    about = isocentre, step_mm, pixels
    both = [reference.render_with_jacobian(grid, camera, p, *about) for camera, p in zip(cameras, poses)]
    image, jacobian = (np.stack([part.numpy() for part in parts]).astype(np.float32) for parts in zip(*both))
    return image, jacobian
