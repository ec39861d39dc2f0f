"""From the network's numbers to a rotation and a position in its frame (see :mod:`.frame`).

Rotations
    ``rotation_vector``: the exponential map, in units of the frame; it tears at half a turn, so it is for ranges well
    below that. ``rotation_6d``: two columns made orthonormal (Y. Zhou et al., CVPR 2019). ``quaternion_adjugate``: the
    ten entries of the symmetric matrix q q^T, of which the longest column is q (C. Lin, A. Hanson, S. Hanson,
    ICCV 2023); xvr's choice. The latter two have no tear.
Translations
    ``projection``: where the isocentre is seen in the image, and the logarithm of its distance, in units of the frame:
    what an image shows as a shift and a zoom. ``camera``: mm along the camera's axes (xvr). ``tangent``: together with
    ``rotation_vector`` the logarithm of the motion in se(3), about the isocentre and in the axes of the centre pose
    (DiffPose).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .frame import PoseFrame
from .rigid_torch import left_jacobian, so3_exp

ROTATIONS = {"rotation_vector": 3, "rotation_6d": 6, "quaternion_adjugate": 10}
TRANSLATIONS = ("projection", "camera", "tangent")
WIDEST_ROTATION_VECTOR_RAD = 1.6  # of a half range; beyond it the tear at half a turn comes near


class Seen(NamedTuple):
    """Poses in a frame: ``rotation`` [..., 3, 3] and ``position`` [..., 3] (mm) as :mod:`.frame` defines them."""

    rotation: Tensor
    position: Tensor

    @property
    def source(self) -> Tensor:
        """The X-ray source [..., 3] (mm) from the isocentre, in the axes of the centre pose."""
        return -(self.rotation @ self.position[..., None])[..., 0]

    def through(self, zooms: Tensor) -> Seen:
        """Where cameras zoomed by ``zooms`` (of a shape that broadcasts to [...]) are that see the isocentre as cameras
        without zoom see it here: what looks ``zoom`` times as large is ``zoom`` times as far."""
        far = torch.stack([torch.ones_like(zooms), torch.ones_like(zooms), zooms], -1)
        return Seen(self.rotation, self.position * far)


class Parameterisation:
    """Turns network outputs into rotations and positions.

    Raises
    ------
    InputError
        If a name is not known, or ``tangent`` is asked for with another rotation than ``rotation_vector``.
    """

    def __init__(self, rotation: str, translation: str, frame: PoseFrame) -> None:
        if rotation not in ROTATIONS:
            raise InputError(f"Rotation {rotation!r} is not known; choose one of {', '.join(ROTATIONS)}.")
        if translation not in TRANSLATIONS:
            raise InputError(f"Translation {translation!r} is not known; choose one of {', '.join(TRANSLATIONS)}.")
        if translation == "tangent" and rotation != "rotation_vector":
            raise InputError(
                "Translation 'tangent' is half of a logarithm in se(3); its other half is 'rotation_vector'."
            )
        self._rotation, self._translation = rotation, translation
        self._split = ROTATIONS[rotation]
        self._turn, self._shift, self._position = (
            torch.tensor(values, dtype=torch.float32)
            for values in (frame.rotation_rad, frame.translation_mm, frame.position)
        )

    @property
    def outputs(self) -> int:
        """How many numbers a pose takes."""
        return self._split + 3

    def __call__(self, raw: Tensor) -> Seen:
        """The poses of network outputs [..., outputs]; zeros are the centre pose."""
        turn, shift, centre = (part.to(raw) for part in (self._turn, self._shift, self._position))
        numbers, moved = raw[..., : self._split], raw[..., self._split :]
        if self._rotation == "rotation_6d":
            rotation = _from_6d(numbers)
        elif self._rotation == "quaternion_adjugate":
            rotation = _from_adjugate(numbers)
        else:
            rotation = so3_exp(numbers * turn)
        if self._translation == "projection":
            depth = centre[2] * torch.exp((moved[..., 2:] * shift[2] / centre[2]).clamp(-3, 3))
            seen = (centre[:2] + moved[..., :2] * shift[:2]) / centre[2]
            return Seen(rotation, torch.cat([seen * depth, depth], -1))
        if self._translation == "camera":
            return Seen(rotation, centre + moved * shift)
        motion = (left_jacobian(numbers * turn) @ (moved * shift)[..., None])[..., 0]
        return Seen(rotation, centre - (rotation.transpose(-1, -2) @ motion[..., None])[..., 0])


def _from_6d(numbers: Tensor) -> Tensor:
    """Gram-Schmidt on two columns; zeros are the identity."""
    first = torch.nn.functional.normalize(numbers[..., :3] + numbers.new_tensor([1.0, 0.0, 0.0]), dim=-1)
    second = numbers[..., 3:] + numbers.new_tensor([0.0, 1.0, 0.0])
    second = torch.nn.functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _from_adjugate(numbers: Tensor) -> Tensor:
    """The unit quaternion (w, x, y, z) along the longest column of q q^T; zeros are the identity."""
    rows, columns = torch.triu_indices(4, 4)
    matrix = numbers.new_zeros((*numbers.shape[:-1], 4, 4))
    matrix[..., rows, columns] = numbers
    matrix[..., columns, rows] = numbers
    matrix = matrix + torch.diag(numbers.new_tensor([1.0, 0.0, 0.0, 0.0]))
    longest = matrix.norm(dim=-2).argmax(-1)
    column = torch.gather(matrix, -1, longest[..., None, None].expand(*matrix.shape[:-1], 1))[..., 0]
    w, x, y, z = torch.nn.functional.normalize(column, dim=-1).unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(entries, -1).reshape(*numbers.shape[:-1], 3, 3)
