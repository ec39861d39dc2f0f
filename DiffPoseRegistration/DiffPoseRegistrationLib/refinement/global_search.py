"""A last resort where no start is near: derivative-free search for the pose on a coarse image.

CMA-ES (N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772; restarts with doubled populations:
A. Auger, N. Hansen, "A restart CMA evolution strategy with increasing population size", CEC 2005) by the package
``cma``. A generation is rendered as one batch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..geometry.pose_range import displaced
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .optimiser import OnStep
from .pyramid import reduced


@dataclass(frozen=True)
class GlobalSettings:
    """Where and how long to search.

    rotation_deg, translation_mm
        Half ranges about the initial pose: each component of a rotation vector and of a translation, in camera axes.
    side
        Longest side of the image in pixels.
    evaluations
        At most so many simulated X-rays.
    population
        Of the first run; each restart doubles it.
    seed
        The same seed gives the same search.
    """

    rotation_deg: float = 60.0
    translation_mm: float = 150.0
    side: int = 24
    evaluations: int = 6000
    population: int = 60
    seed: int = 0


@dataclass
class GlobalOptimum:
    """The best pose of each run, best first: poses [n, 4, 4] and cost [n] (1 - NCC); renders and seconds spent.

    trajectory
        One entry a generation: stage, cost, pose of the best so far.
    """

    poses: np.ndarray
    cost: np.ndarray
    renders: int
    seconds: dict[str, float]
    trajectory: list[dict] = field(default_factory=list)


def global_search(
    renderer: Renderer,
    xray: XRay,
    initial_pose: np.ndarray,
    settings: GlobalSettings | None = None,
    *,
    isocentre: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> GlobalOptimum:
    """Searches a box about ``initial_pose`` [4, 4] for the pose whose coarse simulated X-ray correlates best.

    The result is a start for a refinement, not a pose to be used.

    Raises
    ------
    InputError
        If ``cma`` is not installed.
    """
    try:
        import cma
    except ImportError:
        raise InputError("The global search needs the package cma; install it with 'pip install cma'.") from None
    settings = settings or GlobalSettings()
    started, renders_before = time.perf_counter(), renderer.renders
    isocentre = renderer.isocentre if isocentre is None else np.asarray(isocentre, dtype=np.float64)
    initial_pose = np.asarray(initial_pose, dtype=np.float64)
    level = reduced(xray, settings.side)
    grid_level = renderer.level_for(level.camera, float(np.linalg.norm(initial_pose[:3, 3] - isocentre)))
    name = f"{settings.side} px, global"
    random = np.random.default_rng(settings.seed)
    trajectory: list[dict] = []
    runs: list[tuple[float, np.ndarray]] = []
    best = (np.inf, initial_pose)
    population, left = settings.population, settings.evaluations
    centre = np.zeros(6)
    while left >= settings.population:
        size = min(population, left)
        strategy = cma.CMAEvolutionStrategy(
            centre,
            0.4,
            {
                "bounds": [-1.0, 1.0],
                "popsize": size,
                "tolfun": 1e-4,
                "tolx": 1e-3,
                "seed": np.nan,  # numpy's global generator is left alone
                "randn": lambda *shape: random.standard_normal(shape),
                "verbose": -9,
            },
        )
        of_run = (np.inf, initial_pose)
        while left >= size and not strategy.stop():
            coordinates = strategy.ask()
            poses = poses_in_box(np.array(coordinates), initial_pose, isocentre, settings)
            cost = 1 - weighted_ncc(level.image, level.weight, renderer.render_batch(level.camera, poses, grid_level))
            strategy.tell(coordinates, cost.tolist())
            left -= len(poses)
            at = int(np.argmin(cost))
            of_run = min(of_run, (float(cost[at]), poses[at]), key=lambda found: found[0])
            best = min(best, of_run, key=lambda found: found[0])
            trajectory.append({"stage": name, "cost": best[0], "pose": best[1].tolist()})
            if on_step is not None:
                on_step(name, best[1], best[0])
        runs.append(of_run)
        population *= 2
        centre = random.uniform(-0.8, 0.8, 6)
    runs.sort(key=lambda found: found[0])
    return GlobalOptimum(
        poses=np.array([pose for _, pose in runs]).reshape(-1, 4, 4),
        cost=np.array([cost for cost, _ in runs]),
        renders=renderer.renders - renders_before,
        seconds={name: time.perf_counter() - started},
        trajectory=trajectory,
    )


def poses_in_box(
    coordinates: np.ndarray, initial_pose: np.ndarray, isocentre: np.ndarray, settings: GlobalSettings
) -> np.ndarray:
    """Poses [n, 4, 4] at coordinates [n, 6] in [-1, 1]: rotation vector about the isocentre, then translation, in
    the initial pose's camera axes."""
    rotation = np.deg2rad(settings.rotation_deg) * coordinates[:, :3]
    return displaced(initial_pose, isocentre, rotation, settings.translation_mm * coordinates[:, 3:])


def weighted_ncc(xray: np.ndarray, pixel_weight: np.ndarray, drrs: np.ndarray) -> np.ndarray:
    """NCC [n] of images [n, rows, columns] with the X-ray [rows, columns]; 0 where an image shows nothing."""
    weight = pixel_weight.reshape(-1).astype(np.float64)
    weight = weight / max(weight.sum(), 1e-12)
    x, v = xray.reshape(-1).astype(np.float64), drrs.reshape(len(drrs), -1).astype(np.float64)
    x, v = x - weight @ x, v - (v @ weight)[:, None]
    norms = np.sqrt((weight @ x**2) * (v**2 @ weight))
    return np.where(norms > 1e-9, v @ (weight * x) / np.maximum(norms, 1e-9), 0.0)
