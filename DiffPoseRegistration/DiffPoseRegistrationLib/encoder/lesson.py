"""A batch, ready for the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .parameterisation import Seen


@dataclass(frozen=True)
class Lesson:
    """Simulated X-rays as the network sees them, and what it is to say of them.

    images
        Disturbed, as :mod:`.network_input` gives them, [b, channels, rows, columns].
    usable
        Bool [b, 1, rows, columns]: not masked.
    true
        Where the aimed cameras were.
    zooms
        Theirs, [b].
    clean, contrast
        The undisturbed line integrals [b, rows, columns], and which of the bone contrasts they have.
    body
        Which of the CTs they are of.
    """

    images: Tensor
    usable: Tensor
    true: Seen
    zooms: Tensor
    clean: np.ndarray
    contrast: int
    body: int

    def __len__(self) -> int:
        return len(self.images)

    def part(self, which: slice, device: str) -> Lesson:
        """Some of the X-rays, on a device; the undisturbed ones stay where they are."""
        true = Seen(*(field[which].to(device) for field in self.true))
        images, usable, zooms = (field[which].to(device) for field in (self.images, self.usable, self.zooms))
        return Lesson(images, usable, true, zooms, self.clean[which], self.contrast, self.body)
