"""X-rays of the accuracy benchmark: another program's projections, noise and disturbances, read from files."""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.pose_file import Truth
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from DiffPoseRegistrationLib.workflow.disturb import write_disturbed
from DiffPoseRegistrationLib.workflow.simulate import SIMULATION_RULE, simulate_xray, write_xray_dicom
from scipy.ndimage import map_coordinates

from . import _render_peers as peers

SOURCE_TO_DETECTOR_MM, SOURCE_TO_ISOCENTRE_MM = 1020.0, 700.0
DETECTOR_MM = 330.0
# Where the X-rays of the benchmark are taken, and the wider range that models are prepared for.
POSES_DEG, POSES_MM = (25.0, 20.0, 15.0), (30.0, 60.0, 30.0)
MODEL_DEG, MODEL_MM = (30.0, 30.0, 30.0), (60.0, 120.0, 60.0)
# From the first to the second X-ray of a pair the C-arm turns by this about the isocentre, in the plane of the rows.
TURN = np.pi / 2
PROJECTORS = ("itk-rtk", "scipy")


@dataclass(frozen=True)
class Level:
    """How good the X-rays are: quanta a pixel (0: no noise), scatter over primary radiation, blur in pixels, and what
    else is done to them, see ``workflow.disturb``."""

    photons: float
    scatter: float
    blur_px: float
    disturbances: tuple[str, ...] = ()


LEVELS = {
    "clean": Level(0, 0.0, 0.0),
    "noisy": Level(15000, 0.3, 0.8),
    "disturbed": Level(15000, 0.3, 0.8, ("rod", "text")),
    "occluded": Level(15000, 0.3, 0.8, ("collimated", "label")),
}


@dataclass(frozen=True)
class BenchmarkXray:
    """An X-ray with its truth; ``ct`` is the name of its CT. ``second`` is what the C-arm sees where it stands
    :func:`second_from_first` afterwards, None where nobody took it."""

    name: str
    ct: str
    level: str
    xray: XRay
    truth: Truth
    second: XRay | None = None


def second_from_first() -> np.ndarray:
    """The second camera of a pair in the first one's frame [4, 4]: its pose is the first one's times this."""
    isocentre = np.array([0, 0, SOURCE_TO_ISOCENTRE_MM])
    motion = np.eye(4)
    motion[:3, :3] = rigid.so3_exp(np.array([0, -TURN, 0]))
    motion[:3, 3] = isocentre - motion[:3, :3] @ isocentre
    return motion


def camera(pixels: int) -> Camera:
    """A square detector seen from the source."""
    return Camera(SOURCE_TO_DETECTOR_MM, pixels, pixels, (DETECTOR_MM / pixels, DETECTOR_MM / pixels))


def poses(ct: CTVolume) -> PoseRange:
    """Where the X-rays are taken."""
    return PoseRange(_centre(ct), ct.centre_ras, POSES_DEG, POSES_MM)


def model_range(ct: CTVolume) -> PoseRange:
    """What models are prepared for."""
    return PoseRange(_centre(ct), ct.centre_ras, MODEL_DEG, MODEL_MM)


def chosen_projector(wanted: str) -> str:
    """The projector of that name; "auto": itk-rtk where it is installed, else scipy's."""
    installed = True
    try:
        metadata.version("itk-rtk")
    except metadata.PackageNotFoundError:
        installed = False
    if wanted == "itk-rtk" and not installed:
        raise InputError(
            f"itk-rtk is not installed; install it with: {peers.INSTALL['itk-rtk']}, or leave out --projector."
        )
    if wanted == "auto" and not installed:
        print(
            "itk-rtk is not installed, so the X-rays are projected with scipy's interpolation; for an independent "
            f"program: {peers.INSTALL['itk-rtk']}",
            file=sys.stderr,
        )
    return ("itk-rtk" if installed else "scipy") if wanted == "auto" else wanted


def simulated(
    ct: CTVolume,
    landmarks: np.ndarray,
    projector: str,
    levels: Sequence[str],
    count: int,
    pixels: int,
    seed: int,
) -> Iterator[BenchmarkXray]:
    """``count`` pairs of X-rays of ``ct`` at each of ``levels``; their poses depend on the seed, the CT and the level
    alone."""
    projections = _Projections(ct, projector)
    detector = camera(pixels)

    def taken(quality: Level, pose: np.ndarray, noise: int) -> XRay:
        image = simulate_xray(
            ct,
            detector,
            pose,
            photons=quality.photons,
            scatter=quality.scatter,
            blur_px=quality.blur_px,
            seed=noise,
            renderer=projections,
        )
        with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
            file = Path(folder) / "xray.dcm"
            write_xray_dicom(file, image, detector)
            for n, kind in enumerate(quality.disturbances):
                file = write_disturbed(file, Path(folder) / kind, kind, noise + n)
            return read_xray(file)

    for level in levels:
        where = [seed, zlib.crc32(ct.name.encode()), list(LEVELS).index(level)]
        for number, pose in enumerate(poses(ct).sample(np.random.default_rng(where), count)):
            first, second = (
                taken(LEVELS[level], place, zlib.crc32(f"{seed} {ct.name} {level} {number}{suffix}".encode()))
                for place, suffix in ((pose, ""), (pose @ second_from_first(), " second"))
            )
            name = f"{ct.name} {level} {number + 1}"
            yield BenchmarkXray(name, ct.name, level, first, Truth(pose, landmarks), second)


class _Projections:
    """Renders line integrals as ``simulate_xray`` asks its renderer to, by another program's ray casting."""

    def __init__(self, ct: CTVolume, projector: str) -> None:
        self._attenuation, self._ijk_to_ras = SIMULATION_RULE(ct.hounsfield), ct.ijk_to_ras
        self._spacing = float(ct.spacing_mm.min())
        self._project = {"itk-rtk": self._rtk, "scipy": self._scipy}[projector]

    def render(self, camera: Camera, pose: np.ndarray) -> np.ndarray:
        """Line integrals [row, column]."""
        return self._project(peers.Scene(self._attenuation, self._ijk_to_ras, camera, pose[None], self._spacing))

    def _rtk(self, scene: peers.Scene) -> np.ndarray:
        return np.array(peers.rtk_joseph(scene)()[0])

    def _scipy(self, scene: peers.Scene) -> np.ndarray:
        """The rectangle rule at half a voxel on straight lines, with scipy's linear interpolation."""
        enter, leave, length = scene.crossings()
        row, column = np.mgrid[: scene.camera.rows, : scene.camera.columns]
        points = scene.camera.pixels_to_camera(np.stack([column.ravel(), row.ravel()], axis=1).astype(np.float64))
        rotation, source = scene.poses[0][:3, :3], scene.poses[0][:3, 3]
        matrix = scene.ras_to_ijk
        along = (points @ rotation.T) @ matrix[:3, :3].T
        origin = matrix[:3, :3] @ source + matrix[:3, 3]
        count = max(int(np.ceil(((leave - enter) * length).max() / (0.5 * scene.step_mm))), 1)
        total: Any = np.zeros(len(points))
        for n in range(count):
            share = enter + (n + 0.5) / count * (leave - enter)
            at = (origin + share[:, None] * along).T[::-1]
            total += map_coordinates(scene.attenuation, at, order=1, mode="constant", prefilter=False)
        return (total * (leave - enter) * length / count).reshape(row.shape).astype(np.float32)


def _centre(ct: CTVolume) -> np.ndarray:
    return view_pose("AP", ct.centre_ras, SOURCE_TO_ISOCENTRE_MM)
