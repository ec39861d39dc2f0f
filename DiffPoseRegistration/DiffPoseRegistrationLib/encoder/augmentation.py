"""What real X-rays have and simulated ones lack: the training images are disturbed by it.

All functions take and give images [b, 1, rows, columns] of attenuation and draw from a given generator,
so that a training is repeatable.
"""

from __future__ import annotations

import torch
from torch import Tensor


def normalised(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Zero mean and unit deviation per image over its mask; zero outside.

    Offset (unknown I0) and scale (unknown energy, gain) of the attenuation drop out.
    """
    if mask is None:
        mask = torch.ones_like(image)
    count = mask.sum((1, 2, 3), keepdim=True).clamp_min(1.0)
    mean = (image * mask).sum((1, 2, 3), keepdim=True) / count
    centred = (image - mean) * mask
    deviation = ((centred**2).sum((1, 2, 3), keepdim=True) / count).sqrt()
    return centred / deviation.clamp_min(1e-6)


def disturbed(image: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images with random gamma, uneven field, blur, noise, collimation and erased patches, and their mask.

    Every disturbance falls on a random part of the batch, so clean images stay among them.
    """
    b, _, rows, columns = image.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=random)

    def some(share: float) -> Tensor:
        return (torch.rand(b, 1, 1, 1, generator=random) < share).float()

    low = image.amin((1, 2, 3), keepdim=True)
    span = (image.amax((1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
    x = ((image - low) / span) ** torch.exp(uniform(-0.3, 0.3, b, 1, 1, 1) * some(0.5))
    # Scatter, heel effect, soft tissue beside the CT: a smooth field on top of the image.
    coarse = torch.randn(b, 1, 3, 3, generator=random) * 0.1 * some(0.5)
    x = x + torch.nn.functional.interpolate(coarse, size=(rows, columns), mode="bicubic", align_corners=True)
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(x, blurred, uniform(0.0, 1.0, b, 1, 1, 1) * some(0.3))
    x = x + torch.randn(x.shape, generator=random) * uniform(0.0, 0.03, b, 1, 1, 1)
    # Blades: what they cover is known from the image, hence masked.
    r = torch.arange(rows).view(1, 1, rows, 1) / rows
    c = torch.arange(columns).view(1, 1, 1, columns) / columns
    blades = uniform(0.0, 0.15, 4, b, 1, 1, 1) * some(0.2)
    mask = ((r >= blades[0]) & (r < 1 - blades[1]) & (c >= blades[2]) & (c < 1 - blades[3])).float()
    # Tools and markers: not known, hence not masked.
    top, left = uniform(0, 0.9, b, 1, 1, 1), uniform(0, 0.9, b, 1, 1, 1)
    high, wide = uniform(0.03, 0.25, b, 1, 1, 1), uniform(0.03, 0.25, b, 1, 1, 1)
    patch = ((r >= top) & (r < top + high) & (c >= left) & (c < left + wide)).float() * some(0.2)
    x = torch.lerp(x, uniform(0.0, 1.2, b, 1, 1, 1).expand_as(x), patch)
    return x, mask
