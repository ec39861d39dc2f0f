"""A small ResNet with GroupNorm that regresses six pose coordinates.

ResNet: K. He et al., CVPR 2016. GroupNorm (Y. Wu, K. He, ECCV 2018) instead of BatchNorm because
training and use see differently distributed images, as in DiffPose. The last feature map is averaged to
4 x 4 cells and kept as such: where things are in the image is what the translation is read from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CELLS = 4


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, pre-activation order."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(h))))
        return self.shortcut(x) + residual


class PoseEncoder(nn.Module):
    """X-ray [b, 1, rows, columns], normalised -> pose coordinates [b, 6] in units of the pose range.

    ``widths`` are the channels of the stages. The stem takes patches of 4 x 4 pixels, each stage after the
    first halves the image. (On a CPU most of a ResNet's time goes into its first, largest maps; a patch
    stem learns four times as many X-rays a second.)
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = nn.Conv2d(1, widths[0], 4, 4, bias=False)
        blocks: list[nn.Module] = []
        channels = widths[0]
        for n, width in enumerate(widths):
            blocks.append(ResidualBlock(channels, width, 1 if n == 0 else 2))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.GroupNorm(8, channels)
        self.pool = nn.AdaptiveAvgPool2d(CELLS)
        self.head = nn.Sequential(nn.Linear(channels * CELLS * CELLS, 256), nn.ReLU(), nn.Linear(256, 6))

    def forward(self, x: Tensor) -> Tensor:
        features = self.pool(torch.relu(self.norm(self.blocks(self.stem(x)))))
        return self.head(features.flatten(1))
