"""What to tell of the readings of an X-ray that :func:`.explain.explain` compared: the conclusion, a page, a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..geometry.camera import Camera
from ..imaging.picture_change import PictureChange, picture_before
from ..rendering.renderer import Renderer
from .explain import DISTINCT_GAP, BothPolarities, Explanation, magnification_of
from .pictures import SHEET_PX, contact_sheet, sheet_columns

LEAST_SIMILARITY = 0.4  # below, nothing has been explained

# Of a label, the first few on every sheet.
_SHORTER_ANYWHERE = 2
_SHORTER = (
    ("turned by ", ""),
    (" degrees", "°"),
    (" left to right", ""),
    (", then ", ", "),
    ("counter-clockwise", "ccw"),
    ("clockwise", "cw"),
    ("grey values ", ""),
)


@dataclass(frozen=True)
class Conclusion:
    """What the readings of one X-ray say.

    best, as_it_is
        The reading that explains it best, and that of the picture as it is (None: the CT does not project into that).
    rival
        Another that explains it nearly as well; None: it is clear.
    """

    best: Explanation
    as_it_is: Explanation | None
    rival: Explanation | None

    @classmethod
    def of(cls, found: Sequence[Explanation]) -> Conclusion:
        """From readings, the best first."""
        as_it_is = next((one for one in found if one.change == PictureChange()), None)
        rival = found[1] if len(found) > 1 and found[1].gap < DISTINCT_GAP else None
        return cls(found[0], as_it_is, rival)

    @property
    def is_explained(self) -> bool:
        """Whether the best reading fits the CT at all."""
        return self.best.similarity >= LEAST_SIMILARITY

    @property
    def is_changed(self) -> bool:
        """Whether the picture is explained, but not as it is."""
        return self.is_explained and self.best.change != PictureChange()


def camera_of_reading(change: PictureChange, both: BothPolarities, pose: np.ndarray, renderer: Renderer) -> Camera:
    """The camera of the picture before ``change``, at its full size; ``pose`` is the rough one."""
    magnification = magnification_of(both.as_read.camera, pose, renderer.isocentre)
    return picture_before(change, both.as_read, magnification).camera


def sheet(found: Sequence[Explanation], renderer: Renderer, title: str = "", width: int = SHEET_PX) -> Image.Image:
    """A contact sheet, ``width`` pixels wide, of the best readings and the picture as it is with the CT's edges."""
    across = sheet_columns(width)
    count, is_narrow = 2 * across - 1, across < sheet_columns(SHEET_PX)
    shown = [*found[:count], *(one for one in found[count:] if one.change == PictureChange())]
    readings = []
    for n, one in enumerate(shown):
        camera = one.xray.camera
        level = renderer.level_for(camera, float(np.linalg.norm(one.pose[:3, 3] - renderer.isocentre)))
        label = f"{n + 1}. {one.similarity:.2f} {one.change.words}"
        for words, shorter in _SHORTER[: None if is_narrow else _SHORTER_ANYWHERE]:
            label = label.replace(words, shorter)
        readings.append((label, one.xray, renderer.render(camera, one.pose, level)))
    note = "Each picture as it was before the change named, with the CT's edges at the pose that was found for it."
    return contact_sheet(readings, title=title, note="" if is_narrow else note, width=width)


def record(found: Sequence[Explanation], both: BothPolarities, pose: np.ndarray, renderer: Renderer) -> dict[str, Any]:
    """The conclusion as JSON: what would have happened to the picture, and how it is then to be read."""
    conclusion = Conclusion.of(found)
    best = conclusion.best
    return {
        "is_explained": conclusion.is_explained,
        "is_changed": conclusion.is_changed,
        "similarity": best.similarity,
        "similarity_as_it_is": None if conclusion.as_it_is is None else conclusion.as_it_is.similarity,
        "change": asdict(best.change),
        "change_in_words": best.change.words,
        "rival_in_words": None if conclusion.rival is None else conclusion.rival.change.words,
        "polarity": both.polarity if best.change.inverted else None,
        "camera": camera_of_reading(best.change, both, pose, renderer).to_json(),
        "camera_to_world_ras_mm": best.pose.tolist(),
        "initial_camera_to_world_ras_mm": pose.tolist(),
        "readings": [
            {"words": one.change.words, "similarity": one.similarity, "gap": one.gap, **asdict(one.change)}
            for one in found
        ],
    }
