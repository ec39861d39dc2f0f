"""A registration that answers at once, for tests of what surrounds it."""

from __future__ import annotations

import sys
import types

import numpy as np
from DiffPoseRegistrationLib.geometry.pose_range import perturbed
from DiffPoseRegistrationLib.workflow.doubt import PredictedError
from DiffPoseRegistrationLib.workflow.register import RegisteredView, RegistrationResult


def result(found, initial, xray, **change):
    """A registration's result with one view, found at ``found`` from ``initial`` (poses [4, 4])."""
    drr = np.random.default_rng(0).random((64, 64), np.float32)
    view = RegisteredView(xray, found, initial, 0.9, drr, drr, (0.1, 0.2, 0.3))
    predicted = PredictedError(0.4, np.full(20, 0.4), 0.35, np.array([0.0, 1.0, 0.0]), "along the beam", 0.2)
    values = {
        "views": (view,),
        "similarity": 0.9,
        "seconds": {"refinement": 0.1},
        "renders": 12,
        "verdict": "accept",
        "verdict_reasons": ["the pictures fit"],
        "predicted": predicted,
        "covariance": np.eye(6),
        "landmarks": None,
        "agreement": 0.8,
        "starts": 15,
    }
    return RegistrationResult(**{**values, **change})


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
        return result(found, truth if initial is None else initial, xray)

    return register
