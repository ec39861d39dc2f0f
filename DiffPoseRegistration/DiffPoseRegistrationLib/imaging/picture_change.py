"""What programs do to an X-ray's picture on its way, and the picture and its camera before they did."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..geometry.turned_image import turned_clockwise
from .values import XRay

SPACINGS = ("stated", "of the patient", "magnified", "exchanged")

_MOVES = {
    (False, 0): "",
    (False, 90): "turned by 90 degrees clockwise",
    (False, 180): "turned by 180 degrees",
    (False, 270): "turned by 90 degrees counter-clockwise",
    (True, 0): "mirrored left to right",
    (True, 90): "mirrored left to right, then turned by 90 degrees clockwise",
    (True, 180): "mirrored top to bottom",
    (True, 270): "mirrored left to right, then turned by 90 degrees counter-clockwise",
}
_SPACING_WORDS = {
    "of the patient": "pixel spacing in the patient taken for that on the detector",
    "magnified": "pixel spacing on the detector magnified, as if it were that in the patient",
    "exchanged": "pixel spacing of rows and columns exchanged",
}


@dataclass(frozen=True)
class PictureChange:
    """What may have happened to a picture: mirrored left to right first, then turned, its grey values inverted.

    turned_deg
        Clockwise: 0, 90, 180 or 270.
    spacing
        What the stated pixel spacing is, one of :data:`SPACINGS`: that on the detector, as "stated"; that "of the
        patient", smaller by the magnification; one "magnified" by somebody who took it for that; or that of rows and
        columns "exchanged".
    """

    mirrored: bool = False
    turned_deg: int = 0
    inverted: bool = False
    spacing: str = "stated"

    def applied(self, image: np.ndarray) -> np.ndarray:
        """``image`` [row, column], mirrored and turned."""
        return np.rot90(image[:, ::-1] if self.mirrored else image, -(self.turned_deg // 90))

    def undone(self, image: np.ndarray) -> np.ndarray:
        """The image before it was mirrored and turned."""
        upright = np.rot90(image, self.turned_deg // 90)
        return upright[:, ::-1] if self.mirrored else upright

    @property
    def words(self) -> str:
        """What happened, in words."""
        parts = [
            _MOVES[self.mirrored, self.turned_deg],
            "grey values inverted" if self.inverted else "",
            _SPACING_WORDS.get(self.spacing, ""),
        ]
        return "; ".join(filter(None, parts)) or "as it is"


def picture_before(change: PictureChange, xray: XRay, magnification: float) -> XRay:
    """The X-ray as it was before ``change`` to its picture; of one with inverted grey values ``xray`` is what is read
    with the other polarity.

    The camera is taken to be that of the picture before, but for the size of an image that was turned on its side.
    ``magnification`` is that of the patient on the detector.
    """
    camera = xray.camera
    if change.turned_deg % 180 and camera.rows != camera.columns:
        for _ in range((360 - change.turned_deg) // 90):
            camera = turned_clockwise(camera)[0]
    row_mm, column_mm = camera.pixel_spacing_mm
    if change.spacing == "exchanged":
        row_mm, column_mm = column_mm, row_mm
    factor = {"of the patient": magnification, "magnified": 1 / magnification}.get(change.spacing, 1.0)
    camera = replace(camera, pixel_spacing_mm=(row_mm * factor, column_mm * factor))
    return replace(xray, attenuation=change.undone(xray.attenuation), camera=camera, mask=change.undone(xray.mask))
