"""Which pixels of an X-ray hold a picture of the patient: collimation, image-intensifier rim, saturation.

Conservative: a pixel is only taken out where there is evidence against it, since every pixel lost is
information lost. The open field beside the patient stays, saturated or not: it shows the outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_SHAPE_SIZE = 256  # shapes are looked for in an image no larger than this
_AGREEMENT = 0.975  # intersection over union of the field seen and the ideal round or straight field
_THRESHOLDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
_SMALLEST_FIELD, _LARGEST_FIELD = 0.2, 0.985
_RIM = 0.01  # of the image size: penumbra beside a collimator's edge
_SMALLEST_REGION = 1e-3  # of the pixels
_FLAT_WITHIN, _FLAT_AT_LEAST = 6.0, 1e-4  # standard deviations of the noise; share of the grey scale
_FLAT_SHARE, _OTHER_SHARE = 0.98, 0.8  # of the pixels of a line: in a blade at least, behind its edge at most
_THINNEST_BLADE, _PENUMBRA = 0.015, 3  # of the image; in lines of the small image
_MAD_TO_SIGMA = 1.4826  # of a normal distribution


_Box = tuple[int, int, int, int]  # first row, last row, first column, last column
_Circle = tuple[float, float, float]  # row, column, radius


@dataclass(frozen=True)
class Field:
    """The exposed field of an X-ray.

    mask
        Array [row, column], bool: True inside.
    shape
        "round", "rectangular", or None if the whole image is exposed.
    outside
        "dark" or "bright" as the pixels outside are shown; None if there are none.
    """

    mask: np.ndarray
    shape: str | None = None
    outside: str | None = None

    @property
    def words(self) -> str:
        """The field in words, for the provenance."""
        if self.shape is None:
            return "no collimation found"
        return f"{self.shape} field, {self.outside} outside it ({1 - self.mask.mean():.0%} of the image) masked"


def exposed_field(shown: np.ndarray) -> Field:
    """The field inside round or straight, axis-aligned collimation of ``shown`` [row, column].

    The area outside is looked for as pixels near one end of the grey scale that are connected to the
    image's border. It counts as collimation only if what remains is a circle, a rectangle, or a circle
    cut by a rectangle: patients are none of these. Else blades of a grey that the patient shows too are looked for.
    """
    step = max(1, -(-max(shown.shape) // _SHAPE_SIZE))
    small = shown[::step, ::step].astype(np.float64)
    low, high = np.percentile(small, [0.1, 99.9])
    whole = Field(np.ones(shown.shape, bool))
    if high <= low:
        return whole
    scaled = (small - low) / (high - low)
    best: tuple[float, tuple[_Box, _Circle | None, str] | None] = (_AGREEMENT, None)
    for outside, depth in (("dark", scaled), ("bright", 1 - scaled)):
        for threshold in _THRESHOLDS:
            inside = _inside(depth < threshold)
            if not _SMALLEST_FIELD < inside.mean() < _LARGEST_FIELD:
                continue
            box, circle, agreement = _fit(inside)
            if _draw(inside.shape, box, circle, 1, 0.0).mean() > _LARGEST_FIELD:
                continue
            if circle is not None and not _fills_image(box, inside.shape, 0.7 if outside == "dark" else 0.85):
                continue
            if agreement > best[0]:
                best = (agreement, (box, circle, outside))
    if best[1] is None:
        best = (_AGREEMENT, _between_grey_blades(scaled))
    if best[1] is None:
        return whole
    box, circle, outside = best[1]
    mask = _draw(shown.shape, box, circle, step, _RIM * max(shown.shape))
    return Field(mask, "rectangular" if circle is None else "round", outside)


def saturation(values: np.ndarray, field: np.ndarray, at_largest: bool) -> np.ndarray:
    """Pixels [row, column], bool, clipped at the largest (else the smallest) value of the ``field`` in sizeable
    connected regions.

    At the dense end of the scale the attenuation is only known to be large there (a thick part, metal, a blade), not
    how large. At the other end it is open field, or glare.
    """
    inside = values[field]
    if inside.size == 0:
        return np.zeros(values.shape, bool)
    limit = inside.max() if at_largest else inside.min()
    labels, count = ndimage.label((values == limit) & field)
    if count == 0:
        return np.zeros(values.shape, bool)
    sizes = np.bincount(labels.ravel())
    large = sizes >= max(_SMALLEST_REGION * values.size, 16)
    large[0] = False
    return large[labels]


def _between_grey_blades(scaled: np.ndarray) -> tuple[_Box, None, str] | None:
    """The field between straight blades that are flat, but brighter than the densest part of the patient; None if
    there are none.

    From each side of ``scaled`` [row, column] the lines count that are alike all along. The open field beside a
    patient is alike too, but nothing is more open, and it does not end all along a line at once.
    """
    depths, levels, tolerances = [], [], []
    for lines in (scaled, scaled[::-1], scaled.T, scaled.T[::-1]):
        level = float(np.median(lines[0]))
        noise = _MAD_TO_SIGMA * np.median(np.abs(np.diff(lines[0]))) / np.sqrt(2)
        tolerance = float(_FLAT_WITHIN * noise + _FLAT_AT_LEAST)
        alike = (np.abs(lines - level) < tolerance).mean(axis=1)
        depth = int(np.argmax(alike < _FLAT_SHARE)) if (alike < _FLAT_SHARE).any() else len(lines)
        ends_at_once = depth + _PENUMBRA < len(lines) and alike[depth + _PENUMBRA] < _OTHER_SHARE
        if depth >= _THINNEST_BLADE * len(lines) and ends_at_once:
            depths.append(depth)
            levels.append(level)
            tolerances.append(tolerance)
        else:
            depths.append(0)
    rows, columns = scaled.shape
    box = (depths[0], rows - 1 - depths[1], depths[2], columns - 1 - depths[3])
    inside = scaled[box[0] : box[1] + 1, box[2] : box[3] + 1]
    if not levels or inside.size < _SMALLEST_FIELD * scaled.size:
        return None
    level, tolerance = float(np.median(levels)), max(tolerances)
    shares = (inside < level - tolerance).mean(), (inside > level + tolerance).mean()
    if min(shares) < _SMALLEST_REGION:
        return None
    return box, None, "dark" if shares[1] > shares[0] else "bright"


def _inside(extreme: np.ndarray) -> np.ndarray:
    """What is left when the parts of ``extreme`` connected to the image border go: one region without holes."""
    labels, _ = ndimage.label(extreme)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    remaining = ~np.isin(labels, border[border > 0])
    remaining = ndimage.binary_opening(np.pad(remaining, 2, mode="edge"), iterations=2)[2:-2, 2:-2]
    regions, count = ndimage.label(remaining)
    if count == 0:
        return remaining
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    return ndimage.binary_fill_holes(regions == largest)


def _fit(inside: np.ndarray) -> tuple[_Box, _Circle | None, float]:
    """The rectangle, or circle cut by a rectangle, nearest to ``inside`` and their intersection over union."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1]))
    rectangle = _agreement(inside, _draw(inside.shape, box, None, 1, 0.0))
    edge = inside & ~ndimage.binary_erosion(inside, border_value=0)
    r, c = np.nonzero(edge)
    free = (r > box[0] + 1) & (r < box[1] - 1) & (c > box[2] + 1) & (c < box[3] - 1)
    upper, left = r < (box[0] + box[1]) / 2, c < (box[2] + box[3]) / 2
    quarters = [
        int((free & (upper == up) & (left == to_left)).sum()) for up in (True, False) for to_left in (True, False)
    ]
    if min(quarters) < max(
        10, 0.08 * sum(quarters)
    ):  # a round field is cut off in every corner; air beside a neck is not
        return box, None, rectangle
    # Algebraic least-squares circle (Kasa): r^2 + c^2 = 2 r0 r + 2 c0 c + k.
    r, c = r[free].astype(np.float64), c[free].astype(np.float64)
    solution = np.linalg.lstsq(np.stack([2 * r, 2 * c, np.ones_like(r)], axis=1), r**2 + c**2, rcond=None)[0]
    square = solution[2] + solution[0] ** 2 + solution[1] ** 2
    if square <= 0:
        return box, None, rectangle
    circle = (float(solution[0]), float(solution[1]), float(np.sqrt(square)))
    round_ = _agreement(inside, _draw(inside.shape, box, circle, 1, 0.0))
    return (box, circle, round_) if round_ > rectangle + 0.03 else (box, None, rectangle)


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _fills_image(box: _Box, shape: tuple[int, int], least: float) -> bool:
    """A round field is chosen to use the detector: it spans most of the image and lies in its middle."""
    spans = [(box[1] - box[0] + 1) / shape[0], (box[3] - box[2] + 1) / shape[1]]
    middles = [(box[0] + box[1]) / 2 / shape[0], (box[2] + box[3]) / 2 / shape[1]]
    return min(spans) > least and all(abs(m - 0.5) < 0.15 for m in middles)


def _draw(shape: tuple[int, int], box: _Box, circle: _Circle | None, step: int, rim: float) -> np.ndarray:
    """The field in an image of ``shape``, from numbers in the image ``step`` times smaller, less its rim (px).

    A side of the box on the image's border is not a collimator's edge and loses no rim.
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    last_row, last_column = (shape[0] - 1) // step, (shape[1] - 1) // step
    mask = np.ones(shape, bool)
    if box[0] > 0:
        mask &= rows >= box[0] * step + rim
    if box[1] < last_row:
        mask &= rows <= (box[1] + 1) * step - 1 - rim
    if box[2] > 0:
        mask &= columns >= box[2] * step + rim
    if box[3] < last_column:
        mask &= columns <= (box[3] + 1) * step - 1 - rim
    if circle is not None:
        r0, c0, radius = (value * step for value in circle)
        mask &= (rows - r0) ** 2 + (columns - c0) ** 2 <= (radius + 0.5 * step - rim) ** 2
    return mask
