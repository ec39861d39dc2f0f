"""The refinements of DiffPose and xvr: gradient ascent by Adam from one start.

They are here to be compared with and to be reproduced, on the same renderer as the default method. Both take their
gradient from the renderer's pose Jacobian: dS/dpose = sum over pixels dS/dI dI/dpose.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..geometry.camera import Camera
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .dense_ncc import GradientNCC, ImageSimilarity, Mixture, multiscale_ncc
from .optimiser import OnStep, Optimum
from .parameterisation import EulerTranslation, Parameterisation, SE3Logarithm
from .pyramid import XRayLevel, reduced
from .sparse_ncc import SparseNCC

# Told the similarity after every step; sets the learning rates and says whether to go on.
Schedule = Callable[[float], bool]


@dataclass(frozen=True)
class DiffPoseSettings:
    """What the paper and its code state for pelvic X-rays.

    side
        Longest side of the image in pixels.
    iterations
        Adam steps (the paper's number; the released script takes twice as many).
    rotation_rate, translation_rate
        Learning rates, radians and mm; multiplied by ``decay`` every ``decay_every`` steps.
    patch
        Side of the local patches in pixels.
    patches
        Render so many patches only, drawn anew at every step, as the paper does with 100; 0: every pixel, as the
        released code does.
    seed
        Of the drawing.
    """

    side: int = 256
    iterations: int = 250
    rotation_rate: float = 7.5e-3
    translation_rate: float = 7.5
    decay: float = 0.9
    decay_every: int = 25
    patch: int = 13
    patches: int = 0
    seed: int = 0


@dataclass(frozen=True)
class XvrSettings:
    """What xvr's command line and its script for pelvic X-rays state.

    sides
        Longest side of the image in pixels, coarse to fine.
    iterations
        At most, a scale.
    rotation_rate, translation_rate
        Learning rates at the first scale, radians and mm; each next scale n = 2, 3, ... divides them by 2^(n - 1) more.
    patience, threshold, plateaus
        The rates fall tenfold when ``patience`` steps bring no relative gain of ``threshold``; a scale ends with
        the ``plateaus``-th rate, counting its first.
    patch, gradient_patch
        Sides of the patches of multiscale and of gradient NCC, in pixels.
    """

    sides: tuple[int, ...] = (64, 128, 256)
    iterations: int = 500
    rotation_rate: float = 1e-2
    translation_rate: float = 1.0
    patience: int = 10
    threshold: float = 1e-4
    plateaus: int = 3
    patch: int = 9
    gradient_patch: int = 11


def adam_diffpose(
    renderer: Renderer,
    xray: XRay,
    initial_pose: np.ndarray,
    *,
    isocentre: np.ndarray | None = None,
    on_step: OnStep | None = None,
    settings: DiffPoseSettings | None = None,
) -> Optimum:
    """Adam on se(3) with multiscale NCC at one scale, as V. Gopalakrishnan, N. Dey, P. Golland, "Intraoperative
    2D/3D Image Registration via Differentiable X-ray Rendering", CVPR 2024 (DiffPose).

    The logarithm is that of the motion from the initial pose about the isocentre.
    """
    settings = settings or DiffPoseSettings()
    isocentre = renderer.isocentre if isocentre is None else np.asarray(isocentre, dtype=np.float64)
    level = reduced(xray, settings.side)
    objective = DenseObjective(renderer, level, multiscale_ncc(level.image, level.weight, settings.patch), isocentre)
    stepped_on: PoseObjective = objective
    if settings.patches:
        sparse = SparseNCC(level.image, level.weight, settings.patch, settings.patches, settings.seed)
        stepped_on = SparseObjective(renderer, level, sparse, isocentre)

    def schedule(adam: torch.optim.Adam) -> Schedule:
        decay = torch.optim.lr_scheduler.StepLR(adam, settings.decay_every, settings.decay)

        def advance(_similarity: float) -> bool:
            decay.step()
            return True

        return advance

    run = _Ascent(renderer, SE3Logarithm(initial_pose, isocentre), on_step)
    rates = (settings.rotation_rate, settings.translation_rate)
    run.climb(stepped_on, f"{settings.side} px", rates, settings.iterations, schedule)
    return run.optimum(objective)


def adam_xvr(
    renderer: Renderer,
    xray: XRay,
    initial_pose: np.ndarray,
    *,
    isocentre: np.ndarray | None = None,
    on_step: OnStep | None = None,
    settings: XvrSettings | None = None,
) -> Optimum:
    """Adam on Euler angles and translation with multiscale and gradient NCC, coarse to fine, as
    V. Gopalakrishnan et al., "Rapid patient-specific neural networks for intraoperative X-ray to volume
    registration", arXiv:2503.16309, 2025 (xvr)."""
    settings = settings or XvrSettings()
    isocentre = renderer.isocentre if isocentre is None else np.asarray(isocentre, dtype=np.float64)
    run = _Ascent(renderer, EulerTranslation(initial_pose, isocentre), on_step)
    divisor = 1.0
    for number, side in enumerate(settings.sides):
        divisor *= 2**number
        level = reduced(xray, side)
        objective = DenseObjective(renderer, level, xvr_similarity(level, settings), isocentre)
        rates = (settings.rotation_rate / divisor, settings.translation_rate / divisor)
        run.climb(objective, f"{side} px", rates, settings.iterations, lambda adam: _until_plateaus(adam, settings))
    return run.optimum(objective)


def xvr_similarity(level: XRayLevel, settings: XvrSettings) -> Mixture:
    """Half multiscale NCC, half gradient NCC by patches."""
    return Mixture(
        [
            (0.5, multiscale_ncc(level.image, level.weight, settings.patch)),
            (0.5, GradientNCC(level.image, level.weight, settings.gradient_patch)),
        ]
    )


def _until_plateaus(adam: torch.optim.Adam, settings: XvrSettings) -> Schedule:
    on_plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        adam, mode="max", factor=0.1, patience=settings.patience, threshold=settings.threshold
    )
    rates = set()

    def advance(similarity: float) -> bool:
        on_plateau.step(similarity)
        rates.add(adam.param_groups[0]["lr"])
        return len(rates) < settings.plateaus

    return advance


class PoseObjective(Protocol):
    """Similarity at a pose [4, 4] and its gradient [6] by a twist of the camera about the isocentre."""

    def __call__(self, pose: np.ndarray) -> tuple[float, np.ndarray]: ...


class DenseObjective:
    """A similarity of the whole image at one scale."""

    def __init__(
        self, renderer: Renderer, level: XRayLevel, similarity: ImageSimilarity, isocentre: np.ndarray
    ) -> None:
        self._renderer, self._level, self._similarity, self._isocentre = renderer, level, similarity, isocentre

    def __call__(self, pose: np.ndarray) -> tuple[float, np.ndarray]:
        camera = self._level.camera
        grid_level = _grid_level(self._renderer, camera, pose, self._isocentre)
        drr, jacobian = self._renderer.render_with_jacobian(camera, pose[None], self._isocentre, grid_level)
        value, by_pixel = self._similarity(drr[0])
        return value, by_pixel.reshape(-1) @ jacobian[0].reshape(-1, 6)


class SparseObjective:
    """A similarity of patches that are drawn at every call."""

    def __init__(self, renderer: Renderer, level: XRayLevel, similarity: SparseNCC, isocentre: np.ndarray) -> None:
        self._renderer, self._level, self._similarity, self._isocentre = renderer, level, similarity, isocentre

    def __call__(self, pose: np.ndarray) -> tuple[float, np.ndarray]:
        camera = self._level.camera
        self._similarity.draw()
        grid_level = _grid_level(self._renderer, camera, pose, self._isocentre)
        drr, jacobian = self._renderer.render_pixels(
            camera, pose[None], self._similarity.pixels, grid_level, self._isocentre
        )
        assert jacobian is not None  # there is an isocentre
        value, by_pixel = self._similarity(drr[0])
        return value, by_pixel @ jacobian[0]


def _grid_level(renderer: Renderer, camera: Camera, pose: np.ndarray, isocentre: np.ndarray) -> int:
    return renderer.level_for(camera, float(np.linalg.norm(pose[:3, 3] - isocentre)))


class _Ascent:
    """One start on its way up: its parameters, what it cost so far and where it has been."""

    def __init__(self, renderer: Renderer, chart: Parameterisation, on_step: OnStep | None) -> None:
        self._renderer, self._chart, self._on_step = renderer, chart, on_step
        self._rotation, self._translation = (
            torch.nn.Parameter(torch.from_numpy(half.copy())) for half in np.split(chart.start, 2)
        )
        self._renders_before = renderer.renders
        self._seconds: dict[str, float] = {}
        self._trajectory: list[dict] = []

    def climb(
        self,
        objective: PoseObjective,
        name: str,
        rates: tuple[float, float],
        iterations: int,
        schedule: Callable[[torch.optim.Adam], Schedule],
    ) -> None:
        """Adam at the stage ``name``, with learning rates of (rotation, translation)."""
        started = time.perf_counter()
        groups = [{"params": [p], "lr": r} for p, r in zip((self._rotation, self._translation), rates)]
        adam = torch.optim.Adam(groups, maximize=True)
        go_on = schedule(adam)
        for _ in range(iterations):
            parameters = self._parameters()
            pose = self._chart.pose(parameters)
            value, by_twist = objective(pose)
            self._trajectory.append({"stage": name, "cost": 1 - value, "pose": pose.tolist()})
            if self._on_step is not None:
                self._on_step(name, pose, 1 - value)
            gradient = self._chart.twist_per_parameter(parameters).T @ by_twist
            self._rotation.grad, self._translation.grad = map(torch.from_numpy, np.split(gradient, 2))
            adam.step()
            if not go_on(value):
                break
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def optimum(self, objective: PoseObjective) -> Optimum:
        """Where it stands now, and what ``objective`` says of it."""
        pose = self._chart.pose(self._parameters())
        value, _ = objective(pose)
        return Optimum(pose, value, self._renderer.renders - self._renders_before, self._seconds, self._trajectory)

    def _parameters(self) -> np.ndarray:
        return np.concatenate([self._rotation.detach().numpy(), self._translation.detach().numpy()])
