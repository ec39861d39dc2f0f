"""What real X-rays have and simulated ones lack: the training images are disturbed by it.

All functions take and give images [b, 1, rows, columns] of attenuation and draw from a given generator,
so that a training is repeatable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..errors import InputError
from .network_input import box_means

# Share of the images that each disturbance falls on.
REAL_XRAYS = {
    "gamma": 0.5,
    "uneven_field": 0.5,
    "local_contrast": 0.1,
    "blur": 0.3,
    "sharpen": 0.1,
    "noise": 0.9,
    "blades": 0.2,
    "round_field": 0.1,
    "patch": 0.2,
    "tools": 0.1,
}


def disturbed(
    image: Tensor, random: torch.Generator, shares: Mapping[str, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Disturbed images and their mask, 1 where an X-ray shows the patient.

    Parameters
    ----------
    shares
        By name, the share of the images that each disturbance falls on; default ``REAL_XRAYS``. What is not named
        does not happen.

    Raises
    ------
    InputError
        If a name is not known or a share not between 0 and 1.
    """
    shares = checked_shares(REAL_XRAYS if shares is None else shares)
    low = image.amin((1, 2, 3), keepdim=True)
    span = (image.amax((1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
    x, mask = (image - low) / span, torch.ones_like(image)
    for name, change in _DISTURBANCES.items():
        if name in shares:
            chosen = torch.nonzero(torch.rand(len(x), generator=random) < shares[name])[:, 0]
            if len(chosen):
                x[chosen], mask[chosen] = change(x[chosen], mask[chosen], random)
    return x, mask


def checked_shares(shares: Mapping[str, float]) -> Mapping[str, float]:
    """``shares``, if :func:`disturbed` can use them. Raises InputError."""
    unknown = set(shares) - set(_DISTURBANCES)
    if unknown:
        raise InputError(f"Augmentation {sorted(unknown)[0]!r} is not known; choose among {', '.join(_DISTURBANCES)}.")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"Augmentation {name!r} falls on a share of {share:g} of the images; give 0 to 1.")
    return shares


def _uniform(low: float, high: float, random: torch.Generator, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=random)


def _per_image(low: float, high: float, random: torch.Generator, count: int) -> Tensor:
    return _uniform(low, high, random, count, 1, 1, 1)


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel as shares of the image's size, 0 to 1."""
    rows, columns = x.shape[2:]
    return torch.arange(rows).view(1, 1, rows, 1) / rows, torch.arange(columns).view(1, 1, 1, columns) / columns


def _gamma(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    return x ** torch.exp(_per_image(-0.4, 0.4, random, len(x))), mask


def _uneven_field(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scatter, heel effect, soft tissue beside the CT: a smooth field on top of the image."""
    coarse = torch.randn(len(x), 1, 3, 3, generator=random) * 0.1
    return x + torch.nn.functional.interpolate(coarse, size=x.shape[2:], mode="bicubic", align_corners=True), mask


def _local_contrast(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a console's contrast equalisation (such as CLAHE) does: detail is stretched to the same size everywhere."""
    side = max(3, min(x.shape[2:]) // 4 | 1)
    detail = x - box_means(x, side)
    stretched = 0.5 + 0.2 * detail / (box_means(detail**2, side) + 1e-4).sqrt()
    return torch.lerp(x, stretched, _per_image(0.2, 1.0, random, len(x))), mask


def _blur(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.lerp(x, box_means(x, 3), _per_image(0.0, 1.0, random, len(x))), mask


def _sharpen(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.lerp(box_means(x, 3), x, _per_image(1.0, 3.0, random, len(x))), mask


def _noise(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    return x + torch.randn(x.shape, generator=random) * _per_image(0.0, 0.03, random, len(x)), mask


def _blades(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A collimator: what it covers is known from the image, hence masked."""
    r, c = _grid(x)
    blades = _uniform(0.0, 0.15, random, 4, len(x), 1, 1, 1)
    seen = (r >= blades[0]) & (r < 1 - blades[1]) & (c >= blades[2]) & (c < 1 - blades[3])
    return x, mask * seen


def _round_field(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """An image intensifier's round field of view."""
    r, c = _grid(x)
    radius = _per_image(0.45, 0.65, random, len(x))
    return x, mask * ((r - 0.5) ** 2 + (c - 0.5) ** 2 < radius**2)


def _patch(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Something flat in front: a marker, a plate. It is not known, hence not masked."""
    r, c = _grid(x)
    top, left = _per_image(0.0, 0.9, random, len(x)), _per_image(0.0, 0.9, random, len(x))
    high, wide = _per_image(0.03, 0.25, random, len(x)), _per_image(0.03, 0.25, random, len(x))
    inside = (r >= top) & (r < top + high) & (c >= left) & (c < left + wide)
    return torch.where(inside, _per_image(0.0, 1.2, random, len(x)), x), mask


def _tools(x: Tensor, mask: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Needles, screws, catheters: dense straight rods, some of them short. Not masked."""
    r, c = _grid(x)
    angle = _per_image(0.0, math.pi, random, len(x))
    row, column = _per_image(0.1, 0.9, random, len(x)), _per_image(0.1, 0.9, random, len(x))
    along = (c - column) * torch.cos(angle) + (r - row) * torch.sin(angle)
    across = (r - row) * torch.cos(angle) - (c - column) * torch.sin(angle)
    length, width = _per_image(0.1, 0.6, random, len(x)), _per_image(0.005, 0.025, random, len(x))
    inside = (along.abs() < length) & (across.abs() < width)
    return x + inside * _per_image(0.2, 0.8, random, len(x)), mask


_Disturbance = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
# In the order in which they happen: in the body, in the machine, in front of it.
_DISTURBANCES: dict[str, _Disturbance] = {
    "gamma": _gamma,
    "uneven_field": _uneven_field,
    "local_contrast": _local_contrast,
    "blur": _blur,
    "sharpen": _sharpen,
    "noise": _noise,
    "blades": _blades,
    "round_field": _round_field,
    "patch": _patch,
    "tools": _tools,
}
