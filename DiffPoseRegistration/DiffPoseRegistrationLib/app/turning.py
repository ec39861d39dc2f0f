"""An X-ray's stored picture turned or mirrored, so that it is upright; source, detector and patient stay in place.

All that belongs to the X-ray turns along: its geometry, its poses (of every frame), its reference pose, the points that
lie on it. What was done is kept with the X-ray, for its file's geometry to be read later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.turned_image import mirrored, turned_clockwise
from . import xray_facts, xray_node
from .frames import frames_of, keep, with_frames
from .landmarks import PROJECTED_ROLE
from .nodes import array_to_matrix, matrix_to_array

TURNED_ATTRIBUTE = "DiffPose.Turned"
_CLOCKWISE, _MIRRORED = "clockwise", "mirrored"


def turn_clockwise(xray: slicer.vtkMRMLScalarVolumeNode, *, keeps_poses: bool = False) -> None:
    """Turn the picture by 90 degrees clockwise; with ``keeps_poses`` its poses do not turn along: they are those of the
    picture as it is then. Raises InputError if the node is no X-ray."""
    _replace_pixels(xray, lambda image: np.rot90(image, -1))
    _remember(xray, _CLOCKWISE)
    camera = xray_node.camera_of(xray)
    if camera is not None:
        turned, rotation = turned_clockwise(camera)
        xray_node.set_camera(xray, turned, xray_node.provenance_of(xray))
        if not keeps_poses:
            _turn_poses(xray, rotation)
        _turn_points(xray, rotation)


def mirror(xray: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Mirror the picture left to right; it is then seen from the other side. Raises InputError if the node is no
    X-ray."""
    _replace_pixels(xray, lambda image: image[:, ::-1])
    _remember(xray, _MIRRORED)
    camera = xray_node.camera_of(xray)
    if camera is not None:
        xray_node.set_camera(xray, mirrored(camera), xray_node.provenance_of(xray))


def as_turned(xray: slicer.vtkMRMLScalarVolumeNode, camera: Camera) -> Camera:
    """The camera of the picture as it is now, where ``camera`` is that of its file."""
    for done in _done_to(xray):
        camera = mirrored(camera) if done == _MIRRORED else turned_clockwise(camera)[0]
    return camera


def size_in_file(xray: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int]:
    """(rows, columns) that the picture has in its file."""
    rows, columns = xray_node.pixels(xray).shape
    return (columns, rows) if _done_to(xray).count(_CLOCKWISE) % 2 else (rows, columns)


def _done_to(xray: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    return json.loads(xray.GetAttribute(TURNED_ATTRIBUTE) or "[]")


def _remember(xray: slicer.vtkMRMLScalarVolumeNode, what: str) -> None:
    done = [*_done_to(xray), what]
    if done[-4:] == [_CLOCKWISE] * 4:
        done = done[:-4]
    elif done[-2:] == [_MIRRORED] * 2:
        done = done[:-2]
    keep(xray, TURNED_ATTRIBUTE, json.dumps(done) if done else None)


def _replace_pixels(xray: slicer.vtkMRMLScalarVolumeNode, change: Callable[[np.ndarray], np.ndarray]) -> None:
    xray_node.require_xray(xray)
    nodes = with_frames(xray)
    # All first: a sequence's proxy follows, or even shares, the pixels of the frame that it shows.
    images = [np.array(change(slicer.util.arrayFromVolume(node)[0]))[None] for node in nodes]
    for node, image in zip(nodes, images):
        slicer.util.updateVolumeFromArray(node, image)


def _turn_poses(xray: slicer.vtkMRMLScalarVolumeNode, rotation: np.ndarray) -> None:
    """Put the camera frame, which turns, where it was; ``rotation`` [4, 4] takes the old frame to the new."""
    back = rigid.inverse(rotation)
    transform, frames = xray_node.pose_node_of(xray), frames_of(xray)
    nodes = [node for node in (transform, xray_node.reference_of(xray)) if node is not None]
    if frames is not None and transform is not None:
        recorded = frames.browser.GetSequenceNode(transform)
        if recorded is not None:
            nodes += [recorded.GetNthDataNode(n) for n in range(recorded.GetNumberOfDataNodes())]
    turned = [array_to_matrix(_to_parent(node) @ back) for node in nodes]  # all first, as the pixels
    for node, matrix in zip(nodes, turned):
        node.SetMatrixTransformToParent(matrix)
    if transform is not None:
        centre = np.array(transform.GetCenterOfTransformation())
        transform.SetCenterOfTransformation(*rigid.transform_points(rotation, centre[None])[0])


def _turn_points(xray: slicer.vtkMRMLScalarVolumeNode, rotation: np.ndarray) -> None:
    """Let what lies on the picture turn along, and what was found of the picture as it was before."""
    for role in (xray_node.LANDMARKS_ROLE, PROJECTED_ROLE):
        points = xray.GetNodeReference(role)
        if points is not None and points.GetNumberOfControlPoints():
            on_detector = slicer.util.arrayFromMarkupsControlPoints(points)
            slicer.util.updateMarkupsControlPointsFromArray(points, rigid.transform_points(rotation, on_detector))
    back = rigid.inverse(rotation)
    xray_facts.change_outcomes(xray, lambda found: _turned_outcome(found, back))


def _to_parent(node: slicer.vtkMRMLTransformNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    return matrix_to_array(matrix)


def _turned_outcome(outcome: dict[str, Any], back: np.ndarray) -> dict[str, Any]:
    """Its pose turned along; the rest stays what was found of the picture as it was."""
    pose = np.array(outcome["camera_to_world_ras_mm"]) @ back
    return {**outcome, "camera_to_world_ras_mm": pose.tolist()}
