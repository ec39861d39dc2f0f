"""Levenberg-Marquardt on se(3), many starts at a time.

Each start takes steps ``pose <- exp(xi) o pose`` about the isocentre with
``(A + lambda diag A) xi = -g`` (K. Levenberg 1944; D. Marquardt 1963). The starts are independent but
are rendered together, which is what fills the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..geometry import rigid

LEVER_ARM_MM = 100.0
POSE_SCALE = np.array([LEVER_ARM_MM] * 3 + [1.0] * 3)  # radians and millimetres of a twist, in millimetres

# evaluate(poses [n, 4, 4]) -> cost [n], gradient [n, 6], Gauss-Newton matrix [n, 6, 6]
Objective = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass
class Minimum:
    """Where each start ended: poses [n, 4, 4], cost [n], normal matrix [n, 6, 6], iterations spent."""

    poses: np.ndarray
    cost: np.ndarray
    normal: np.ndarray
    iterations: int


def minimise(
    objective: Objective,
    poses: np.ndarray,
    isocentre: np.ndarray,
    *,
    iterations: int = 20,
    tolerance_mm: float = 0.02,
    damping: float = 1e-2,
    on_step: Callable[[np.ndarray, np.ndarray], None] | None = None,
    move: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    scale: np.ndarray = POSE_SCALE,
) -> Minimum:
    """Minimises from every pose of ``poses`` [n, 4, 4].

    A start is done when a step moves points at :data:`LEVER_ARM_MM` from the isocentre by less than
    ``tolerance_mm``, when damping no longer helps, or after ``iterations`` renders. ``on_step(poses,
    cost)`` is called after each; what it raises ends the search.

    Where more than the pose is sought, ``poses`` are states of any shape [n, ...], ``move(states, steps [n, p])`` takes
    steps from them, and ``scale`` [p] tells how many millimetres a unit of each coordinate is.
    """
    move = move or (lambda states, steps: rigid.update_pose(states, steps, isocentre))
    poses = np.array(poses, dtype=np.float64)
    count = len(poses)
    cost, gradient, normal = objective(poses)
    lambdas = np.full(count, damping)
    active = np.ones(count, bool)
    spent = 1
    for _ in range(iterations - 1):
        index = np.flatnonzero(active)
        if not index.size:
            break
        steps = _steps(normal[index], gradient[index], lambdas[index], scale)
        trial = move(poses[index], steps)
        trial_cost, trial_gradient, trial_normal = objective(trial)
        spent += 1
        length = np.linalg.norm(steps * scale, axis=1)
        better = trial_cost < cost[index]
        gain = cost[index] - trial_cost
        won, lost = index[better], index[~better]
        poses[won], cost[won] = trial[better], trial_cost[better]
        gradient[won], normal[won] = trial_gradient[better], trial_normal[better]
        lambdas[won] = np.maximum(lambdas[won] / 5, 1e-7)
        lambdas[lost] *= 6
        useful = np.where(better, gain > 1e-7, lambdas[index] < 1e4)
        active[index] = (length > tolerance_mm) & useful
        if on_step is not None:
            on_step(poses, cost)
    return Minimum(poses, cost, normal, spent)


def _steps(normal: np.ndarray, gradient: np.ndarray, damping: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Damped steps [n, p]; ``scale`` [p] makes radians and millimetres commensurate before the solve."""
    scaled = normal / np.outer(scale, scale)
    diagonal = np.diagonal(scaled, axis1=1, axis2=2)
    # A floor keeps a direction that this image cannot see from taking an unbounded step.
    floor = 1e-3 * diagonal.max(axis=1, keepdims=True) + 1e-18
    damped = scaled + (damping[:, None] * np.maximum(diagonal, floor))[:, :, None] * np.eye(len(scale))
    return -np.linalg.solve(damped, (gradient / scale)[..., None])[..., 0] / scale
