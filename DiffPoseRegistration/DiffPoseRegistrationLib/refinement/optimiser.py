"""What every optimiser of a single start takes and gives, so that they can be compared and exchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..imaging.values import XRay
from ..rendering.renderer import Renderer

# on_step(stage name, pose [4, 4], cost), after every step; what it raises ends the search.
OnStep = Callable[[str, np.ndarray, float], None]


@dataclass
class Optimum:
    """Where an optimiser ended.

    pose
        [4, 4], camera to world. similarity: its own measure there, 1 for equal images.
    renders
        Simulated X-rays spent.
    seconds
        Wall time by stage.
    trajectory
        One entry a step: stage, cost (1 - similarity), pose.
    """

    pose: np.ndarray
    similarity: float
    renders: int
    seconds: dict[str, float]
    trajectory: list[dict] = field(default_factory=list)


class Optimiser(Protocol):
    """Finds the pose of ``xray`` near ``initial_pose`` [4, 4].

    ``isocentre`` [3] (RAS) is the point about which updates turn, by default the CT's centre. Settings are the
    optimiser's own and have defaults.
    """

    def __call__(
        self,
        renderer: Renderer,
        xray: XRay,
        initial_pose: np.ndarray,
        *,
        isocentre: np.ndarray | None = None,
        on_step: OnStep | None = None,
    ) -> Optimum: ...
