"""A generated case in Slicer's Sample Data module: nothing is downloaded.

A click there calls :func:`make_phantom`. ``SampleData.downloadSample`` from the console knows no such functions: it
copies a file and has it read by its type. So a file of one line goes with the module, of which :class:`PhantomReader`
makes the case.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange, view_pose
from ..imaging.attenuation import AttenuationRule
from ..imaging.phantom import phantom_ct, phantom_landmarks
from . import xray_node
from .drr import QuickDRR
from .nodes import add_node, array_to_matrix

CAMERA = Camera(1020.0, 512, 512, (0.72, 0.72), viewed_from="source")
PHOTONS = 60000.0
NAME = "DiffPosePhantom"
# Where the C-arm stood: (primary, secondary, roll) degrees, (across, along, up-down) mm from AP.
_COORDINATES = (-14.0, 9.0, 4.0, 12.0, -25.0, 8.0)
_log = logging.getLogger(__name__)


def register(thumbnail: str, file: str) -> None:
    """Offer the phantom in the Sample Data module; ``file`` is what :class:`PhantomReader` reads."""
    import SampleData

    category = "DiffPose"
    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.12 and later
        logic.registerCustomSampleDataCategory(category, _("2D/3D registration"))
    logic.registerCustomSampleDataSource(
        category=category,
        sampleName=NAME,
        uris=Path(file).as_uri(),
        fileNames=Path(file).name,
        nodeNames=NAME,
        loadFileTypes=PhantomReader.FILE_TYPE,
        thumbnailFileName=thumbnail,
        customDownloader=lambda source: make_phantom(),
    )


class PhantomReader:
    """A reader as Slicer's scripted modules have: ``parent`` is its C++ side."""

    FILE_TYPE = "DiffPosePhantomFile"

    def __init__(self, parent) -> None:
        self.parent = parent

    def description(self) -> str:
        """What the file dialogs call it."""
        return _("DiffPose phantom")

    def fileType(self) -> str:
        """The name by which a reader is asked for."""
        return self.FILE_TYPE

    def extensions(self) -> list[str]:
        """Filters of the file dialogs."""
        return [_("DiffPose phantom") + " (*.phantom)"]

    def load(self, properties: Mapping[str, Any]) -> bool:
        """Make the case that the file ``properties["fileName"]`` names; returns whether it could."""
        path = Path(properties["fileName"])
        try:
            seed = json.loads(path.read_text(encoding="utf-8"))["seed"]
            nodes = make_phantom(int(seed))
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s cannot be read (%s).", path, error)
            return False
        self.parent.loadedNodes = [node.GetID() for node in nodes]
        return True


def make_phantom(seed: int = 0) -> list[slicer.vtkMRMLNode]:
    """Generate the case and return its nodes: CT, X-ray (without a pose), landmarks in the CT, and the pose
    at which the X-ray was made, as a reference."""
    ct = phantom_ct(seed)
    volume = _volume(np.rint(ct.hounsfield).astype(np.int16), ct.ijk_to_ras, _("Phantom CT"))
    pose_range = PoseRange(view_pose("AP", ct.centre_ras, 750.0), ct.centre_ras, (30, 30, 30), (60, 120, 60))
    pose = pose_range.pose(np.array(_COORDINATES))
    # A harder beam than the one that the registration renders with: no real tube matches it either.
    rule = AttenuationRule(water_per_mm=0.0180, bone_per_mm=0.0400, air_hu=-980.0)
    quanta = PHOTONS * np.exp(-QuickDRR(ct, rule).render(CAMERA, pose).astype(np.float64))
    picture = np.random.default_rng(seed).poisson(quanta).clip(0, 65535).astype(np.uint16)
    xray = _volume(picture[None], np.diag([-1.0, -1.0, 1.0, 1.0]), _("Phantom X-ray"))
    xray_node.set_camera(xray, CAMERA, dict.fromkeys(("source_to_detector_mm",), _("generated")))
    landmarks = add_node("vtkMRMLMarkupsFiducialNode", _("Phantom landmarks"))
    for n, point in enumerate(phantom_landmarks(seed)):
        landmarks.AddControlPointWorld(*(float(v) for v in point), str(n + 1))
    landmarks.CreateDefaultDisplayNodes()
    reference = xray_node.add_pose_node(_("Phantom reference pose"))
    slicer.util.updateTransformMatrixFromArray(reference, pose)
    return [volume, xray, landmarks, reference]


def _volume(array: np.ndarray, matrix: np.ndarray, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    node = add_node("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(array_to_matrix(matrix))
    node.CreateDefaultDisplayNodes()
    return node
