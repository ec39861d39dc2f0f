"""The C-arm in the 3D view: source, rays, detector frame and the X-ray itself on the detector.

Everything is drawn in the camera frame and carried by the X-ray's pose node, so it moves with the pose.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from ..geometry.camera import Camera
from .nodes import referenced, resampled_image
from .xray_node import pixels, pose_node_of, require_camera, require_xray

BEAM_ROLE = "DiffPose.Beam"
PLANE_ROLE = "DiffPose.Plane"
IMAGE_ARRAY = "X-ray"
_BEAM_COLOUR = (1.0, 0.77, 0.33)
_PLANE_POINTS = 256  # along the longer side


def detector_corners(camera: Camera) -> np.ndarray:
    """Corners [4, 3] of the detector in the camera frame, going around, at the outer pixels' outer edges."""
    right, bottom = camera.columns - 0.5, camera.rows - 0.5
    return camera.pixels_to_camera(np.array([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)]))


def beam_polydata(camera: Camera) -> vtk.vtkPolyData:
    """Source, rays to the corners, principal ray and frame of the detector, as tubes in the camera frame."""
    corners = detector_corners(camera)
    append = vtk.vtkAppendPolyData()
    thickness = 0.0012 * camera.source_to_detector_mm
    for start, end, radius in [
        *[(np.zeros(3), corner, thickness) for corner in corners],
        (np.zeros(3), np.array([0.0, 0.0, camera.source_to_detector_mm]), 0.6 * thickness),
        *[(corners[n], corners[(n + 1) % 4], 2 * thickness) for n in range(4)],
    ]:
        line = vtk.vtkLineSource()
        line.SetPoint1(*start)
        line.SetPoint2(*end)
        tube = vtk.vtkTubeFilter()
        tube.SetInputConnection(line.GetOutputPort())
        tube.SetRadius(radius)
        tube.SetNumberOfSides(10)
        append.AddInputConnection(tube.GetOutputPort())
    source = vtk.vtkSphereSource()
    source.SetRadius(9 * thickness)
    source.SetThetaResolution(24)
    source.SetPhiResolution(24)
    append.AddInputConnection(source.GetOutputPort())
    append.Update()
    return append.GetOutput()


def plane_polydata(camera: Camera, image: np.ndarray) -> vtk.vtkPolyData:
    """The detector as a grid in the camera frame that carries ``image`` [row, column] at its points.

    A texture would be lighter, but a display node does not own its texture: it would be left with a
    dangling one when the module is reloaded or the image deleted.
    """
    small = camera.resampled(*image.shape)
    columns, rows = small.columns, small.rows
    plane = vtk.vtkPlaneSource()
    plane.SetResolution(columns - 1, rows - 1)
    first, right, down = small.pixels_to_camera(np.array([(0, 0), (columns - 1, 0), (0, rows - 1)]))
    plane.SetOrigin(*first)
    plane.SetPoint1(*right)
    plane.SetPoint2(*down)
    plane.Update()
    polydata = vtk.vtkPolyData()
    polydata.DeepCopy(plane.GetOutput())
    values = numpy_support.numpy_to_vtk(np.ascontiguousarray(image, np.float32).ravel(), deep=True)
    values.SetName(IMAGE_ARRAY)
    data = polydata.GetPointData()
    data.SetNormals(None)
    data.SetTCoords(None)
    data.SetScalars(values)
    return polydata


def hide_carm(xray: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Hide the C-arm of an X-ray, if it was drawn."""
    for role in (BEAM_ROLE, PLANE_ROLE):
        model = xray.GetNodeReference(role)
        if model is not None and model.GetDisplayNode() is not None:
            model.GetDisplayNode().SetVisibility(False)


def show_carm(xray: slicer.vtkMRMLScalarVolumeNode) -> tuple[slicer.vtkMRMLModelNode, ...]:
    """Draw the C-arm of an X-ray; returns the model nodes (beam, plane).

    Raises
    ------
    InputError
        If the X-ray has no geometry.
    """
    require_xray(xray)
    camera = require_camera(xray)
    beam = referenced(xray, BEAM_ROLE, "vtkMRMLModelNode", _("{name} beam").format(name=xray.GetName()))
    plane = referenced(xray, PLANE_ROLE, "vtkMRMLModelNode", _("{name} detector").format(name=xray.GetName()))
    image = pixels(xray)
    factor = max(1.0, max(image.shape) / _PLANE_POINTS)
    image = resampled_image(image, round(image.shape[0] / factor), round(image.shape[1] / factor))
    beam.SetAndObservePolyData(beam_polydata(camera))
    plane.SetAndObservePolyData(plane_polydata(camera, image))
    transform = pose_node_of(xray)
    for model in (beam, plane):
        if model.GetDisplayNode() is None:
            model.CreateDefaultDisplayNodes()
        model.SetSelectable(False)
        model.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)
        display = model.GetDisplayNode()
        display.SetVisibility(True)
        display.SetVisibility2D(False)
        # The beam shows its outside only, so that the view from the source is not filled by the source.
        display.SetBackfaceCulling(model is beam)
        display.SetFrontfaceCulling(False)
    beam.GetDisplayNode().SetColor(*_BEAM_COLOUR)
    display = plane.GetDisplayNode()
    display.SetInterpolation(display.FlatInterpolation)
    display.SetAmbient(1.0)
    display.SetDiffuse(0.0)
    display.SetSpecular(0.0)
    display.SetActiveScalarName(IMAGE_ARRAY)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetScalarVisibility(True)
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    low, high = _window(xray)
    display.SetScalarRange(low, high)
    return beam, plane


def _window(xray: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """The grey values that the slice views show black and white."""
    if xray.GetDisplayNode() is None:
        xray.CreateDefaultDisplayNodes()
    display = xray.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def look_from_source(xray: slicer.vtkMRMLScalarVolumeNode, camera_node: slicer.vtkMRMLCameraNode) -> None:
    """Put the 3D view's camera into the X-ray source, the detector filling its height.

    Raises
    ------
    InputError
        If the X-ray has no geometry.
    """
    camera = require_camera(xray)
    to_world = vtk.vtkGeneralTransform()
    transform = pose_node_of(xray)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(transform, None, to_world)
    corners = detector_corners(camera)
    centre, top = corners.mean(axis=0), corners[:2].mean(axis=0)
    source, focus, upper = (np.array(to_world.TransformPoint(p)) for p in (np.zeros(3), centre, top))
    camera_node.SetPosition(*source)
    camera_node.SetFocalPoint(*focus)
    camera_node.SetViewUp(*(upper - focus) / np.linalg.norm(upper - focus))
    camera_node.SetViewAngle(
        float(np.rad2deg(2 * np.arctan2(np.linalg.norm(upper - focus), np.linalg.norm(focus - source))))
    )
    camera_node.ResetClippingRange()
