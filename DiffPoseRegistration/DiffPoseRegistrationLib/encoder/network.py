"""ResNets with GroupNorm that regress poses.

ResNet: K. He et al., CVPR 2016. GroupNorm (Y. Wu, K. He, ECCV 2018) instead of BatchNorm because training and use see
differently distributed images, as in DiffPose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError

CELLS = 4  # the patch network's last map is averaged to 4 x 4 cells: where things are tells the translation
COORDINATE_MM = 50.0  # of a scene coordinate of one: about the deviation of a trunk's points
_RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
BACKBONES = ("patch", *_RESNETS)


@dataclass(frozen=True)
class NetworkShape:
    """What a network is built from.

    backbone
        ``"patch"``: a small pre-activation ResNet whose stem takes patches of 4 x 4 pixels. (On a CPU most of a
        ResNet's time goes into its first, largest maps; a patch stem learns four times as many X-rays a second.)
        ``"resnet18"``, ``"resnet34"``: the papers'.
    widths
        Channels of the patch network's stages; each after the first halves the image. Not used by the others.
    outputs
        Numbers of a pose.
    hypotheses
        Poses of an X-ray.
    contrast_boxes_px
        What it is given of an X-ray, see ``network_input``: sides in pixels, odd.

    Raises
    ------
    InputError
        If there is no such backbone or a number cannot be used.
    """

    backbone: str = "patch"
    widths: tuple[int, ...] = (32, 64, 128)
    outputs: int = 6
    hypotheses: int = 1
    contrast_boxes_px: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("widths", "contrast_boxes_px"):
            object.__setattr__(self, name, tuple(int(number) for number in getattr(self, name)))
        if self.backbone not in BACKBONES:
            raise InputError(f"Backbone {self.backbone!r} is not known; choose one of {', '.join(BACKBONES)}.")
        if not self.widths or any(width < 8 or width % 8 for width in self.widths):
            raise InputError(f"The network's widths are {list(self.widths)}; give multiples of 8, such as 32 64 128.")
        if not 1 <= self.hypotheses <= 64:
            raise InputError(f"A network has from 1 to 64 hypotheses, not {self.hypotheses}.")
        if any(side < 3 or side % 2 == 0 for side in self.contrast_boxes_px):
            raise InputError(f"The contrast boxes are {list(self.contrast_boxes_px)} pixels; give odd sides from 3 on.")

    @property
    def channels(self) -> int:
        """Of the network's image."""
        return max(1, len(self.contrast_boxes_px))


class Outputs(NamedTuple):
    """What a network gives for ``b`` X-rays.

    poses, weights
        ``hypotheses`` poses [b, hypotheses, outputs] and the logarithms of their weights [b, hypotheses], which are
        zero where there is one pose only.
    coordinates
        Of the patch network, for each of its cells, the scene coordinates [b, 3, CELLS, CELLS] in units of
        ``COORDINATE_MM``: which point of the body it shows, at the isocentre's depth; see ``losses.scene_distance``.
    votes
        Likewise the pose that each cell votes for [b, outputs, CELLS, CELLS]; see ``losses.vote_distance``.
    """

    poses: Tensor
    weights: Tensor
    coordinates: Tensor | None
    votes: Tensor | None


class PoseEncoder(nn.Module):
    """What :mod:`.network_input` gives of X-rays, [b, channels, rows, columns] -> :class:`Outputs`."""

    def __init__(self, shape: NetworkShape | None = None) -> None:
        super().__init__()
        self.shape = shape or NetworkShape()
        self.cells: nn.Module | None = None
        if self.shape.backbone == "patch":
            features = self._build_patches()
            # The pose is read from the features, from what the cells say they show and from what they vote for.
            self.cells = nn.Conv2d(self.shape.widths[-1], 3 + self.shape.outputs, 1)
            hidden: list[nn.Module] = [nn.Linear(features + (3 + self.shape.outputs) * CELLS * CELLS, 256), nn.ReLU()]
            features = 256
        else:
            features = self._build_resnet(_RESNETS[self.shape.backbone])
            hidden = []
        weights = self.shape.hypotheses if self.shape.hypotheses > 1 else 0
        self.head = nn.Sequential(*hidden)
        self.pose = nn.Linear(features, self.shape.hypotheses * self.shape.outputs)
        self.weight = nn.Linear(features, weights) if weights else None

    def forward(self, x: Tensor) -> Outputs:
        maps = self.trunk(self.stem(x))
        read = [maps.flatten(1)]
        coordinates = votes = None
        if self.cells is not None:
            said = self.cells(maps)
            read.append(said.flatten(1))
            coordinates, votes = said[:, :3], said[:, 3:]
        features = self.head(torch.cat(read, 1))
        poses = self.pose(features).unflatten(1, (self.shape.hypotheses, self.shape.outputs))
        weights = features.new_zeros(len(x), 1) if self.weight is None else self.weight(features)
        return Outputs(poses, weights, coordinates, votes)

    def _build_patches(self) -> int:
        widths = self.shape.widths
        self.stem: nn.Module = nn.Conv2d(self.shape.channels, widths[0], 4, 4, bias=False)
        before = (widths[0], *widths)
        blocks = [_PreBlock(before[n], width, 1 if n == 0 else 2) for n, width in enumerate(widths)]
        last = [_group_norm(widths[-1]), nn.ReLU(), _Cells()]
        self.trunk = nn.Sequential(*blocks, *last)
        return widths[-1] * CELLS * CELLS

    def _build_resnet(self, depths: tuple[int, ...]) -> int:
        self.stem = nn.Sequential(
            nn.Conv2d(self.shape.channels, 64, 7, 2, 3, bias=False),
            nn.GroupNorm(32, 64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks: list[nn.Module] = []
        before = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            for n in range(depth):
                blocks.append(_PostBlock(before, width, 2 if stage and n == 0 else 1))
                before = width
        self.trunk = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1))
        return before


class _Cells(nn.Module):
    """Averages to ``CELLS`` x ``CELLS``; a map that has that size already is left alone, which torch takes time for."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] == (CELLS, CELLS):
            return x
        return torch.nn.functional.adaptive_avg_pool2d(x, CELLS)


def _group_norm(channels: int) -> nn.GroupNorm:
    """Up to eight groups of at least sixteen channels: in float32 torch takes twice as long, in bfloat16 six times as
    long for smaller ones."""
    groups = next((count for count in (8, 4, 2) if channels % count == 0 and channels // count >= 16), 1)
    return nn.GroupNorm(groups, channels)


class _PreBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, norms and activations before them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm2 = _group_norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(h))))
        return self.shortcut(x) + residual


class _PostBlock(nn.Module):
    """The basic block of ResNet-18 and -34: norms and activations after the convolutions."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(32, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(32, channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.GroupNorm(32, channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(self.shortcut(x) + residual)
