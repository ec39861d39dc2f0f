"""SO(3) and SE(3) for numpy: exponential, logarithm, rotations about a point, validation.

Twists are 6-vectors ``(omega, v)``: rotation first, in radians, then translation, in mm.
All functions broadcast over leading dimensions and work in float64.

Source of the closed forms: J. Solà, J. Deray, D. Atchuthan, "A micro Lie theory for state estimation
in robotics", arXiv:1812.01537, appendices B and D.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError

_SMALL = 1e-4  # below this angle [rad] the series are exact to float64 and the quotients are not


def hat(omega: np.ndarray) -> np.ndarray:
    """Skew-symmetric matrices [..., 3, 3] of vectors [..., 3]: ``hat(a) @ b == cross(a, b)``."""
    omega = np.asarray(omega, dtype=np.float64)
    matrix = np.zeros((*omega.shape[:-1], 3, 3))
    matrix[..., 0, 1], matrix[..., 0, 2] = -omega[..., 2], omega[..., 1]
    matrix[..., 1, 0], matrix[..., 1, 2] = omega[..., 2], -omega[..., 0]
    matrix[..., 2, 0], matrix[..., 2, 1] = -omega[..., 1], omega[..., 0]
    return matrix


def so3_exp(omega: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians (Rodrigues)."""
    omega = np.asarray(omega, dtype=np.float64)
    a, b, _ = _exp_coefficients(omega)
    k = hat(omega)
    return np.eye(3) + a[..., None, None] * k + b[..., None, None] * (k @ k)


def so3_log(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors [..., 3], in radians with norm in [0, pi], of rotation matrices [..., 3, 3]."""
    # Through the quaternion (Shepperd's choice of the largest component), which stays accurate near
    # 180 degrees, where the usual antisymmetric part vanishes.
    r = np.asarray(rotation, dtype=np.float64)
    m = r.reshape(-1, 3, 3)
    # 4 q q^T, of the quaternion q = (w, x, y, z): each row is q times four times one of its components.
    products = np.empty((len(m), 4, 4))
    x, y, z = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    for n, square in enumerate((1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z)):
        products[:, n, n] = square
    for n, (i, j) in enumerate(((2, 1), (0, 2), (1, 0)), 1):
        products[:, 0, n] = products[:, n, 0] = m[:, i, j] - m[:, j, i]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        products[:, i + 1, j + 1] = products[:, j + 1, i + 1] = m[:, i, j] + m[:, j, i]
    largest = np.argmax(np.diagonal(products, axis1=1, axis2=2), axis=1)
    quaternion = products[np.arange(len(m)), largest]
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    quaternion[quaternion[:, 0] < 0] *= -1
    vector = quaternion[:, 1:]
    sine = np.linalg.norm(vector, axis=-1)
    angle = 2 * np.arctan2(sine, quaternion[:, 0])
    scale = np.where(sine > 1e-12, angle / np.maximum(sine, 1e-300), 2.0)
    return (scale[:, None] * vector).reshape(*r.shape[:-2], 3)


def se3_exp(xi: np.ndarray) -> np.ndarray:
    """Rigid motions [..., 4, 4] of twists [..., 6] = (omega [rad], v [mm])."""
    xi = np.asarray(xi, dtype=np.float64)
    omega, v = xi[..., :3], xi[..., 3:]
    a, b, c = _exp_coefficients(omega)
    k = hat(omega)
    k2 = k @ k
    motion = np.zeros((*xi.shape[:-1], 4, 4))
    motion[..., :3, :3] = np.eye(3) + a[..., None, None] * k + b[..., None, None] * k2
    left_jacobian = np.eye(3) + b[..., None, None] * k + c[..., None, None] * k2
    motion[..., :3, 3] = np.einsum("...ij,...j->...i", left_jacobian, v)
    motion[..., 3, 3] = 1.0
    return motion


def se3_log(motion: np.ndarray) -> np.ndarray:
    """Twists [..., 6] of rigid motions [..., 4, 4]; the inverse of :func:`se3_exp` below 180 degrees."""
    motion = np.asarray(motion, dtype=np.float64)
    omega = so3_log(motion[..., :3, :3])
    angle = np.linalg.norm(omega, axis=-1)
    half = angle / 2
    small = angle < _SMALL
    safe = np.where(small, 1.0, angle)
    factor = np.where(
        small,
        1 / 12 + angle**2 / 720,
        (1 - half * np.cos(half) / np.where(small, 1.0, np.sin(half))) / safe**2,
    )
    k = hat(omega)
    inverse_left_jacobian = np.eye(3) - 0.5 * k + factor[..., None, None] * (k @ k)
    v = np.einsum("...ij,...j->...i", inverse_left_jacobian, motion[..., :3, 3])
    return np.concatenate([omega, v], axis=-1)


def about_point(motion: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The motion [..., 4, 4] carried out about ``point`` [3] instead of the origin."""
    moved = np.array(motion, dtype=np.float64)
    point = np.asarray(point, dtype=np.float64)
    moved[..., :3, 3] += point - moved[..., :3, :3] @ point
    return moved


def update_pose(pose: np.ndarray, xi: np.ndarray, isocentre: np.ndarray) -> np.ndarray:
    """``exp(xi) o pose`` with the twist ``xi`` [..., 6] taken about ``isocentre`` [3] (world axes)."""
    return about_point(se3_exp(xi), isocentre) @ pose


def inverse(motion: np.ndarray) -> np.ndarray:
    """Inverse of rigid motions [..., 4, 4], exact in structure (transpose, not a linear solve)."""
    motion = np.asarray(motion, dtype=np.float64)
    result = np.zeros_like(motion)
    rotation_t = np.swapaxes(motion[..., :3, :3], -1, -2)
    result[..., :3, :3] = rotation_t
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation_t, motion[..., :3, 3])
    result[..., 3, 3] = 1.0
    return result


def transform_points(motion: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [n, 3] moved by one motion [4, 4]."""
    motion = np.asarray(motion, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ motion[:3, :3].T + motion[:3, 3]


def validated_pose(matrix: object, name: str = "pose") -> np.ndarray:
    """``matrix`` as a float64 rigid motion [4, 4], its rotation made orthonormal to the last bit.

    Raises
    ------
    InputError
        If it is not 4x4, not finite, not rigid (to 1e-3) or a reflection.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is not a matrix of numbers; give a 4x4 matrix in RAS millimetres.") from None
    if pose.shape != (4, 4):
        raise InputError(f"{name} has shape {pose.shape}; give a 4x4 matrix in RAS millimetres.")
    if not np.isfinite(pose).all() or not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise InputError(f"{name} is not a finite rigid matrix with last row 0 0 0 1; check the file it came from.")
    if np.linalg.det(pose[:3, :3]) < 0:
        raise InputError(
            f"{name} contains a reflection (determinant -1); a mirrored image is said by the camera's "
            "viewed_from, never by the pose."
        )
    u, _, vt = np.linalg.svd(pose[:3, :3])
    rotation = u @ vt
    if not np.allclose(rotation, pose[:3, :3], atol=1e-3):
        raise InputError(f"{name} scales or shears; a pose is a rotation and a translation in mm.")
    pose[:3, :3] = rotation
    pose[3] = [0, 0, 0, 1]
    return pose


def _exp_coefficients(omega: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sin(a)/a, (1 - cos a)/a^2 and (a - sin a)/a^3 of the angles of ``omega`` [..., 3]."""
    angle = np.linalg.norm(omega, axis=-1)
    small = angle < _SMALL
    safe = np.where(small, 1.0, angle)
    square = angle**2
    a = np.where(small, 1 - square / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - square / 24, (1 - np.cos(safe)) / safe**2)
    c = np.where(small, 1 / 6 - square / 120, (safe - np.sin(safe)) / safe**3)
    return a, b, c
