"""What the module can do, for the panel and for the Python console alike.

Console::

    logic = slicer.util.getModuleLogic("DiffPoseRegistration")
    xray = logic.simulateXRay(ct, view="AP")
    logic.prepare(ct, xray, minutes=5)
    outcome = logic.register(ct, xray)

Each of them blocks until it is done (Slicer stays alive) unless ``wait=False``. Poses are camera to world [4, 4] (RAS,
mm). Where a ``segmentation`` is given, only its ``segments`` (IDs or names; default: all) of the CT are used, as if
there were nothing but air around them: one bone of a joint that has moved since the CT.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from . import explanation, landmarks, overlay, starts, xray_facts, xray_node
from .mapping import set_mapping
from .montage import montage
from .patient_tasks import DRR_SIDE_PX, PatientTasks, camera_of_xray, three
from .report import save_report


class RegistrationLogic(PatientTasks):
    """The tasks of :class:`.PatientTasks`, and what needs no job."""

    def drr(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        pose: np.ndarray | None = None,
        maxSide: int = DRR_SIDE_PX,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """Simulate the X-ray at its pose (or at ``pose``) into its DRR volume, quickly; returns that node.

        Raises
        ------
        InputError
            If the X-ray has no geometry or no pose.
        """
        camera = camera_of_xray(xray)
        pose = starts.current_pose(xray) if pose is None else rigid.validated_pose(pose)
        patient = self._patients.of(ct, segmentation, segments)
        return overlay.update_drr(xray, patient.drr.render(camera, pose, maxSide))

    def samples(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        view: str = "AP",
        sourceToIsocentre: float = 0.0,
        rotationDeg: Sequence[float] = (30.0, 30.0, 30.0),
        translationMm: Sequence[float] = (60.0, 120.0, 60.0),
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
    ) -> np.ndarray:
        """What :meth:`prepare` would train on: a page [row, column] (uint8) of simulated X-rays from the range."""
        patient, camera = self._patients.of(ct, segmentation, segments), camera_of_xray(xray)
        centre = starts.view_pose(patient, camera, view, sourceToIsocentre)
        around = PoseRange(centre, patient.centre_ras, three(rotationDeg), three(translationMm))
        return montage(patient, camera, around)

    def landmarkErrors(
        self,
        ctPoints: slicer.vtkMRMLMarkupsNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        xrayPoints: slicer.vtkMRMLMarkupsNode | None = None,
        reference: slicer.vtkMRMLTransformNode | None = None,
        table: slicer.vtkMRMLTableNode | None = None,
    ) -> landmarks.LandmarkErrors:
        """Errors of landmarks in the CT against the same landmarks on the X-ray (``xrayPoints``), and target
        registration errors against a ``reference`` pose; also written into a table and shown on the X-ray.

        Raises
        ------
        InputError
            If there is nothing to compare with, a list is empty, or the X-ray has no pose.
        """
        errors = landmarks.landmark_errors(ctPoints, xray, xrayPoints, reference)
        landmarks.fill_table(errors, table)
        landmarks.show_errors(xray, errors)
        return errors

    def saveReport(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        folder: str | Path,
        table: slicer.vtkMRMLTableNode | None = None,
    ) -> tuple[Path, Path]:
        """Write the X-ray's pose, verdict, pictures and landmark errors as HTML and JSON; returns the paths.

        Raises
        ------
        InputError
            If there is no pose, a report is there already, or the folder cannot be written.
        """
        return save_report(ct, xray, xray_facts.outcome_of(xray), table, Path(folder))

    def viewPose(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        camera: Camera,
        view: str,
        sourceToIsocentre: float = 0.0,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Pose of a named view with its isocentre in the middle of the CT (or of the segments)."""
        return starts.view_pose(self._patients.of(ct, segmentation, segments), camera, view, sourceToIsocentre)

    def anglesPose(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        sourceToIsocentre: float = 0.0,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Pose at the C-arm's angles that are kept with the X-ray, with its isocentre in the middle of the CT."""
        return starts.angles_pose(self._patients.of(ct, segmentation, segments), xray, sourceToIsocentre)

    def landmarkPose(
        self,
        ctPoints: slicer.vtkMRMLMarkupsNode,
        xrayPoints: slicer.vtkMRMLMarkupsNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
    ) -> np.ndarray:
        """Pose from which landmarks in the CT are seen where they are marked on the X-ray (four pairs or more)."""
        return starts.landmark_pose(ctPoints, xrayPoints, xray)[0]

    def setMapping(self, ct: slicer.vtkMRMLScalarVolumeNode, mapping: str) -> None:
        """Say what a volume is that holds no Hounsfield units: "cone-beam", "vessels" or "vessels:THRESHOLD", "mr", or
        the path of a JSON file with [value, HU] pairs; "ct" again for one that does. All that is done with it from then
        on reads it so.

        Raises
        ------
        InputError
            If its values cannot be read so.
        """
        set_mapping(ct, mapping)

    def place(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        pose: np.ndarray,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
    ) -> slicer.vtkMRMLTransformNode:
        """Give the X-ray a pose whose handles turn it about the patient; returns its pose node."""
        xray_node.require_xray(xray)
        centre = self._patients.of(ct, segmentation, segments).centre_ras
        return xray_node.set_pose(xray, pose, ct, centre)

    def readSo(self, xray: slicer.vtkMRMLScalarVolumeNode, found: explanation.XRayExplanation) -> None:
        """Read the X-ray as :meth:`explainXRay` found that it is explained best; its poses stay.

        Raises
        ------
        InputError
            If the X-ray has changed since.
        """
        explanation.read_so(xray, found)

    def inverseTransform(self, xray: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTransformNode:
        """A new transform that carries the CT into the C-arm's space; its name says so."""
        pose = starts.current_pose(xray)
        node = xray_node.add_pose_node(_("CT to C-arm of {name}").format(name=xray.GetName()))
        slicer.util.updateTransformMatrixFromArray(node, rigid.inverse(pose))
        return node
