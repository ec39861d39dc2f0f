"""DeepFluoro: fluoroscopy of six cadavers' hips (R. B. Grupp et al., IJCARS 15, 2020), the full-resolution HDF5 file.

Layout: rg2/DeepFluoroLabeling-IPCAI2020 ``hdf5_layouts/Readme.md``. Its matrices map from the C-arm's world to the
camera (``extrinsic``, one for all) and from the C-arm's world to the CT (``cam-to-pelvis-vol``, one a frame), in LPS.

Two things that the layout does not say:

- The ground truth was made by a renderer that put voxel *corners* at integer indices, so its poses lead half a voxel
  too far along each axis; the data set's authors subtract it (rg2/xreg ``sample_single_view_regi_2d_3d`` at c2bdd99).
- Four frames have questionable ground truth (listed by isaac-for-healthcare/i4h-sensor-simulation and by FleXray).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.files import LPS_RAS
from ..imaging.intensity import to_attenuation
from ..imaging.masks import Field
from ..imaging.pixel_meaning import PixelMeaning
from ..imaging.pose_file import Truth
from ..imaging.values import CTVolume, XRay
from . import hdf5
from .dataset import Dataset, Frame, Prior, Subject
from .projective import camera_of, pose_of, turned_by_180

SPECIMENS = ("17-1882", "18-1109", "18-0725", "18-2799", "18-2800", "17-1905")  # 1 to 6 of the papers
EXCLUDED = {("17-1882", "003"), ("17-1882", "050"), ("18-2799", "002"), ("18-2799", "004")}
STRUCTURES = ("without-femurs", "all")

_BORDER_PX = 50  # the collimator's edge, which the data set's authors cut off too
_VIEW = "hip"
_PARAMETERS = "proj-params"
_FEMURS = (5, 6)
_SOFT_TISSUE_HU = 50.0
_FEMUR_RIM_VOXELS = 2  # partial volume around a segmented bone
_TRANSMISSION = PixelMeaning(modality="XA", relationship="LIN", sign=1)

_PRIOR = Prior(
    view="PA",
    source_to_isocentre_mm=725.0,
    rotation_deg=(45.0, 45.0, 15.0),
    translation_mm=(150.0, 275.0, 150.0),
    origin="xvr's range for DeepFluoro: 45, 45, 15 degrees about a PA view, 150 mm across, the source 450 to 1000 mm "
    "from the CT's centre",
)
_FACTS = (
    "DeepFluoro: R. B. Grupp et al., Automatic annotation of hip anatomy in fluoroscopy for robust and efficient 2D/3D "
    "registration, IJCARS 15, 759-769, 2020. Licence CC BY-NC 4.0.",
    "Six cadavers; the ground truth is an offline registration with several views, so errors well below 1 mm mean "
    "little.",
    "Read with the authors' correction of half a voxel, 50 pixels cut off every edge, and pictures turned by 180 "
    "degrees where the file says so.",
)


def read_deepfluoro(path: str | Path, *, structures: str = "without-femurs", exclude: bool = True) -> Dataset:
    """The data set in ``ipcai_2020_full_res_data.h5``; pictures and CTs are read when they are asked for.

    Parameters
    ----------
    structures
        "without-femurs": the femurs, which moved between CT and X-rays (the ground truth is the pelvis'), become soft
        tissue in the CT; "all": the CT as it is.
    exclude
        Leave out the four frames with questionable ground truth.

    Raises
    ------
    InputError
        If h5py is missing, or the file is another than expected.
    """
    if structures not in STRUCTURES:
        raise InputError(f"The structures {structures!r} are not known; choose one of {', '.join(STRUCTURES)}.")
    path = Path(path)
    excluded = {}
    with hdf5.opened(path) as file:
        camera, extrinsic = _c_arm(hdf5.child(file, _PARAMETERS))
        names = [name for name in file if name != _PARAMETERS]
        names.sort(key=lambda name: SPECIMENS.index(name) if name in SPECIMENS else len(SPECIMENS))
        subjects = []
        for name in names:
            specimen = hdf5.child(file, name)
            landmarks = _landmarks(hdf5.child(specimen, "vol-landmarks"))
            half_voxel = _half_voxel(hdf5.child(specimen, "vol"))
            frames = []
            for number, projection in sorted(hdf5.child(specimen, "projections").items()):
                if exclude and (name, number) in EXCLUDED:
                    excluded[f"{name}/{number}"] = "its ground truth is questionable"
                    continue
                frames.append(_frame(path, projection, camera, extrinsic, half_voxel, landmarks, f"{name}/{number}"))
            subjects.append(Subject(name, tuple(frames), partial(_read_ct, path, name, structures)))
    if not subjects:
        raise InputError(f"{path} holds no specimen; it is another file than ipcai_2020_full_res_data.h5.")
    femurs = {
        "without-femurs": "The femurs were painted over with soft tissue in the CT: they moved between CT and X-rays.",
        "all": "The CT was used as it is, femurs included, although they moved between CT and X-rays.",
    }
    return Dataset(
        "DeepFluoro",
        tuple(subjects),
        (*_FACTS, femurs[structures]),
        priors={_VIEW: _PRIOR},
        excluded=excluded,
        # FleXray's 213 frames of two held-out specimens, the other four for whoever tunes.
        splits={"held-out": SPECIMENS[:2], "development": SPECIMENS[2:]},
        options={"structures": structures},
    )


def _c_arm(parameters: Any) -> tuple[Camera, np.ndarray]:
    """The camera of all frames, and the motion from the C-arm's world to it."""
    spacing = (hdf5.number(parameters, "pixel-row-spacing"), hdf5.number(parameters, "pixel-col-spacing"))
    rows, columns = int(hdf5.number(parameters, "num-rows")), int(hdf5.number(parameters, "num-cols"))
    matrix = hdf5.array(parameters, "intrinsic", (3, 3))
    name = f"{parameters.file.filename}: {parameters.name}"
    return camera_of(matrix, rows, columns, spacing, name), hdf5.rigid_matrix(parameters, "extrinsic")


def _frame(
    path: Path,
    projection: Any,
    camera: Camera,
    extrinsic: np.ndarray,
    half_voxel: np.ndarray,
    landmarks: np.ndarray,
    name: str,
) -> Frame:
    carm_to_ct = half_voxel @ hdf5.rigid_matrix(projection, "gt-poses/cam-to-pelvis-vol")
    pose = pose_of(carm_to_ct @ rigid.inverse(extrinsic))
    turned = bool(hdf5.number(projection, "rot-180-for-up"))
    if turned:
        camera, pose = turned_by_180(camera, pose)
    camera = camera.cropped(_BORDER_PX, _BORDER_PX, camera.rows - 2 * _BORDER_PX, camera.columns - 2 * _BORDER_PX)
    read = partial(_read_xray, path, projection.name, camera, turned, name)
    return Frame(name.rpartition("/")[2], _VIEW, camera, Truth(pose, landmarks), read)


def _half_voxel(volume: Any) -> np.ndarray:
    """The motion that takes back half a voxel along each of the CT's axes, in LPS."""
    motion = np.eye(4)
    motion[:3, 3] = -0.5 * (_direction(volume) @ hdf5.array(volume, "spacing", (3,)))
    return motion


def _direction(volume: Any) -> np.ndarray:
    return hdf5.array(volume, "dir-mat", (3, 3)).astype(np.float64)


def _landmarks(group: Any) -> np.ndarray:
    """Points [n, 3], RAS, mm, in the order of their names."""
    points = np.array([hdf5.array(group, name, (3,)) for name in sorted(group)], dtype=np.float64)
    if not len(points):
        raise InputError(f"{group.file.filename}: {group.name} holds no landmarks; download the data set again.")
    return points @ LPS_RAS[:3, :3]


def _read_xray(path: Path, place: str, camera: Camera, turned: bool, name: str) -> XRay:
    with hdf5.opened(path) as file:
        pixels = hdf5.array(file, f"{place}/image/pixels", (None, None)).astype(np.float64)
    whole = (camera.rows + 2 * _BORDER_PX, camera.columns + 2 * _BORDER_PX)
    if pixels.shape != whole:
        raise InputError(
            f"{path}: {place}/image is {pixels.shape[0]} x {pixels.shape[1]} pixels where /{_PARAMETERS} says "
            f"{whole[0]} x {whole[1]}; download the data set again."
        )
    if turned:
        pixels = pixels[::-1, ::-1]
    pixels = pixels[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX]
    field = Field(np.ones(pixels.shape, bool))
    converted = to_attenuation(pixels, _TRANSMISSION, field, name=name)
    return XRay(converted.attenuation, camera, name=name, provenance={"intensity": converted.words})


def _read_ct(path: Path, name: str, structures: str) -> CTVolume:
    with hdf5.opened(path) as file:
        volume = hdf5.child(file, f"{name}/vol")
        hounsfield = hdf5.array(volume, "pixels", (None, None, None)).astype(np.float32)
        affine = np.eye(4)
        affine[:3, :3] = _direction(volume) * hdf5.array(volume, "spacing", (3,))
        affine[:3, 3] = hdf5.array(volume, "origin", (3,))
        if structures == "without-femurs":
            labels = hdf5.array(file, f"{name}/vol-seg/image/pixels", hounsfield.shape)
            hounsfield = _without(hounsfield, labels, _FEMURS)
    return CTVolume(hounsfield, LPS_RAS @ affine, name)


def _without(hounsfield: np.ndarray, labels: np.ndarray, gone: tuple[int, ...]) -> np.ndarray:
    """``hounsfield`` with the structures ``gone`` and their rim no denser than soft tissue."""
    rim = ndimage.binary_dilation(np.isin(labels, gone), iterations=_FEMUR_RIM_VOXELS)
    rim &= (labels == 0) | np.isin(labels, gone)
    return np.where(rim, np.minimum(hounsfield, _SOFT_TISSUE_HU), hounsfield)
