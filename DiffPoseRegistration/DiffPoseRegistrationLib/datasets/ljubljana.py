"""Ljubljana: cerebral angiograms of ten patients, frontal and lateral (U. Mitrović et al., IEEE TMI 32(8), 2013), in
the HDF5 file that DiffPose's authors made of them (``ljubljana.h5``).

Layout, as their readers use it (eigenvivek/DiffPose ``ljubljana.py`` at afc0159, diffdrrdata 0.0.7 ``ljubljana.py``):
``subjectNN/`` with ``volume/`` (``pixels`` [x, y, z], ``spacing``, ``origin``), ``points`` [n, 3] along the vessels,
and ``proj-ap/``, ``proj-lat/`` (``pixels``, ``intrinsic``, ``extrinsic`` from the world to xReg's camera,
``row-spacing``, ``col-spacing``). Voxel centres lie at integer indices, and the first axis of ``pixels`` runs against
x: both readers mirror this volume once more, or once less, than DeepFluoro's. The axes are taken for DICOM's (LPS),
which the file does not say; the errors do not depend on it, only the names of the views.

The 3D image is a digital subtraction angiography, not in Hounsfield units: what is below 1000 is taken for background,
as diffdrrdata does, and the rest attenuates in proportion to its value. The X-rays are subtracted, hence logarithmic
already; what is brighter than the background (the patient moved) counts as background.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
from .projective import camera_of, pose_of

VIEWS = ("ap", "lat")

_BACKGROUND_BELOW = 1000.0
_AIR_HU, _FULL_HU = -1000.0, 0.0  # attenuation is proportional to the value between these
_ORIGIN = "wider than the ranges on which DiffPose and xvr train for this data set"
_PRIORS = {
    "ap": Prior("PA", 750.0, (45.0, 15.0, 15.0), (60.0, 80.0, 60.0), _ORIGIN),
    "lat": Prior("RL", 750.0, (25.0, 15.0, 15.0), (60.0, 80.0, 60.0), _ORIGIN),
}
_FACTS = (
    "Ljubljana: U. Mitrović, Ž. Špiclin, B. Likar, F. Pernuš, 3D-2D registration of cerebral angiograms: a method and "
    "evaluation on clinical images, IEEE TMI 32(8), 1550-1563, 2013. Licence CC BY-NC-ND 4.0.",
    "Ten patients, a frontal and a lateral subtraction angiogram each; the ground truth comes from fiducials.",
    "Landmarks lie along the vessels; the 3D angiogram stands for the CT, its values below 1000 taken for background.",
    "Verdicts are made for X-rays of a body: subtraction angiograms resemble the simulated ones in their vessels only.",
)


def read_ljubljana(path: str | Path, views: tuple[str, ...] = VIEWS) -> Dataset:
    """The data set in ``ljubljana.h5``; pictures and volumes are read when they are asked for.

    Parameters
    ----------
    views
        Which angiograms: "ap", "lat".

    Raises
    ------
    InputError
        If h5py is missing, or the file is another than expected.
    """
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views:
        raise InputError(f"The views {', '.join(unknown) or '(none)'} are not known; choose of {', '.join(VIEWS)}.")
    path = Path(path)
    subjects = []
    with hdf5.opened(path) as file:
        for name in sorted(file):
            if not re.fullmatch(r"subject\d+", name):
                continue
            points = hdf5.array(file, f"{name}/points", (None, 3)).astype(np.float64) @ LPS_RAS[:3, :3]
            frames = tuple(_frame(path, hdf5.child(file, f"{name}/proj-{view}"), view, points) for view in views)
            subjects.append(Subject(name, frames, partial(_read_volume, path, name)))
    if not subjects:
        raise InputError(f"{path} holds no subject01, subject02, ...; it is another file than ljubljana.h5.")
    return Dataset("Ljubljana", tuple(subjects), _FACTS, priors={view: _PRIORS[view] for view in views})


def _frame(path: Path, projection: Any, view: str, points: np.ndarray) -> Frame:
    spacing = (hdf5.number(projection, "row-spacing"), hdf5.number(projection, "col-spacing"))
    pixels = hdf5.child(projection, "pixels")
    if len(pixels.shape) != 2:
        raise InputError(f"{path}: {projection.name}/pixels is no 2D image; download the data set again.")
    rows, columns = pixels.shape
    matrix = hdf5.array(projection, "intrinsic", (3, 3))
    camera = camera_of(matrix, rows, columns, spacing, f"{path}: {projection.name}")
    pose = pose_of(rigid.inverse(hdf5.rigid_matrix(projection, "extrinsic")))
    read = partial(_read_xray, path, projection.name, camera)
    return Frame(view, view, camera, Truth(pose, points), read)


def _read_xray(path: Path, place: str, camera: Camera) -> XRay:
    with hdf5.opened(path) as file:
        pixels = hdf5.array(file, f"{place}/pixels", (camera.rows, camera.columns)).astype(np.float64)
    # Vessels cover little of the picture: its median is background.
    pixels = np.minimum(pixels, np.median(pixels))
    name = place.strip("/")
    field = Field(np.ones(pixels.shape, bool))
    converted = to_attenuation(pixels, PixelMeaning(), field, "logarithmic", "bright-is-air", name)
    return XRay(converted.attenuation, camera, name=name, provenance={"intensity": converted.words})


def _read_volume(path: Path, name: str) -> CTVolume:
    with hdf5.opened(path) as file:
        volume = hdf5.child(file, f"{name}/volume")
        values = hdf5.array(volume, "pixels", (None, None, None)).astype(np.float32)
        spacing, origin = hdf5.array(volume, "spacing", (3,)), hdf5.array(volume, "origin", (3,))
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    affine[0, 3] += (values.shape[0] - 1) * spacing[0]
    values = np.where(values < _BACKGROUND_BELOW, 0.0, values)
    full = float(values.max())
    if not full > 0:
        raise InputError(
            f"{path}: {name}/volume holds nothing above {_BACKGROUND_BELOW:g}; download the data set again."
        )
    hounsfield = _AIR_HU + (_FULL_HU - _AIR_HU) / full * values
    return CTVolume(hounsfield.transpose(2, 1, 0), LPS_RAS @ affine, name)
