"""Poses as six numbers that a first-order optimiser may change freely, and how derivatives carry over.

Similarities give their derivative with respect to a twist of the camera about the isocentre (world axes, left of
the pose, see :mod:`..rendering.renderer`). A parameterisation maps a change of its numbers to that twist.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry import rigid
from ..geometry.pose_range import view_pose

_SERIES_TERMS = 30  # enough for float64 below 180 degrees


class SE3Logarithm:
    """``pose = exp(p) o initial`` with the twist ``p = (omega [rad], v [mm])`` about the isocentre."""

    def __init__(self, initial_pose: np.ndarray, isocentre: np.ndarray) -> None:
        self._initial = np.asarray(initial_pose, dtype=np.float64)
        self._isocentre = np.asarray(isocentre, dtype=np.float64)
        self.start = np.zeros(6)

    def pose(self, parameters: np.ndarray) -> np.ndarray:
        return rigid.update_pose(self._initial, parameters, self._isocentre)

    def twist_per_parameter(self, parameters: np.ndarray) -> np.ndarray:
        """The left Jacobian of SE(3) at ``parameters`` [6], as [6, 6]: ``sum_n ad(p)^n / (n + 1)!`` (J. Solà et
        al., arXiv:1812.01537, eq. 41 and example 7)."""
        omega, v = rigid.hat(parameters[:3]), rigid.hat(parameters[3:])
        adjoint = np.block([[omega, np.zeros((3, 3))], [v, omega]])
        term, total = np.eye(6), np.eye(6)
        for n in range(1, _SERIES_TERMS):
            term = term @ adjoint / (n + 1)
            total += term
        return total


class EulerTranslation:
    """``x_world = c + R (t + R0 x_camera)``: angles (radians) about z, x', y'' (ZXY) and a translation (mm) in
    the turned axes, from an AP orientation R0 about the isocentre c.

    In patient axes the angles are nearly the C-arm's: primary about z, secondary about x', roll about y''.
    Singular where the beam runs along the body.
    """

    def __init__(self, initial_pose: np.ndarray, isocentre: np.ndarray) -> None:
        self._isocentre = np.asarray(isocentre, dtype=np.float64)
        self._reference = view_pose("AP", np.zeros(3), 1.0)[:3, :3]
        rotation = np.asarray(initial_pose, dtype=np.float64)[:3, :3] @ self._reference.T
        angles = (
            math.atan2(-rotation[0, 1], rotation[1, 1]),
            math.asin(min(max(rotation[2, 1], -1.0), 1.0)),
            math.atan2(-rotation[2, 0], rotation[2, 2]),
        )
        self.start = np.array([*angles, *(rotation.T @ (initial_pose[:3, 3] - self._isocentre))])

    def pose(self, parameters: np.ndarray) -> np.ndarray:
        rotation = self._turns(parameters)[2]
        pose = np.eye(4)
        pose[:3, :3] = rotation @ self._reference
        pose[:3, 3] = self._isocentre + rotation @ parameters[3:]
        return pose

    def twist_per_parameter(self, parameters: np.ndarray) -> np.ndarray:
        """How a change of the parameters [6] turns and moves the camera about the isocentre, [6, 6]."""
        z, zx, rotation = self._turns(parameters)
        matrix = np.zeros((6, 6))
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (0, 0, 1), z[:, 0], zx[:, 1]
        matrix[3:, 3:] = rotation
        return matrix

    @staticmethod
    def _turns(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rz, Rz Rx and Rz Rx Ry."""
        z = rigid.so3_exp(np.array([0, 0, parameters[0]]))
        zx = z @ rigid.so3_exp(np.array([parameters[1], 0, 0]))
        return z, zx, zx @ rigid.so3_exp(np.array([0, parameters[2], 0]))


Parameterisation = SE3Logarithm | EulerTranslation
