"""What the panel remembers, kept in the scene."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from .overlay import Comparison


class View(Enum):
    """Where the source stands, named by the beam as in ``geometry.pose_range``."""

    AP = "AP"
    PA = "PA"
    LL = "LL"
    RL = "RL"

    def label(self) -> str:
        """What the panel calls it."""
        return {
            View.AP: _("AP (source in front of the patient)"),
            View.PA: _("PA (source behind the patient)"),
            View.LL: _("Lateral, source at the patient's left"),
            View.RL: _("Lateral, source at the patient's right"),
        }[self]


class Device(Enum):
    """What computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        """What the panel calls it."""
        return {Device.AUTO: _("Best there is"), Device.CPU: _("CPU"), Device.CUDA: _("GPU (CUDA)")}[self]


class Start(Enum):
    """The pose from which a registration starts."""

    NETWORK = "network"
    CURRENT = "current"
    VIEW = "view"
    ANGLES = "angles"
    LANDMARKS = "landmarks"

    def label(self) -> str:
        """What the panel calls it."""
        return {
            Start.NETWORK: _("The patient's model"),
            Start.CURRENT: _("The current pose"),
            Start.VIEW: _("The view of the section above"),
            Start.ANGLES: _("The C-arm's angles"),
            Start.LANDMARKS: _("Landmarks in CT and X-ray"),
        }[self]


class Search(Enum):
    """How far around the start a registration looks, named as in ``steps.SEARCHES``."""

    FAST = "fast"
    STANDARD = "standard"
    THOROUGH = "thorough"

    def label(self) -> str:
        """What the panel calls it."""
        return {
            Search.FAST: _("Fast: the start is within 5 degrees and 15 mm"),
            Search.STANDARD: _("Standard"),
            Search.THOROUGH: _("Thorough: far around, and from the opposite side"),
        }[self]


@parameterNodeWrapper
class DiffPoseRegistrationParameterNode:
    """Inputs and settings of the module. Lengths are mm, angles degrees.

    ctVolume
        The CT, in Hounsfield units.
    segmentation, segments
        Registers structures alone; a JSON list of the segments' IDs, empty: all of them.
    xray
        The X-ray that is worked on.
    poseTransform
        The X-ray's pose, from the C-arm to the CT's space.
    view, sourceToIsocentre
        Middle of the range of poses; 0: as ``geometry.isocentre`` says.
    primaryRange ... verticalRange
        Half ranges about it.
    minutes, device, pretrained
        Of the preparation; the file of the network that it begins with, empty: none.
    modelPath
        The patient's model.
    distanceTolerance, principalPointTolerance, seconds
        How far the X-ray's geometry may be off (mm, px) for a registration to refine it too, and the time that one may
        take; 0: it is exact, as long as needed.
    together, allFrames
        Whether the ticked X-rays, or all frames of the sequence, are registered.
    """

    ctVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    segments: str = ""
    xray: vtkMRMLScalarVolumeNode
    poseTransform: vtkMRMLTransformNode
    view: View = View.AP
    sourceToIsocentre: Annotated[float, WithinRange(0.0, 5000.0)] = 0.0
    primaryRange: Annotated[float, WithinRange(0.0, 180.0)] = 30.0
    secondaryRange: Annotated[float, WithinRange(0.0, 180.0)] = 30.0
    rollRange: Annotated[float, WithinRange(0.0, 180.0)] = 30.0
    acrossRange: Annotated[float, WithinRange(0.0, 1000.0)] = 60.0
    alongRange: Annotated[float, WithinRange(0.0, 1000.0)] = 120.0
    verticalRange: Annotated[float, WithinRange(0.0, 1000.0)] = 60.0
    minutes: Annotated[float, WithinRange(0.1, 1440.0)] = 5.0
    device: Device = Device.AUTO
    pretrained: str = ""
    modelPath: str = ""
    startFrom: Start = Start.NETWORK
    search: Search = Search.STANDARD
    distanceTolerance: Annotated[float, WithinRange(0.0, 1000.0)] = 0.0
    principalPointTolerance: Annotated[float, WithinRange(0.0, 1000.0)] = 0.0
    seconds: Annotated[float, WithinRange(0.0, 86400.0)] = 0.0
    together: bool = False
    allFrames: bool = False
    comparison: Comparison = Comparison.FADE
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    showCArm: bool = True
    ctLandmarks: vtkMRMLMarkupsFiducialNode
    xrayLandmarks: vtkMRMLMarkupsFiducialNode
    referencePose: vtkMRMLTransformNode
