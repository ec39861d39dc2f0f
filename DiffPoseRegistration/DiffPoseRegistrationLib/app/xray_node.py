"""An X-ray as a volume node: pixels, camera and pose.

The image lies in the camera frame, on the detector plane, and its parent is the pose, a linear transform
node whose matrix to parent is ``camera_to_world``. The camera is kept as a JSON attribute of the volume
node and the pose as a node reference, so that a saved scene brings both back. All frames of a sequence have one camera
and one pose node; what a registration found is each frame's own.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from .frames import keep, with_frames
from .nodes import add_node, array_to_matrix, matrix_to_array, require_scalar_volume, world_from_node

CAMERA_ATTRIBUTE = "DiffPose.Camera"
PROVENANCE_ATTRIBUTE = "DiffPose.CameraProvenance"
POSE_ROLE = "DiffPose.Pose"
REFERENCE_ROLE = "DiffPose.ReferencePose"
LANDMARKS_ROLE = "DiffPose.Landmarks"


def require_xray(node: Any) -> None:
    """Raises InputError unless ``node`` is a scalar volume of one slice."""
    require_scalar_volume(node, _("X-ray"))
    columns, rows, slices = node.GetImageData().GetDimensions()
    if slices != 1:
        raise InputError(
            _("{name} has {n} slices; an X-ray is one 2D image, so choose a single image.").format(
                name=node.GetName(), n=slices
            )
        )
    if min(columns, rows) < 8:
        raise InputError(_("{name} is smaller than 8 x 8 pixels; load the X-ray again.").format(name=node.GetName()))


def pixels(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """The image [row, column] of an X-ray node, without a copy."""
    require_xray(node)
    return slicer.util.arrayFromVolume(node)[0]


def camera_of(node: slicer.vtkMRMLScalarVolumeNode) -> Camera | None:
    """The camera kept with an X-ray node; None if its geometry is not known yet."""
    text = node.GetAttribute(CAMERA_ATTRIBUTE)
    return Camera.from_json(json.loads(text), node.GetName()) if text else None


def provenance_of(node: slicer.vtkMRMLScalarVolumeNode) -> dict[str, str]:
    """Where each number of the camera came from, by its name."""
    return json.loads(node.GetAttribute(PROVENANCE_ATTRIBUTE) or "{}")


def set_camera(node: slicer.vtkMRMLScalarVolumeNode, camera: Camera, provenance: dict[str, str] | None = None) -> None:
    """Keep ``camera`` with the X-ray and move the image onto its detector plane.

    Raises
    ------
    InputError
        If the camera is of another image size.
    """
    rows, columns = pixels(node).shape
    if (camera.rows, camera.columns) != (rows, columns):
        raise InputError(
            _("The geometry is for {a} x {b} pixels but {name} has {rows} x {columns}; give this image's own.").format(
                a=camera.rows, b=camera.columns, name=node.GetName(), rows=rows, columns=columns
            )
        )
    keep(node, CAMERA_ATTRIBUTE, json.dumps(camera.to_json()))
    keep(node, PROVENANCE_ATTRIBUTE, json.dumps(provenance or {}))
    place = array_to_matrix(camera.image_to_camera())
    for one in with_frames(node):
        one.SetIJKToRASMatrix(place)
    _show_anatomy(node)


def _show_anatomy(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Window the image for its anatomy, unless a person or the DICOM file has set a window.

    The open beam beside the patient is many times brighter than bone and would take up the whole scale.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display.GetAutoWindowLevel():
        low, high = (float(v) for v in np.percentile(pixels(node), [0.5, 80]))
        if high > low:
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(low, high)


def require_camera(node: slicer.vtkMRMLScalarVolumeNode) -> Camera:
    """The camera of an X-ray. Raises InputError if its geometry is not known."""
    camera = camera_of(node)
    if camera is None:
        raise InputError(
            _("The geometry of {name} is not known; give source-detector distance and pixel spacing.").format(
                name=node.GetName()
            )
        )
    return camera


def pose_node_of(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTransformNode | None:
    """The transform node that holds the X-ray's pose."""
    return node.GetNodeReference(POSE_ROLE)


def add_pose_node(name: str) -> slicer.vtkMRMLTransformNode:
    """A new linear transform node that every module's selector shows."""
    # Modules that list the linear class alone would not show its base class; the base class will be the
    # only one left once Slicer has dropped it.
    is_there = hasattr(slicer, "vtkMRMLLinearTransformNode")
    return add_node("vtkMRMLLinearTransformNode" if is_there else "vtkMRMLTransformNode", name)


def set_pose_node(node: slicer.vtkMRMLScalarVolumeNode, transform: slicer.vtkMRMLTransformNode) -> None:
    """Let ``transform`` carry the X-ray. Raises InputError if it is not linear or is the X-ray's own child."""
    if not transform.IsLinear():
        raise InputError(
            _("{name} is not linear; choose another transform for the pose.").format(name=transform.GetName())
        )
    points = node.GetNodeReference(LANDMARKS_ROLE)
    to_camera = np.linalg.inv(world_from_node(node))
    node.SetNodeReferenceID(POSE_ROLE, transform.GetID())
    node.SetAndObserveTransformNodeID(transform.GetID())
    if points is not None:  # marked on the image, they stay on it
        marked = slicer.util.arrayFromMarkupsControlPoints(points, world=True)
        points.SetAndObserveTransformNodeID(transform.GetID())
        if len(marked):
            slicer.util.updateMarkupsControlPointsFromArray(points, rigid.transform_points(to_camera, marked))


def pose_of(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray | None:
    """``camera_to_world`` [4, 4] of an X-ray, in world coordinates; None if it has no pose.

    Raises
    ------
    InputError
        If its transform is not rigid.
    """
    transform = pose_node_of(node)
    if transform is None:
        return None
    if not transform.IsTransformToWorldLinear():
        raise InputError(_("{name} is not linear; a pose is.").format(name=transform.GetName()))
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return rigid.validated_pose(matrix_to_array(matrix), transform.GetName())


def set_pose(
    node: slicer.vtkMRMLScalarVolumeNode,
    camera_to_world: np.ndarray,
    ct: slicer.vtkMRMLScalarVolumeNode | None = None,
    turn_about: np.ndarray | None = None,
) -> slicer.vtkMRMLTransformNode:
    """Write the pose [4, 4] into the X-ray's transform node (made if there is none) and return that node.

    ``ct`` becomes its fixed node. Its handles turn it about the point ``turn_about`` [3] (RAS, mm), where given.
    """
    pose = rigid.validated_pose(camera_to_world)
    transform = pose_node_of(node)
    if transform is None:
        transform = add_pose_node(_("{name} pose").format(name=node.GetName()))
        set_pose_node(node, transform)
    slicer.util.updateTransformMatrixFromArray(transform, pose, toWorld=True)
    transform.SetNodeReferenceID(slicer.vtkMRMLTransformNode.GetMovingNodeReferenceRole(), node.GetID())
    if ct is not None:
        transform.SetNodeReferenceID(slicer.vtkMRMLTransformNode.GetFixedNodeReferenceRole(), ct.GetID())
    if turn_about is not None:
        transform.SetCenterOfTransformation(*rigid.transform_points(rigid.inverse(pose), turn_about[None])[0])
    return transform


def restore_pose(node: slicer.vtkMRMLScalarVolumeNode, camera_to_world: np.ndarray | None) -> None:
    """Put the X-ray back to a pose [4, 4] that it had; None: it had none, and its transform node goes."""
    if camera_to_world is not None:
        set_pose(node, camera_to_world)
    elif (transform := pose_node_of(node)) is not None:
        slicer.mrmlScene.RemoveNode(transform)


def reference_of(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTransformNode | None:
    """The pose of an X-ray as it is known otherwise, to be compared with; None if it is not."""
    return node.GetNodeReference(REFERENCE_ROLE)


def set_reference(node: slicer.vtkMRMLScalarVolumeNode, camera_to_world: np.ndarray) -> slicer.vtkMRMLTransformNode:
    """Keep the true pose [4, 4] of an X-ray in a transform node of its own; returns that node."""
    pose = rigid.validated_pose(camera_to_world)
    transform = reference_of(node)
    if transform is None:
        transform = add_pose_node(_("{name} true pose").format(name=node.GetName()))
        node.SetNodeReferenceID(REFERENCE_ROLE, transform.GetID())
    slicer.util.updateTransformMatrixFromArray(transform, pose)
    return transform
