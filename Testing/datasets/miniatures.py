"""Small files laid out as DeepFluoro and Ljubljana are, with X-rays at known poses.

Nothing here uses DiffPose's cameras, poses or renderer: the pictures are line integrals along rays that follow from
the data sets' own definitions (their matrices, in LPS, and where their voxels lie). A reader that understands the
layout otherwise finds another patient, or another place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

WATER_PER_MM = 0.02
STEP_MM = 2.0  # the voxels are of 4 mm


@dataclass(frozen=True)
class Body:
    """A CT [k, j, i] (HU), the LPS point of its voxel (0, 0, 0), its spacing (x, y, z), and landmarks [n, 3] in LPS."""

    hounsfield: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    landmarks: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        return self.origin + 0.5 * (np.array(self.hounsfield.shape[::-1]) - 1) * self.spacing


@lru_cache(maxsize=4)
def body(seed: int = 0, step: int = 2) -> Body:
    """A generated patient in LPS, every ``step``-th voxel along each axis."""
    ct = phantom_ct(seed)
    i, j, k = ct.size_ijk
    # From RAS with axes along i, j, k to LPS with axes along x, y, z.
    assert np.allclose(np.abs(ct.ijk_to_ras[:3, :3]), np.diag(ct.spacing_mm))
    hounsfield, first, last = ct.hounsfield, np.zeros(3), np.array([i, j, k]) - 1.0
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.ijk_to_ras
    for axis in range(3):
        if to_lps[axis, axis] < 0:
            hounsfield = np.flip(hounsfield, 2 - axis)
            first[axis] = last[axis]
    origin = (to_lps @ [*first, 1.0])[:3]
    landmarks = phantom_landmarks(seed) * [-1.0, -1.0, 1.0]
    return Body(hounsfield[::step, ::step, ::step].copy(), origin, ct.spacing_mm * step, landmarks)


def xreg_intrinsic(distance_mm: float, spacing_mm: float, principal_point: tuple[float, float]) -> np.ndarray:
    """xReg's calibration matrix [3, 3]: the camera looks along -z, so its focal lengths are negative."""
    focal = -distance_mm / spacing_mm
    return np.array([[focal, 0, principal_point[0]], [0, focal, principal_point[1]], [0, 0, 1.0]])


def camera_behind(centre: np.ndarray, distance_mm: float, degrees: tuple[float, float, float], shift: np.ndarray):
    """The motion [4, 4] from xReg's camera to LPS of a C-arm with its source behind the patient: columns run to the
    patient's left, rows to the feet, z to the source; turned by ``degrees`` about the patient's long axis, the
    left-right axis and the beam, about ``centre``, and shifted (LPS, mm)."""
    motion = np.eye(4)
    motion[:3, :3] = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]).T  # x to the left, y to the feet, z back
    motion[:3, 3] = centre + np.array([0, distance_mm, 0])
    turn = Rotation.from_euler("ZXY", degrees, degrees=True).as_matrix()
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = turn @ motion[:3, :3], turn @ (motion[:3, 3] - centre) + centre + shift
    return turned


def line_integrals(
    attenuation: np.ndarray,
    lps_to_index: np.ndarray,
    camera_to_lps: np.ndarray,
    intrinsic: np.ndarray,
    rows: int,
    columns: int,
    distance_mm: float,
) -> np.ndarray:
    """Integrals [row, column] of ``attenuation`` (any axes; ``lps_to_index`` [4, 4] takes LPS to its indices) along the
    rays from the source to the detector ``distance_mm`` away, by the pinhole model alone."""
    row, column = np.mgrid[:rows, :columns]
    homogeneous = np.stack([column.ravel(), row.ravel(), np.ones(rows * columns)])
    on_detector = np.linalg.inv(intrinsic) @ homogeneous * -distance_mm  # z = -distance
    ends = camera_to_lps[:3, :3] @ on_detector + camera_to_lps[:3, 3:]
    source = camera_to_lps[:3, 3]
    way = ends - source[:, None]
    length = np.linalg.norm(way, axis=0)
    start, along = _index(lps_to_index, source[:, None]), lps_to_index[:3, :3] @ way
    size = np.array(attenuation.shape)[:, None]
    with np.errstate(divide="ignore"):
        a, b = (-1.0 - start) / along, (size - start) / along
    enter, leave = np.clip(np.minimum(a, b).max(axis=0), 0, 1), np.clip(np.maximum(a, b).min(axis=0), 0, 1)
    leave = np.maximum(leave, enter)
    count = int(np.ceil(((leave - enter) * length).max() / STEP_MM))
    total = np.zeros(rows * columns)
    for n in range(count):
        share = enter + (n + 0.5) / count * (leave - enter)
        total += map_coordinates(attenuation, start + share * along, order=1, mode="constant", prefilter=False)
    return (total * (leave - enter) * length / count).reshape(rows, columns)


def attenuation_of(hounsfield: np.ndarray) -> np.ndarray:
    return np.where(hounsfield < -950, 0.0, WATER_PER_MM * (1 + hounsfield / 1000)).astype(np.float32)


def _index(lps_to_index: np.ndarray, points: np.ndarray) -> np.ndarray:
    return lps_to_index[:3, :3] @ points + lps_to_index[:3, 3:]


# -- DeepFluoro ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeepFluoroPlan:
    """What a miniature of DeepFluoro holds: frames by specimen, each the turn (degrees) and shift (mm) of its C-arm and
    whether the picture was stored upside down."""

    frames: dict[str, dict[str, tuple[tuple[float, float, float], tuple[float, float, float], bool]]]
    rows: int = 204
    columns: int = 212
    spacing_mm: float = 2.8
    distance_mm: float = 1020.0
    source_to_isocentre_mm: float = 700.0


def write_deepfluoro(path: Path, plan: DeepFluoroPlan) -> dict[str, np.ndarray]:
    """Write the file; returns the motions [4, 4] from xReg's camera to LPS by ``specimen/frame``, where voxel centres
    are at integers, of the pictures as they are stored."""
    import h5py

    truth = {}
    # The C-arm's own world: anything but the camera's frame, so that mixing them up shows.
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = Rotation.from_euler("XYZ", (20, -30, 40), degrees=True).as_matrix()
    extrinsic[:3, 3] = (10.0, -20.0, -500.0)
    principal = ((plan.columns - 1) / 2, (plan.rows - 1) / 2)
    intrinsic = xreg_intrinsic(plan.distance_mm, plan.spacing_mm, principal)
    with h5py.File(path, "w") as file:
        parameters = file.create_group("proj-params")
        parameters["extrinsic"], parameters["intrinsic"] = extrinsic.astype("f4"), intrinsic.astype("f4")
        parameters["num-cols"], parameters["num-rows"] = np.uint64(plan.columns), np.uint64(plan.rows)
        parameters["pixel-col-spacing"] = parameters["pixel-row-spacing"] = np.float32(plan.spacing_mm)
        for number, (name, frames) in enumerate(plan.frames.items()):
            patient = body(number)
            specimen = file.create_group(name)
            _write_volume(specimen.create_group("vol"), patient.hounsfield.astype("f4"), patient)
            labels = _labels(patient)
            _write_volume(specimen.create_group("vol-seg/image"), labels, patient)
            for value, label in enumerate(("left-hemipelvis", "right-hemipelvis", "vertebrae"), 1):
                specimen[f"vol-seg/labels-def/{value}"] = label
            for n, point in enumerate(patient.landmarks):
                specimen[f"vol-landmarks/P{n:02d}"] = point.astype("f4")[:, None]
            # The data set's poses take integer indices for voxel corners: half a voxel further along each axis.
            corner = np.eye(4)
            corner[:3, 3] = 0.5 * patient.spacing
            lps_to_index = np.diag([*(1 / patient.spacing), 1.0])
            lps_to_index[:3, 3] = -patient.origin / patient.spacing
            mu = attenuation_of(patient.hounsfield).transpose(2, 1, 0)
            for frame, (degrees, shift, upside_down) in frames.items():
                motion = camera_behind(patient.centre, plan.source_to_isocentre_mm, degrees, np.array(shift))
                if upside_down:
                    motion = motion @ np.diag([-1.0, -1.0, 1.0, 1.0])
                integrals = line_integrals(
                    mu, lps_to_index, motion, intrinsic, plan.rows, plan.columns, plan.distance_mm
                )
                projection = specimen.create_group(f"projections/{frame}")
                projection["image/pixels"] = (60000 * np.exp(-integrals)).astype("f4")
                projection["image/spacing"] = np.full((2, 1), plan.spacing_mm, "f4")
                projection["gt-poses/cam-to-pelvis-vol"] = (corner @ motion @ extrinsic).astype("f4")
                projection["rot-180-for-up"] = np.uint8(upside_down)
                truth[f"{name}/{frame}"] = motion
    return truth


def _write_volume(group, pixels: np.ndarray, patient: Body) -> None:
    group.create_dataset("pixels", data=pixels, compression="gzip")
    group["spacing"], group["origin"] = patient.spacing.astype("f4")[:, None], patient.origin.astype("f4")[:, None]
    group["dir-mat"] = np.eye(3, dtype="f4")


def _labels(patient: Body) -> np.ndarray:
    """Bone below the hips as femurs (5: the patient's left, at +x), all other bone as vertebrae (3)."""
    bone = patient.hounsfield > 200
    labels = np.where(bone, 3, 0).astype("u1")
    below = int(0.16 * bone.shape[0])
    half = bone.shape[2] // 2
    labels[:below, :, :half][bone[:below, :, :half]] = 6
    labels[:below, :, half:][bone[:below, :, half:]] = 5
    return labels


# -- Ljubljana ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LjubljanaPlan:
    """What a miniature of Ljubljana holds: turn (degrees) and shift (mm) of the C-arm by subject and view."""

    frames: dict[str, dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]]]
    rows: int = 150
    columns: int = 160
    spacing_mm: float = 1.6
    distance_mm: float = 1200.0
    source_to_isocentre_mm: float = 750.0
    principal_point_shift_px: tuple[float, float] = (18.0, -11.0)  # offsets reach 28 mm in the real one


def vessels(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A tree of bright tubes [x, y, z] in the world's order (x, y, z ascending), its origin and spacing, and points
    along the tubes [n, 3] in the world."""
    random = np.random.default_rng(seed)
    shape, spacing = np.array([96, 90, 100]), np.array([1.6, 1.5, 1.4])
    origin = np.array([12.0, -40.0, 230.0])
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * spacing
    values, points = np.zeros(shape, np.float32), []
    extent = (shape - 1) * spacing
    for _ in range(9):
        start = extent * random.uniform([0.35, 0.35, 0.05], [0.65, 0.65, 0.3])
        end = extent * random.uniform([0.05, 0.05, 0.5], [0.95, 0.95, 0.97])
        bend = random.normal(0, 14, 3)
        for t in np.linspace(0, 1, 60):
            centre = start + t * (end - start) + np.sin(np.pi * t) * bend
            radius = 4.2 - 2.2 * t
            low = np.maximum(((centre - 8) / spacing).astype(int), 0)
            high = np.minimum(((centre + 8) / spacing).astype(int) + 2, shape)
            box = tuple(slice(a, b) for a, b in zip(low, high))
            distance = np.linalg.norm(grid[box] - centre, axis=-1)
            values[box] = np.maximum(values[box], 6000 / (1 + np.exp((distance - radius) / 0.5)))
            if int(t * 59) % 15 == 0:
                points.append(origin + centre)
    values += random.uniform(0, 600, shape).astype(np.float32)  # below what counts as background
    return values, origin, spacing, np.array(points)


def write_ljubljana(path: Path, plan: LjubljanaPlan) -> dict[str, np.ndarray]:
    """Write the file; returns the motions [4, 4] from xReg's camera to the world by ``subject/view``."""
    import h5py

    truth = {}
    principal = tuple((n - 1) / 2 + d for n, d in zip((plan.columns, plan.rows), plan.principal_point_shift_px))
    intrinsic = xreg_intrinsic(plan.distance_mm, plan.spacing_mm, principal)
    with h5py.File(path, "w") as file:
        for number, (name, frames) in enumerate(plan.frames.items()):
            values, origin, spacing, points = vessels(number)
            subject = file.create_group(name)
            volume = subject.create_group("volume")
            volume.create_dataset("pixels", data=values[::-1], compression="gzip")  # stored against x
            volume["spacing"], volume["origin"] = spacing, origin
            subject["points"] = points.astype("f4")
            world_to_index = np.diag([*(1 / spacing), 1.0])
            world_to_index[:3, 3] = -origin / spacing
            centre = origin + 0.5 * (np.array(values.shape) - 1) * spacing
            mu = np.where(values < 1000, 0, 5e-6 * values).astype(np.float32)
            for view, (degrees, shift) in frames.items():
                motion = camera_behind(centre, plan.source_to_isocentre_mm, degrees, np.array(shift))
                integrals = line_integrals(
                    mu, world_to_index, motion, intrinsic, plan.rows, plan.columns, plan.distance_mm
                )
                projection = subject.create_group(f"proj-{view}")
                noise = np.random.default_rng(number).normal(0, 0.004, integrals.shape)
                projection["pixels"] = (0.8 - 0.6 * integrals / integrals.max() + noise).astype("f4")
                projection["intrinsic"] = intrinsic.astype("f4")
                projection["extrinsic"] = np.linalg.inv(motion).astype("f4")
                projection["row-spacing"] = projection["col-spacing"] = np.float32(plan.spacing_mm)
                truth[f"{name}/{view}"] = motion
    return truth
