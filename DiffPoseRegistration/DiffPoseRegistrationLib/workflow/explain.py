"""Geometry wizard: which reading of an X-ray explains its picture best.

Pictures get mirrored, turned and inverted by the programs that they pass through, and a pixel spacing in the patient is
taken for one on the detector; no tag tells. Given a rough pose, each reading is registered for a short while, no
further from that pose than it may be off, and the similarities are compared; of a bone that was cut out of its CT, how
well its outline is found. Nothing is changed: the person decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import NOMINAL_DETECTOR_DISTANCE_MM, Camera
from ..imaging.intensity import POLARITIES
from ..imaging.picture_change import PictureChange, picture_before
from ..imaging.values import XRay
from ..imaging.xray_reader import read_xray
from ..refinement.pyramid import reduced
from ..refinement.refine import refine
from ..refinement.schedule import WHOLE_BODY, Schedule, SearchSettings
from ..refinement.views import PosePrior
from ..rendering.renderer import Renderer
from .outline_search import OutlineSearch

RANGE_DEG_MM = (10.0, 20.0)  # that a rough pose may be off, where nobody says
DISTINCT_GAP = 0.1  # a reading whose 1 - NCC is less than so much above the best one's explains the X-ray as well

_LONGEST_SIDE = 512  # pixels; no stage of a registration looks at more
_KEPT = 8  # readings that are looked at more closely
_NEARBY_DEG_MM, _NEARBY_STEP_DEG = (5.0, 5.0), 2.5  # of an outline, about where it was found
_LEAST_MAGNIFICATION, _LEAST_UNEQUAL = 1.05, 1.01
_PRIOR_WEIGHT = 0.01  # 1 - NCC that a pose costs which is off by the whole range in one coordinate


@dataclass(frozen=True)
class Explanation:
    """A reading of an X-ray and how well the CT explains it.

    change
        What would have happened to the picture. xray: the picture before, at most 512 pixels a side.
    pose
        Where a short registration of that ended, [4, 4], RAS mm.
    similarity
        Mean NCC over the windows of the finest scale, less the cost of being away from the given pose; or that of a
        bone's outline.
    gap
        How much larger 1 - similarity is than the best reading's, less one; 0 for the best.
    """

    change: PictureChange
    xray: XRay
    pose: np.ndarray
    similarity: float
    gap: float = 0.0


class BothPolarities(NamedTuple):
    """An X-ray as it is read, the same read with its grey values inverted, and the ``polarity`` that reads it so."""

    as_read: XRay
    inverted: XRay
    polarity: str


def read_both_polarities(path: str | Path, camera: Camera | None = None, **options: Any) -> BothPolarities:
    """The X-ray in a file as :func:`.xray_reader.read_xray` reads it with ``options``, and with its grey values
    inverted. Raises InputError as that does."""
    as_read = read_xray(path, camera, **options)
    for polarity in POLARITIES[1:]:
        other = read_xray(path, camera, **{**options, "polarity": polarity})
        if not np.array_equal(other.attenuation, as_read.attenuation):
            return BothPolarities(as_read, other, polarity)
    raise AssertionError("both polarities give one image")


def explain(
    renderer: Renderer,
    both: BothPolarities,
    pose: np.ndarray,
    *,
    range_deg_mm: tuple[float, float] = RANGE_DEG_MM,
    progress: Callable[[float], None] | None = None,
) -> list[Explanation]:
    """The readings that explain an X-ray best, the best first, and among them the picture as it is.

    Parameters
    ----------
    renderer
        Of the CT. both: from :func:`read_both_polarities`.
    pose
        Rough ``camera_to_world`` [4, 4] of the picture as it was before any change.
    range_deg_mm
        How far off that may be: degrees about the CT's centre, mm.
    progress
        Told the share that is done; what it raises ends the search.

    Raises
    ------
    InputError
        If the CT projects into the image from that pose in no reading, or the range is none.
    """
    if not (0 < range_deg_mm[0] <= 90 and 0 < range_deg_mm[1] <= 1000):
        raise InputError(
            f"The pose may be off by {range_deg_mm[0]:g} degrees and {range_deg_mm[1]:g} mm; give more than 0, and at "
            "most 90 degrees and 1000 mm."
        )
    as_read = both.as_read
    pose = rigid.validated_pose(pose, "The rough pose")
    pictures = {False: _small(as_read), True: _small(both.inverted)}
    magnification = magnification_of(as_read.camera, pose, renderer.isocentre)
    changes = list(_changes(as_read.camera, magnification))
    look: _Look = (_OutlineLook if renderer.is_cut_out else _RegisteringLook)(renderer, pose, range_deg_mm)
    coarse = []

    def tell(looks: int) -> None:
        if progress is not None:
            progress(looks / (len(changes) + _KEPT + 1))

    for n, change in enumerate(changes):
        try:
            coarse.append(look.from_afar(change, picture_before(change, pictures[change.inverted], magnification)))
        except InputError:  # the CT does not project into this image
            continue
        finally:
            tell(n + 1)
    if not coarse:
        raise InputError(
            f"{as_read.name}: the CT does not project into the image from the rough pose; check that and the X-ray's "
            "geometry."
        )
    coarse.sort(key=lambda one: -one.similarity)
    chosen = coarse[:_KEPT] + [one for one in coarse[_KEPT:] if one.change == PictureChange()]
    closer = []
    for n, one in enumerate(chosen):
        closer.append(look.closer(one))
        tell(len(changes) + n + 1)
    closer.sort(key=lambda one: -one.similarity)
    if progress is not None:
        progress(1.0)
    least = max(1 - closer[0].similarity, 1e-9)
    return [replace(one, gap=(1 - one.similarity) / least - 1) for one in closer]


class _Look(Protocol):
    """How well a picture fits the CT, near one rough pose."""

    def from_afar(self, change: PictureChange, xray: XRay) -> Explanation:
        """At few pixels. Raises InputError if the CT does not project into the image."""

    def closer(self, found: Explanation) -> Explanation:
        """At more pixels, from where a look from afar ended."""


class _RegisteringLook:
    """By short registrations, whose poses pay for being away from the rough one."""

    def __init__(self, renderer: Renderer, pose: np.ndarray, range_deg_mm: tuple[float, float]) -> None:
        self._renderer, self._pose = renderer, pose
        self._settings = SearchSettings(*range_deg_mm)
        self._coarse = Schedule(WHOLE_BODY.search, refinement=(), prior_weight=_PRIOR_WEIGHT)
        self._fine = Schedule(WHOLE_BODY.refinement[:-1], refinement=())
        self._prior = PosePrior(pose[None], renderer.isocentre, self._settings.half_range, _PRIOR_WEIGHT)

    def from_afar(self, change: PictureChange, xray: XRay) -> Explanation:
        return self._registered(change, xray, self._pose, replace(self._settings, schedule=self._coarse))

    def closer(self, found: Explanation) -> Explanation:
        settings = replace(self._settings, rotation_deg=0.0, schedule=self._fine)
        return self._registered(found.change, found.xray, found.pose, settings)

    def _registered(
        self, change: PictureChange, xray: XRay, start: np.ndarray, settings: SearchSettings
    ) -> Explanation:
        found = refine(self._renderer, xray, start, settings)
        away = float(self._prior(found.pose[None])[0][0])
        return Explanation(change, xray, found.pose, found.similarity - away)


class _OutlineLook:
    """By the outline of a bone that was cut out of its CT."""

    def __init__(self, renderer: Renderer, pose: np.ndarray, range_deg_mm: tuple[float, float]) -> None:
        self._renderer = renderer
        self._search = OutlineSearch(renderer, pose, *range_deg_mm)

    def from_afar(self, change: PictureChange, xray: XRay) -> Explanation:
        return Explanation(change, xray, *self._search.best(xray))

    def closer(self, found: Explanation) -> Explanation:
        search = OutlineSearch(self._renderer, found.pose, *_NEARBY_DEG_MM, step_deg=_NEARBY_STEP_DEG)
        return Explanation(found.change, found.xray, *search.best(found.xray))


def _changes(camera: Camera, magnification: float) -> Iterator[PictureChange]:
    """Every change that can be told from the others."""
    spacings = ["stated"]
    # The distance that stands for a calibration matrix magnifies nothing that anybody could have mistaken.
    if magnification > _LEAST_MAGNIFICATION and camera.source_to_detector_mm != NOMINAL_DETECTOR_DISTANCE_MM:
        spacings += ["of the patient", "magnified"]
    if max(camera.pixel_spacing_mm) > _LEAST_UNEQUAL * min(camera.pixel_spacing_mm):
        spacings.append("exchanged")
    for mirrored, turned, inverted, spacing in itertools.product(
        (False, True), (0, 90, 180, 270), (False, True), spacings
    ):
        yield PictureChange(mirrored, turned, inverted, spacing)


def magnification_of(camera: Camera, pose: np.ndarray, isocentre: np.ndarray) -> float:
    """Of what lies at the isocentre, on the detector."""
    depth = float(rigid.transform_points(rigid.inverse(pose), isocentre[None])[0, 2])
    return camera.source_to_detector_mm / depth if depth > 1 else 1.0


def _small(xray: XRay) -> XRay:
    level = reduced(xray, _LONGEST_SIDE)
    return replace(xray, attenuation=level.image, camera=level.camera, mask=level.weight > 0.5)
