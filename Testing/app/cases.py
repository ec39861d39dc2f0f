"""Cases that an unrelated program rendered at known poses, as MRML nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from DiffPoseRegistrationLib.app.drr import QuickDRR
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct


@dataclass
class Case:
    """``ct`` and ``xray`` nodes as Slicer loads them; the truth beside them."""

    ct: object
    xray: object
    camera: Camera
    pose: np.ndarray
    landmarks: np.ndarray
    landmarks_px: np.ndarray


def load_case(shared: Path, name: str) -> Case:
    """The case ``name``; the X-ray without its geometry, as a scalar volume reader leaves it."""
    truth = json.loads((shared / "cases" / name / "truth.json").read_text(encoding="utf-8"))
    image = sitk.ReadImage(str(shared / "data/ct" / truth["ct"]))
    ct = volume_node(sitk.GetArrayFromImage(image), ijk_to_ras(image), Path(truth["ct"]).stem)
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(shared / "cases" / name / "xray.dcm")))
    xray = volume_node(picture.reshape(1, *picture.shape[-2:]), np.diag([-1.0, -1.0, 1.0, 1.0]), "X-ray")
    return Case(
        ct,
        xray,
        Camera.from_json(truth["camera"]),
        np.array(truth["camera_to_world_ras_mm"]),
        np.array(truth["landmarks_ras_mm"]),
        np.array(truth["landmarks_px"]),
    )


def ijk_to_ras(image: sitk.Image) -> np.ndarray:
    """From SimpleITK's own answer for the origin and the unit steps, turned from LPS to RAS."""
    origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    matrix = np.eye(4)
    for axis in range(3):
        step = [0, 0, 0]
        step[axis] = 1
        matrix[:3, axis] = np.array(image.TransformIndexToPhysicalPoint(step)) - origin
    matrix[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def volume_node(array: np.ndarray, matrix: np.ndarray, name: str, class_name: str = "vtkMRMLScalarVolumeNode"):
    """A volume node in the scene."""
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


def points_node(points: np.ndarray, name: str):
    """A point list in the scene, in world coordinates."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for n, point in enumerate(points):
        node.AddControlPointWorld(*(float(v) for v in point), str(n + 1))
    return node


def segmentation_node(labels: np.ndarray, like, names: dict[int, str], name: str = "Segmentation"):
    """A segmentation in the scene, of labels [k, j, i] on the voxels of the volume node ``like``."""
    matrix = vtk.vtkMatrix4x4()
    like.GetIJKToRASMatrix(matrix)
    labelmap = volume_node(labels, slicer.util.arrayFromVTKMatrix(matrix), "labels", "vtkMRMLLabelMapVolumeNode")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labelmap, node)
    inner = node.GetSegmentation()
    for n in range(inner.GetNumberOfSegments()):
        segment = inner.GetNthSegment(n)
        segment.SetName(names[segment.GetLabelValue()])
    slicer.mrmlScene.RemoveNode(labelmap)
    return node


def sequence_node(images: list[np.ndarray], name: str):
    """A sequence of images [row, column] as Slicer's DICOM module loads it; returns (proxy volume, browser)."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("frame")
    for number, image in enumerate(images):
        frame = volume_node(image[None], np.diag([-1.0, -1.0, 1.0, 1.0]), f"{name} {number}")
        sequence.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser.GetProxyNode(sequence), browser


def small_patient():
    """A generated CT as a node, small enough for several registrations in a test, and its values."""
    ct = phantom_ct(size=(80, 60, 80), spacing=4.0)
    return volume_node(np.rint(ct.hounsfield).astype(np.int16), ct.ijk_to_ras, "small CT"), ct


def picture_of(ct, camera: Camera, pose: np.ndarray) -> np.ndarray:
    """A transmission image [row, column] of a CT, without noise."""
    return (40000 * np.exp(-QuickDRR(ct).render(camera, pose))).astype(np.uint16)


def seen_at(xray, landmarks):
    """(column, row) [n, 2] at which the ray from the source through each landmark meets the image, by the scene."""
    to_world, ijk_to_ras = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    xray.GetParentTransformNode().GetMatrixTransformToWorld(to_world)
    xray.GetIJKToRASMatrix(ijk_to_ras)
    image_to_world = slicer.util.arrayFromVTKMatrix(to_world) @ slicer.util.arrayFromVTKMatrix(ijk_to_ras)
    source = np.array(to_world.MultiplyPoint((0, 0, 0, 1)))[:3]
    found = []
    for point in landmarks:
        # source + t * (point - source) = image_to_world @ (column, row, 0, 1)
        columns = np.column_stack([image_to_world[:3, 0], image_to_world[:3, 1], source - point])
        found.append(np.linalg.solve(columns, source - image_to_world[:3, 3])[:2])
    return np.array(found)
