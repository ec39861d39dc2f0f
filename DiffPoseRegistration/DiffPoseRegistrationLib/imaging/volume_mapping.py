"""Volumes that are not CT: a chosen mapping of their values to Hounsfield units, so that they attenuate X-rays.

A cone-beam reconstruction has another scale and offset; an angiography shows vessels that an X-ray shows only while
contrast agent fills them; a magnetic resonance image says nothing about attenuation, so its body counts as water, whose
outline an X-ray shows. Whoever knows more gives a table of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

AIR_HU, SOFT_TISSUE_HU, CONTRAST_HU = -1000.0, 40.0, 1500.0
KINDS = ("ct", "cone-beam", "vessels", "mr")
_HISTOGRAM = 256


@dataclass(frozen=True)
class VolumeMapping:
    """Piecewise linear from a volume's values to Hounsfield units, constant beyond its ends.

    Parameters
    ----------
    kind
        What the volume is, for people: one of ``KINDS`` or the name of a table.
    points
        (value, HU) pairs, values rising; none: the values are Hounsfield units.

    Raises
    ------
    InputError
        If the points are not at least two pairs of numbers with rising values, or hold no air and nothing denser.
    """

    kind: str = "ct"
    points: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        try:
            points = np.array(self.points, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError):
            points = np.full((1, 2), np.nan)
        if points.size == 0:
            return
        if len(points) < 2 or not np.isfinite(points).all() or (np.diff(points[:, 0]) <= 0).any():
            raise InputError(
                f"The mapping {self.kind} must be at least two pairs [value, HU] of numbers, the values rising."
            )
        if points[:, 1].min() > -500 or points[:, 1].max() < 0:
            raise InputError(
                f"The mapping {self.kind} maps nothing to air (-1000 HU) or nothing to tissue (0 HU and more)."
            )
        object.__setattr__(self, "points", tuple((float(value), float(hu)) for value, hu in points))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Hounsfield units, float32, of an array of values of any shape."""
        if not self.points:
            return np.asarray(values, dtype=np.float32)
        known, hounsfield = np.array(self.points).T
        return np.interp(values, known, hounsfield).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "points": [list(point) for point in self.points]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> VolumeMapping:
        return cls(data["kind"], tuple(tuple(point) for point in data["points"]))


def chosen_mapping(spec: str, values: np.ndarray, name: str) -> VolumeMapping:
    """The mapping that ``spec`` names, fitted to a volume's ``values``.

    ``ct``: none. ``cone-beam``: the two tallest peaks of the histogram are air and soft tissue. ``vessels`` or
    ``vessels:THRESHOLD``: only what is above the threshold attenuates (default: the brightest hundredth). ``mr``: what
    stands out from the background counts as water. Anything else is the path of a JSON file with [value, HU] pairs.

    Raises
    ------
    InputError
        If the volume shows no such peaks, or the file or the threshold cannot be read.
    """
    kind, _, number = spec.partition(":")
    if spec == "ct":
        return VolumeMapping()
    if spec == "cone-beam":
        air, tissue = _two_peaks(values, name)
        per_hu = (tissue - air) / (SOFT_TISSUE_HU - AIR_HU)
        return VolumeMapping(spec, ((air, AIR_HU), (tissue, SOFT_TISSUE_HU), (tissue + 3000 * per_hu, 3040.0)))
    if spec == "mr":
        background = _otsu(values)
        lowest, highest = float(values.min()), float(values.max())
        if not lowest < background < highest:
            raise InputError(f"{name} has no body that stands out from its background; give a table of [value, HU].")
        return VolumeMapping(
            spec, ((background - 0.2 * (background - lowest), AIR_HU), (background, 0.0), (highest, 60.0))
        )
    if kind == "vessels":
        try:
            threshold = float(number) if number else float(np.quantile(values, 0.99))
        except ValueError:
            raise InputError(f"{spec!r}: give the vessels' threshold as a number, such as vessels:150.") from None
        highest = float(values.max())
        if not threshold < highest:
            raise InputError(f"{name} has no value above {threshold:g}, the threshold of vessels; give a lower one.")
        step = 0.02 * (highest - threshold)
        return VolumeMapping(spec, ((threshold, AIR_HU), (threshold + step, 200.0), (highest + step, CONTRAST_HU)))
    path = Path(spec)
    if not path.is_file():
        raise InputError(f"{spec!r} is neither one of {', '.join(KINDS)} nor a JSON file with [value, HU] pairs.")
    try:
        return VolumeMapping(path.name, tuple(tuple(pair) for pair in json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no JSON list of [value, HU] pairs ({type(error).__name__}).") from None


def _two_peaks(values: np.ndarray, name: str) -> tuple[float, float]:
    """The tallest peaks of the histogram below and above Otsu's threshold."""
    middle = _otsu(values)
    low, high = np.quantile(values, [0.001, 0.999])
    counts, edges = np.histogram(values, bins=_HISTOGRAM, range=(low, high if high > low else low + 1))
    counts = np.convolve(counts, np.ones(5) / 5, mode="same")
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = counts * (centres < middle), counts * (centres >= middle)
    air, tissue = float(centres[below.argmax()]), float(centres[above.argmax()])
    if not below.any() or not above.any() or tissue - air < 0.05 * (high - low):
        raise InputError(f"{name} shows no two kinds of voxels, air and tissue; give a table of [value, HU].")
    return air, tissue


def _otsu(values: np.ndarray) -> float:
    """The value that separates the histogram into the two most even groups (N. Otsu, 1979)."""
    low, high = np.quantile(values, [0.001, 0.999])
    if not high > low:
        return float(low)
    counts, edges = np.histogram(values, bins=_HISTOGRAM, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    share = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * centres) / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * share - mean) ** 2 / (share * (1 - share))
    return float(edges[1:][int(np.nanargmax(np.where(np.isfinite(between), between, -1)))])
