"""A generated CT: lumbar spine, pelvis, hips and lower ribs in soft tissue, in Hounsfield units.

It stands in for a patient where there is none (the demonstration, tests, teaching). The two sides differ
in density, tilt and size, as in people, so that no pose looks like another. Proportions are those of an
adult as found in anatomy textbooks, rounded; nothing is copied from a scan.

Shapes are signed distance functions on small boxes of the grid (after I. Quilez, "distance functions",
iquilezles.org/articles/distfunctions), blended over one voxel, which is what a scanner's partial volume
effect does.
"""
# ruff: noqa: RUF005 - "vector + (x, y, z)" adds here, it does not concatenate

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .values import CTVolume

CENTRE_RAS = (9.0, -21.0, 134.0)  # away from the world's origin, so that a forgotten offset shows

_AIR, _FAT, _MUSCLE, _ORGAN, _LIVER, _FLUID, _GAS, _DISC = -1000.0, -95.0, 52.0, 28.0, 62.0, 8.0, -960.0, 85.0
_VERTEBRAE = ("L1", "L2", "L3", "L4", "L5")

Vector = Sequence[float] | np.ndarray
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def phantom_ct(seed: int = 0, size: tuple[int, int, int] = (160, 120, 160), spacing: float = 2.0) -> CTVolume:
    """A phantom CT.

    Parameters
    ----------
    seed
        Which patient: sizes, tilts and densities vary by some per cent.
    size, spacing
        Voxels along (i, j, k) = towards the patient's right, front and head, and their size in mm. The
        anatomy keeps its size in mm, about 310 x 220 x 320 mm.
    """
    canvas = _Canvas(size, spacing)
    anatomy = _Anatomy.draw(seed)
    _paint_soft_tissue(canvas, anatomy)
    _paint_spine(canvas, anatomy)
    for side in (1, -1):
        _paint_ribs(canvas, anatomy, side)
        _paint_hemipelvis(canvas, anatomy, side)
        _paint_femur(canvas, anatomy, side)
    _paint_sacrum(canvas, anatomy)
    _paint_calcifications(canvas, anatomy)
    _add_texture(canvas, seed)
    return CTVolume(canvas.hounsfield, canvas.ijk_to_ras, name=f"phantom-{seed}")


def phantom_landmarks(seed: int = 0) -> np.ndarray:
    """Bony landmarks [n, 3] (RAS, mm) of the same phantom: tips of processes, femoral heads, iliac
    spines, pubis, ischia, sacrum."""
    anatomy = _Anatomy.draw(seed)
    points = [anatomy.spinous_tip(n) for n in range(5)]
    points += [anatomy.transverse_tip(n, side) for n in (0, 2, 4) for side in (1, -1)]
    for side in (1, -1):
        points += [
            anatomy.femoral_head(side),
            anatomy.mirrored((119, 44, -8), side),
            anatomy.mirrored((58, -26, -146), side),
            anatomy.mirrored((15, 47, -120), side),
        ]
    points.append(anatomy.sacrum(0.0))
    return np.array(points) + CENTRE_RAS


@dataclass(frozen=True)
class _Anatomy:
    """Where the bones of one patient are, in mm from the phantom's centre (x right, y front, z head)."""

    vertebra: np.ndarray  # centres [5, 3] of the vertebral bodies
    vertebra_roll: np.ndarray  # [5] lean to the side, radians
    side_scale: dict[int, float]  # size of the hip bone
    side_shift: dict[int, np.ndarray]  # pelvic obliquity
    bone: dict[int, float]  # density factor
    transverse_length: np.ndarray  # [5, 2] (right, left)
    gas: np.ndarray  # [n, 6] centres and radii
    stones: np.ndarray  # [n, 4] centres and radii of calcifications

    @classmethod
    def draw(cls, seed: int) -> _Anatomy:
        random = np.random.default_rng([seed, 20])
        z = np.array([136.0, 101.0, 66.0, 31.0, -3.0])
        scoliosis = 5.0 * np.sin((z - 60) / 55) + random.normal(0, 1.0, 5)
        lordosis = -22.0 + 11.0 * np.exp(-(((z - 20) / 60) ** 2))
        right, left = 1.0 + 0.03 * random.normal(), 0.95 + 0.03 * random.normal()
        tilt = 5.0 + 1.5 * random.normal()
        # The ascending colon, some loops of small bowel, and the rectum.
        loops = [
            (88, 38, -18, 17, 15, 24),
            (82, 44, 34, 14, 12, 19),
            (-90, 30, 5, 11, 12, 30),
            (-40, 62, 72, 30, 11, 12),
            (24, 60, 18, 15, 13, 11),
            (-18, 58, -22, 12, 10, 14),
            (6, -52, -118, 12, 10, 17),
        ]
        gas = np.array(loops, dtype=np.float64)
        gas[:, :3] += random.normal(0, 5, (len(gas), 3))
        gas[:, 3:] *= random.uniform(0.75, 1.2, (len(gas), 3))
        plaques = np.stack(
            [
                random.uniform(-26, -8, 9),
                random.uniform(4, 16, 9),
                random.uniform(-10, 140, 9),
                random.uniform(1.5, 4.0, 9),
            ],
            axis=1,
        )
        others = [(62, -18, 96, 4.5), (66, -20, 89, 3.0), (34, 12, -132, 3.0), (-41, 5, -136, 3.5), (44, 30, 118, 6.0)]
        return cls(
            vertebra=np.stack([scoliosis, lordosis, z], axis=1),
            vertebra_roll=0.10 * np.cos((z - 60) / 55) + random.normal(0, 0.02, 5),
            side_scale={1: right, -1: left},
            side_shift={1: np.array([0.0, 1.5, tilt]), -1: np.array([0.0, -1.5, -tilt])},
            bone={1: 1.12 + 0.05 * random.normal(), -1: 0.82 + 0.05 * random.normal()},
            transverse_length=np.array([36, 40, 44, 40, 37])[:, None] * random.uniform(0.86, 1.14, (5, 2)),
            gas=gas,
            stones=np.concatenate([plaques, np.array(others)]),
        )

    def mirrored(self, point: Vector, side: int) -> np.ndarray:
        """A point of the right hip bone, or its (unlike) partner on the left."""
        x, y, z = point
        scaled = np.array([x, y, z + 95.0]) * self.side_scale[side] - (0, 0, 95.0)
        return scaled * (side, 1, 1) + self.side_shift[side]

    def in_vertebra(self, n: int, point: Vector) -> np.ndarray:
        """A point given from the centre of vertebral body ``n``, leaning with it."""
        x, y, z = point
        c, s = np.cos(self.vertebra_roll[n]), np.sin(self.vertebra_roll[n])
        return self.vertebra[n] + (c * x - s * z, y, s * x + c * z)

    def spinous_tip(self, n: int) -> np.ndarray:
        return self.in_vertebra(n, (1.5 * (-1) ** n, -66 + n, -15))

    def transverse_tip(self, n: int, side: int) -> np.ndarray:
        return self.in_vertebra(n, (side * self.transverse_length[n, (1 - side) // 2], -33, 5))

    def femoral_head(self, side: int) -> np.ndarray:
        return self.mirrored((87, 2, -92), side)

    def sacrum(self, along: float) -> np.ndarray:
        """Points on the sacrum's front from the promontory (0) to the coccyx (1)."""
        return np.array([1.5 * along, -24 - 62 * along**0.75 + 26 * max(along - 0.55, 0) * 2, -27 - 92 * along])


class _Canvas:
    """A volume of air on which shapes are painted, each in its own small box."""

    def __init__(self, size: tuple[int, int, int], spacing: float) -> None:
        self.spacing = float(spacing)
        self.axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(spacing) for n in size]
        self.hounsfield = np.full(size[::-1], _AIR, dtype=np.float32)
        self.bone = np.zeros(size[::-1], dtype=np.float32)
        self.ijk_to_ras = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        self.ijk_to_ras[:3, 3] = np.array([axis[0] for axis in self.axes]) + CENTRE_RAS

    def paint(self, low: Vector, high: Vector, distance: Distance, *layers: tuple[float, float]) -> None:
        """Paint a shape within the box ``low`` to ``high`` (mm).

        ``distance(x, y, z)`` is the signed distance from its surface (mm, negative inside). Each layer is
        ``(depth, HU)``: what lies deeper than ``depth`` below the surface gets that value.
        """
        margin = 2 * self.spacing
        box = []
        for axis, a, b in zip(self.axes, low, high):
            start, stop = np.searchsorted(axis, [a - margin, b + margin])
            if start >= stop:
                return
            box.append(slice(start, stop))
        x, y, z = (axis[part] for axis, part in zip(self.axes, box))
        d = distance(x[None, None, :], y[None, :, None], z[:, None, None])
        part = tuple(box[::-1])
        for depth, value in layers:
            cover = np.clip(0.5 - (d + depth) / self.spacing, 0, 1).astype(np.float32)
            self.hounsfield[part] += cover * (np.float32(value) - self.hounsfield[part])
            if value > 100:
                self.bone[part] = np.maximum(self.bone[part], cover)

    def ellipsoid(self, centre: Vector, radii: Vector, *layers: tuple[float, float]) -> None:
        c, r = np.asarray(centre, float), np.asarray(radii, float)
        self.paint(c - r, c + r, lambda x, y, z: _ellipsoid(x, y, z, c, r), *layers)

    def capsule(self, a: Vector, b: Vector, radii: tuple[float, float], *layers: tuple[float, float]) -> None:
        """A rod from ``a`` to ``b`` whose radius goes from ``radii[0]`` to ``radii[1]``."""
        self.rod([a, b], radii, *layers)

    def rod(self, points: Sequence[Vector] | np.ndarray, radii: Sequence[float], *layers: tuple[float, float]) -> None:
        """Joined capsules through ``points``; the radius runs evenly from the first of ``radii`` to the last."""
        joints = np.asarray(points, float)
        widths = np.interp(np.linspace(0, 1, len(joints)), np.linspace(0, 1, len(radii)), radii)
        reach = widths.max()

        def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
            ends = zip(joints[:-1], joints[1:], widths[:-1], widths[1:])
            return functools.reduce(np.minimum, (_capsule(x, y, z, *capsule) for capsule in ends))

        self.paint(joints.min(axis=0) - reach, joints.max(axis=0) + reach, distance, *layers)


def _ellipsoid(x: np.ndarray, y: np.ndarray, z: np.ndarray, c: np.ndarray, r: np.ndarray) -> np.ndarray:
    px, py, pz = (x - c[0]) / r[0], (y - c[1]) / r[1], (z - c[2]) / r[2]
    k0 = np.sqrt(px**2 + py**2 + pz**2)
    k1 = np.sqrt((px / r[0]) ** 2 + (py / r[1]) ** 2 + (pz / r[2]) ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


def _capsule(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float
) -> np.ndarray:
    axis = b - a
    t = ((x - a[0]) * axis[0] + (y - a[1]) * axis[1] + (z - a[2]) * axis[2]) / (axis @ axis)
    t = np.clip(t, 0, 1)
    away = (x - a[0] - t * axis[0]) ** 2 + (y - a[1] - t * axis[1]) ** 2 + (z - a[2] - t * axis[2]) ** 2
    return np.sqrt(away) - (ra + (rb - ra) * t)


def _trunk(inset: float) -> Distance:
    """The body's outline, ``inset`` mm (more at the front than at the back) below the skin."""

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        waist = np.exp(-(((z - 55) / 55) ** 2))
        half_width = 152 - 20 * waist - inset
        half_depth = 104 - 7 * waist - inset * 0.9
        belly = 6 * waist
        k = np.sqrt(
            np.sqrt((x / half_width) ** 4 * 0.35 + ((x / half_width) ** 2) ** 1.25 * 0.65) ** 2
            + ((y - belly) / half_depth) ** 2
        )
        return (k - 1) * np.minimum(half_width, half_depth)

    return distance


def _paint_soft_tissue(canvas: _Canvas, anatomy: _Anatomy) -> None:
    whole = [axis[[0, -1]] for axis in canvas.axes]
    low, high = [w[0] for w in whole], [w[1] for w in whole]
    canvas.paint(low, high, _trunk(0), (0, 20.0), (3, _FAT))
    canvas.paint(low, high, _trunk(19), (0, _MUSCLE))
    canvas.ellipsoid((0, 24, 40), (104, 58, 150), (0, -70.0), (5, _ORGAN))
    canvas.ellipsoid((62, 14, 150), (62, 56, 70), (0, _LIVER))
    canvas.ellipsoid((-70, -8, 150), (30, 34, 42), (0, 48.0))
    for side in (1, -1):
        canvas.ellipsoid((side * 64, -22, 96 + 10 * (side < 0)), (27, 23, 52), (0, -100.0))
        canvas.ellipsoid((side * 64, -22, 96 + 10 * (side < 0)), (22, 18, 46), (0, 34.0))
        canvas.rod([(side * 34, -20, 110), (side * 46, -14, 20), (side * 82, 28, -100)], (13, 21, 12), (0, _MUSCLE + 8))
        canvas.ellipsoid((side * 34, -66, 90), (27, 22, 150), (0, -60.0), (3, _MUSCLE + 4))
        canvas.ellipsoid((side * 70, -70, -90), (62, 26, 74), (0, -90.0), (4, _MUSCLE))
    canvas.ellipsoid((4, 18, -98), (44, 34, 33), (0, 40.0), (4, _FLUID))
    for blob in anatomy.gas:
        canvas.ellipsoid(blob[:3], blob[3:], (-2, 35.0), (0, _GAS))


def _paint_spine(canvas: _Canvas, anatomy: _Anatomy) -> None:
    above = anatomy.vertebra[0] + (anatomy.vertebra[0] - anatomy.vertebra[1])
    for n, centre in enumerate(anatomy.vertebra):
        below = anatomy.vertebra[n + 1] if n < 4 else anatomy.sacrum(0.0) + (0, -8, 4)
        canvas.ellipsoid((centre + below) / 2, (24, 19, 9), (0, _DISC))
    for n, centre in enumerate([above, *anatomy.vertebra]):
        level = max(n - 1, 0)
        _paint_vertebra(canvas, anatomy, level, centre - anatomy.vertebra[level])


def _paint_vertebra(canvas: _Canvas, anatomy: _Anatomy, n: int, offset: np.ndarray) -> None:
    def at(x: float, y: float, z: float) -> np.ndarray:
        return anatomy.in_vertebra(n, (x, y, z)) + offset

    centre = at(0, 0, 0)
    lean = np.tan(anatomy.vertebra_roll[n])
    half_width, half_depth, half_height = 21.0 + 1.2 * n, 16.5 + 0.5 * n, 13.5

    def body(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        h = z - centre[2] - lean * (x - centre[0])
        waist = 0.88 + 0.12 * np.minimum((h / half_height) ** 2, 1.2)
        across = np.sqrt(((x - centre[0]) / (half_width * waist)) ** 2 + ((y - centre[1]) / (half_depth * waist)) ** 2)
        # Flattened at the back, where the canal runs.
        side = np.maximum((across - 1) * half_depth, centre[1] - y - half_depth * 0.86)
        return _rounded(side, np.abs(h) - half_height, 3.0)

    reach = np.array([half_width, half_depth, half_height + 5])
    density = 1.0 - 0.09 * (n == 2) + 0.06 * (n == 4)
    canvas.paint(centre - reach, centre + reach, body, (0, 620.0 * density), (2.2, 215.0 * density))
    cortex = 560.0
    for side in (1, -1):
        bone = cortex * (0.5 + 0.5 * anatomy.bone[side])
        canvas.capsule(at(side * 14, -12, 5), at(side * 18, -33, 4), (5.5, 5.5), (0, bone), (2, 300.0))
        canvas.capsule(at(side * 18, -33, 4), at(side * 4, -46, -8), (4.5, 4.5), (0, bone))
        canvas.capsule(at(side * 18, -33, 12), at(side * 17, -38, -21), (6, 5.5), (0, bone * 1.15))
        tip = anatomy.transverse_tip(n, side) + offset
        canvas.capsule(at(side * 18, -31, 4), tip, (4.5, 3.5), (0, bone * 0.9))
    canvas.rod([at(0, -45, -5), anatomy.spinous_tip(n) + offset], (4.5, 5.5), (0, cortex), (2.5, 260.0))


def _paint_ribs(canvas: _Canvas, anatomy: _Anatomy, side: int) -> None:
    for start_z, drop, end in ((166.0, 62.0, 1.9), (128.0, 46.0, 1.35 if side > 0 else 1.15)):
        angle = np.linspace(0.12, end, 12)
        points = np.stack(
            [
                side * (22 + 92 * np.sin(angle)),
                -34 - 58 * np.sin(np.minimum(angle * 1.7, 3.0)) * 0.55 + 46 * (1 - np.cos(angle)),
                start_z + 4 * side - drop * (angle / 1.9) ** 1.2,
            ],
            axis=1,
        )
        canvas.rod(points, (5.0, 4.5, 3.5), (0, 600.0 * anatomy.bone[side]), (2.0, 220.0))


def _paint_hemipelvis(canvas: _Canvas, anatomy: _Anatomy, side: int) -> None:
    density, scale = anatomy.bone[side], anatomy.side_scale[side]

    def at(*point: float) -> np.ndarray:
        return anatomy.mirrored(point, side)

    # The wing: a curved fan in the plane of the sacroiliac joint, the anterior spine and the acetabulum.
    middle = at(83, -16, -34)
    along = np.array([side * 0.70, 0.70, 0.12])
    along /= np.linalg.norm(along)
    up = np.array([side * 0.22, -0.20, 0.95])
    up -= along * (up @ along)
    up /= np.linalg.norm(up)
    normal = np.cross(along, up) * side

    def wing(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = (x - middle[0]) / scale, (y - middle[1]) / scale, (z - middle[2]) / scale
        a = dx * along[0] + dy * along[1] + dz * along[2]
        b = dx * up[0] + dy * up[1] + dz * up[2]
        c = dx * normal[0] + dy * normal[1] + dz * normal[2]
        c = c + 0.0045 * a**2 + 0.0016 * b**2 - 0.06 * b - 9
        crest = np.clip((b - 30) / 25, 0, 1) + np.clip((-25 - b) / 25, 0, 1)
        thickness = 4.6 + 3.4 * crest + 3.5 * np.clip((-a - 40) / 20, 0, 1)
        top = b - (58 - 0.0075 * (a + 8) ** 2)
        flank = np.abs(a + 3) - (44 + 0.42 * np.clip(b + 30, -20, 70))
        return _rounded(np.maximum(np.maximum(top, -b - 58), flank), np.abs(c) - thickness, 3.0) * scale

    reach = 105.0
    canvas.paint(middle - reach, middle + reach, wing, (0, 880.0 * density), (3.0, 330.0 * density))

    head = anatomy.femoral_head(side)
    opening = np.array([side * 0.72, 0.36, -0.60])

    def socket(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - head[0], y - head[1], z - head[2]
        r = np.sqrt(dx**2 + dy**2 + dz**2)
        facing = dx * opening[0] + dy * opening[1] + dz * opening[2]
        return np.maximum(np.abs(r - 29 * scale) - 3.2, facing - 2)

    canvas.paint(head - 40, head + 40, socket, (0, 620.0 * density))
    strong = ((0, 860.0 * density), (3.2, 300.0 * density))
    canvas.rod([at(66, 22, -84), at(40, 44, -104), at(14, 47, -116)], (9.5, 6.5, 8.5), *strong)
    canvas.rod([at(14, 47, -118), at(16, 42, -132), at(36, 14, -146), at(54, -18, -150)], (8.5, 6.0, 8.0), *strong)
    canvas.rod([at(76, -26, -92), at(66, -34, -120), at(57, -26, -148)], (11.0, 10.0, 12.0), *strong)
    canvas.ellipsoid(at(119, 44, -8), (7, 8, 10), (0, 640.0 * density), (3, 300.0))


def _paint_femur(canvas: _Canvas, anatomy: _Anatomy, side: int) -> None:
    density, scale = anatomy.bone[side], anatomy.side_scale[side]

    def at(*point: float) -> np.ndarray:
        return anatomy.mirrored(point, side)

    head = anatomy.femoral_head(side)
    shaft = (at(127, -8, -130), at(118, -6, -230))
    canvas.rod([head, at(126, -8, -124)], (15.0 * scale, 17.0 * scale), (0, 900 * density), (4, 280 * density))
    canvas.rod(
        [at(128, -12, -106), at(129, -8, -128), shaft[0]], (11, 16, 16), (0, 820 * density), (3.5, 200 * density)
    )
    canvas.ellipsoid(at(108, -26, -150), (9, 9, 11), (0, 750 * density), (3, 260 * density))
    canvas.rod(shaft, (16.0 * scale, 14.5 * scale), (0, 1350 * density), (6.5, -30.0))
    canvas.ellipsoid(head, np.full(3, 23.5) * scale, (0, 620 * density), (2.0, 330 * density))


def _paint_sacrum(canvas: _Canvas, anatomy: _Anatomy) -> None:
    steps = np.linspace(0, 1, 6)
    front = np.array([anatomy.sacrum(t) for t in steps]) + (0, -11, 0)

    def block(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        t = np.clip((front[0, 2] - z) / (front[0, 2] - front[-1, 2]), 0, 1)
        cx = np.interp(t, steps, front[:, 0])
        cy = np.interp(t, steps, front[:, 1])
        half_width = np.interp(t, [0, 0.15, 0.5, 0.8, 1.0], [42, 53, 37, 20, 8])
        half_depth = np.interp(t, [0, 0.3, 1.0], [14, 13, 6])
        # The wings of the sacrum lie further back than its middle.
        back = np.abs(x - cx) * 0.22
        across = np.sqrt(((x - cx) / half_width) ** 2 + ((y - cy + back) / half_depth) ** 2)
        ends = np.maximum(z - front[0, 2] - 4, front[-1, 2] - z)
        return _rounded((across - 1) * half_depth, ends, 3.0)

    low, high = front.min(axis=0) - (60, 30, 4), front.max(axis=0) + (60, 20, 8)
    canvas.paint(low, high, block, (0, 640.0), (3.0, 230.0))
    for t, apart in ((0.22, 23.0), (0.42, 20.0), (0.6, 16.0), (0.76, 12.0)):
        for side in (1, -1):
            hole = anatomy.sacrum(t) + (side * apart, -9, 1.5 * side)
            canvas.capsule(hole + (0, 14, -3), hole - (0, 14, -3), (4.6, 4.0), (0, 10.0))
    crest = [anatomy.sacrum(t) + (0, -27 + 9 * t, 0) for t in (0.08, 0.35, 0.62)]
    canvas.rod(crest, (6.0, 4.0), (0, 620.0), (2.5, 300.0))


def _paint_calcifications(canvas: _Canvas, anatomy: _Anatomy) -> None:
    for *centre, radius in anatomy.stones:
        canvas.ellipsoid(centre, (radius, radius, radius * 1.3), (0, 900.0))


def _add_texture(canvas: _Canvas, seed: int) -> None:
    """Uneven marrow and tissue (waves of 9 to 40 mm), a scanner's noise, and its resolution, which makes
    edges soft and noise grainy: neighbouring voxels of a CT are not independent."""
    random = np.random.default_rng([seed, 21])
    waves = np.zeros_like(canvas.hounsfield)
    for _ in range(6):
        factors = [
            np.cos(2 * np.pi * along / random.uniform(9, 40) + random.uniform(0, 2 * np.pi)) for along in canvas.axes
        ]
        waves += factors[2][:, None, None] * factors[1][None, :, None] * factors[0][None, None, :]
    body = canvas.hounsfield > -500
    noise = random.standard_normal(canvas.hounsfield.shape, dtype=np.float32) * 25  # about 10 HU is left
    canvas.hounsfield += body * (waves * (6 + 55 * canvas.bone) + noise)
    for axis in range(3):
        padded = np.pad(canvas.hounsfield, [(1, 1) if n == axis else (0, 0) for n in range(3)], mode="edge")
        before, after = (np.take(padded, np.arange(n, n - 2 + padded.shape[axis]), axis) for n in (0, 2))
        canvas.hounsfield *= 0.6
        canvas.hounsfield += 0.2 * (before + after)
    np.maximum(canvas.hounsfield, _AIR, out=canvas.hounsfield)


def _rounded(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Distance of the intersection of two shapes, its edge rounded."""
    corner = np.sqrt(np.maximum(a + radius, 0) ** 2 + np.maximum(b + radius, 0) ** 2)
    return corner + np.minimum(np.maximum(a, b) + radius, 0) - radius
