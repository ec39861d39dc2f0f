"""A registration that answers at once, for tests of what surrounds it."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field

import numpy as np
from DiffPoseRegistrationLib.geometry.pose_range import perturbed


@dataclass
class Result:
    """What workflow code reads from a registration's result."""

    camera_to_world: np.ndarray
    initial_camera_to_world: np.ndarray
    similarity: float = 0.9
    seconds: dict = field(default_factory=lambda: {"refinement": 0.1})
    renders: int = 12
    verdict: str = "accept"
    verdict_reasons: list = field(default_factory=lambda: ["the pictures fit"])
    predicted_error_mm: float = 0.4
    covariance: np.ndarray = field(default_factory=lambda: np.eye(6))
    drr_before: np.ndarray = field(default_factory=lambda: np.random.default_rng(0).random((64, 64), np.float32))
    drr_after: np.ndarray = field(default_factory=lambda: np.random.default_rng(0).random((64, 64), np.float32))
    trajectory: list = field(default_factory=list)
    method: str = "lm"


def install_register(monkeypatch, register):
    """Put ``register`` where workflow and command line look for it."""
    module = types.ModuleType("stand_in")
    module.register = register
    module.renderer_for = lambda ct: None
    monkeypatch.setitem(sys.modules, "DiffPoseRegistrationLib.workflow.register", module)


def ending_off_by(truth, isocentre, degrees, millimetres):
    """A registration that ends at ``truth`` disturbed by exactly this much at most."""

    def register(ct, xray, *, model=None, initial=None, method="lm", device="auto", progress=None, cancelled=None,
                 renderer=None, pictures=True):  # fmt: skip
        found = perturbed(truth, isocentre, degrees, millimetres, np.random.default_rng(0))
        return Result(found, truth if initial is None else initial)

    return register
