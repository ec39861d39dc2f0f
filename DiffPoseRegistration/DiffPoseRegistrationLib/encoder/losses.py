"""Distances between poses and between images that a training makes small.

Each takes predicted and true poses (:class:`.parameterisation.Seen`) of ``b`` X-rays and gives ``b`` numbers.

The papers' losses: Gopalakrishnan, Dey, Golland, "Intraoperative 2D/3D Image Registration via Differentiable X-ray
Rendering", CVPR 2024 (DiffPose): ``1 - NCC + 1e-2 (log + geodesic)``; Gopalakrishnan et al., "Rapid patient-specific
neural networks for intraoperative X-ray to volume registration", 2025 (xvr): ``1 - multiscale NCC + 1e-2 geodesic +
1 - Dice`` and, optionally, the consistency of the views of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .parameterisation import Seen
from .rigid_torch import rotation_angle, se3_log

_TINY = 1e-4  # mm^2, under the roots, so that they have a gradient at zero
_FLAT = 1e-4  # of the image's variance: a patch that varies less says nothing


def landmark_distance(predicted: Seen, true: Seen, points: Tensor) -> Tensor:
    """Target registration error in mm: mean distance of ``points`` [m, 3] (see ``PoseFrame.points``) in the camera
    frame. What counts in the end, and so our default."""
    apart = points @ (predicted.rotation - true.rotation) + (predicted.position - true.position)[..., None, :]
    return ((apart**2).sum(-1) + _TINY).sqrt().mean(-1)


def scene_distance(coordinates: Tensor, true: Seen, zooms: Tensor, rays: Tensor, shares: Tensor) -> Tensor:
    """How far, in mm, the cells of an image are from saying rightly which point of the body they show: mean over the
    cells, weighted by the ``shares`` of each that show it.

    A cell's point is where the ray through its middle is as deep as the isocentre, counted from there in the axes
    of the centre pose. Every cell so teaches what it looks like where; a pose alone teaches that much slower: at
    equal numbers of X-rays half the error. After scene coordinate regression (J. Shotton et al., CVPR 2013), whose
    points lie on a surface, which an X-ray does not show.

    Parameters
    ----------
    coordinates
        [b, 3, h, w], mm.
    zooms
        [b] of the cameras.
    rays
        Directions [h, w, 3] with z = 1 of the cells of the camera without zoom.
    shares
        [b, h, w], 0 to 1.
    """
    depth = true.position[:, 2]
    at_depth = rays * depth[:, None, None, None]
    across = at_depth[..., :2] / zooms[:, None, None, None]
    shown = torch.cat([across, at_depth[..., 2:]], -1) - true.position[:, None, None]
    points = torch.einsum("bij,bhwj->bhwi", true.rotation, shown)
    apart = ((coordinates.permute(0, 2, 3, 1) - points) ** 2).sum(-1).add(_TINY).sqrt()
    return (apart * shares).sum((1, 2)) / shares.sum((1, 2)).clamp_min(1.0)


def vote_distance(votes: Seen, true: Seen, points: Tensor, shares: Tensor) -> Tensor:
    """How far, in mm, the poses that an image's cells vote for are from the true one: mean over the cells, weighted by
    the ``shares`` [b, cells] of each that show the body, of the landmark distance to ``points``.

    Of the votes [b, cells] only rotation and depth count; in which direction the isocentre lies is taken from the
    truth, as no cell can know it that does not know its own place. All cells learn with the same weights, so depth is
    learned from the looks of every part: where the body is cut off, the tail of the errors shrinks by a tenth.
    """
    direction = (true.position / true.position[:, 2:])[:, None]
    voted = Seen(votes.rotation, direction * votes.position[..., 2:])
    apart = landmark_distance(voted, Seen(true.rotation[:, None], true.position[:, None]), points)
    return (apart * shares).sum(1) / shares.sum(1).clamp_min(1.0)


def double_geodesic(predicted: Seen, true: Seen, lever_arm_mm: float) -> Tensor:
    """The papers' distance in mm: the angle between the rotations turned into a length by a lever arm (there half the
    source-to-detector distance), and the distance between the sources, as the legs of a right triangle."""
    angle = rotation_angle(predicted.rotation.transpose(-1, -2) @ true.rotation)
    shift = ((predicted.source - true.source) ** 2).sum(-1)
    return ((lever_arm_mm * angle) ** 2 + shift + _TINY).sqrt()


def log_distance(predicted: Seen, true: Seen) -> Tensor:
    """Length of the logarithm in se(3) of the motion between the cameras, rad and mm alike as in the paper's code."""
    rotation, translation = _between(predicted, true)
    return ((se3_log(rotation, translation) ** 2).sum(-1) + _TINY).sqrt()


def consistency(predicted: Seen, true: Seen, lever_arm_mm: float) -> Tensor:
    """How unlike the motions between the views of a batch are to the true ones: for each view the mean double geodesic
    distance, in mm, of its motions to all others. It does not notice an error that all views share."""
    count = len(predicted.rotation)
    if count < 2:
        return predicted.position.new_zeros(count)
    pairs = [
        Seen(*_between(Seen(s.rotation[:, None], s.position[:, None]), Seen(s.rotation[None], s.position[None])))
        for s in (predicted, true)
    ]
    angle = rotation_angle(pairs[0].rotation.transpose(-1, -2) @ pairs[1].rotation)
    shift = ((pairs[0].position - pairs[1].position) ** 2).sum(-1)
    distance = ((lever_arm_mm * angle) ** 2 + shift + _TINY).sqrt()
    return (distance.sum(1) - distance.diagonal()) / (count - 1)


def ncc_distance(predicted: Tensor, target: Tensor, patch_px: int = 0) -> Tensor:
    """``1 - NCC`` [b] between images [b, rows, columns]: over the whole image or, if ``patch_px`` is not 0, half of it
    over the whole image and half the mean over all patches of that size (multiscale NCC)."""
    p, q = _standardised(predicted), _standardised(target)
    whole = (p * q).mean((1, 2))
    if patch_px == 0:
        return 1 - whole

    def local(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image[:, None], patch_px, 1)

    mean_p, mean_q = local(p), local(q)
    deviation = ((local(p * p) - mean_p**2).clamp_min(0) + _FLAT) * ((local(q * q) - mean_q**2).clamp_min(0) + _FLAT)
    patches = (local(p * q) - mean_p * mean_q) / deviation.sqrt()
    return 1 - (whole + patches.mean((1, 2, 3))) / 2


def dice_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - Dice [b] between soft silhouettes [b, structures, rows, columns] with values from 0 to 1, mean over the
    structures."""
    overlap = (predicted * target).sum((2, 3))
    size = predicted.sum((2, 3)) + target.sum((2, 3))
    return 1 - ((2 * overlap + 1) / (size + 1)).mean(1)


def _between(a: Seen, b: Seen) -> tuple[Tensor, Tensor]:
    """Rotation and translation of camera b in camera a."""
    rotation = a.rotation.transpose(-1, -2) @ b.rotation
    return rotation, a.position - (rotation @ b.position[..., None])[..., 0]


def _standardised(images: Tensor) -> Tensor:
    """Images [b, rows, columns] with zero mean and unit deviation each."""
    centred = images - images.mean((1, 2), keepdim=True)
    return centred / (centred.square().mean((1, 2), keepdim=True) + 1e-12).sqrt()
