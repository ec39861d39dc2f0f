"""Landmarks: points in the CT and the same points in the X-ray, and how far apart the pose puts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry import rigid
from ..metrics.errors import target_registration_errors
from .nodes import add_node, referenced, world_from_node
from .xray_node import pose_node_of, pose_of, require_camera

PROJECTED_ROLE = "DiffPose.ProjectedLandmarks"


@dataclass(frozen=True)
class LandmarkErrors:
    """Errors of the landmarks of one X-ray, in the order of the CT's list; NaN where an error is not known.

    labels
        Names of the points.
    pixels, detector_mm
        Distances [n] on the detector between the projected CT point and the X-ray point.
    patient_mm
        The same [n], scaled down to the depth of the CT point: what it means inside the patient.
    tre_mm
        Distances [n] in 3D between where the pose and the reference pose put the CT point in the camera.
    projected_px
        Where [n, 2] = (column, row) the pose projects the CT points.
    """

    labels: tuple[str, ...]
    pixels: np.ndarray
    detector_mm: np.ndarray
    patient_mm: np.ndarray
    tre_mm: np.ndarray
    projected_px: np.ndarray

    @staticmethod
    def summary(values: np.ndarray) -> tuple[float, float, float]:
        """Mean, root mean square and maximum of those that are known; NaN if none is."""
        values = values[np.isfinite(values)]
        if not values.size:
            return float("nan"), float("nan"), float("nan")
        return float(values.mean()), float(np.sqrt(np.mean(values**2))), float(values.max())


def attach_to_xray(points: slicer.vtkMRMLMarkupsNode, xray: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Let points that are placed on the X-ray move with it, keeping them where they are now."""
    transform = pose_node_of(xray)
    if points.GetParentTransformNode() is transform:
        return
    world = slicer.util.arrayFromMarkupsControlPoints(points, world=True)
    points.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)
    if len(world):
        slicer.util.updateMarkupsControlPointsFromArray(points, world, world=True)


def point_pairs(
    ct_points: slicer.vtkMRMLMarkupsNode,
    xray_points: slicer.vtkMRMLMarkupsNode,
    xray: slicer.vtkMRMLScalarVolumeNode,
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Points of the CT [n, 3] (RAS, mm), where the same points are marked on the X-ray [n, 2] (column, row), and their
    numbers in the CT's list.

    Points belong together by label; where no label is in both lists, by their order.

    Raises
    ------
    InputError
        If a list is missing or empty, or they cannot be paired.
    """
    _require_points(ct_points, _("CT"))
    _require_points(xray_points, _("X-ray"))
    in_ct = slicer.util.arrayFromMarkupsControlPoints(ct_points, world=True)
    on_xray = slicer.util.arrayFromMarkupsControlPoints(xray_points, world=True)
    # A point marked on the X-ray stands for the whole ray through it.
    marked = require_camera(xray).project(rigid.transform_points(np.linalg.inv(world_from_node(xray)), on_xray))
    pairs = _paired(ct_points, xray_points)
    return in_ct[[a for a, _b in pairs]], marked[[b for _a, b in pairs]], [a for a, _b in pairs]


def landmark_errors(
    ct_points: slicer.vtkMRMLMarkupsNode,
    xray: slicer.vtkMRMLScalarVolumeNode,
    xray_points: slicer.vtkMRMLMarkupsNode | None = None,
    reference: slicer.vtkMRMLTransformNode | None = None,
) -> LandmarkErrors:
    """Errors of landmarks in the CT against the same landmarks marked on the X-ray, against a reference pose, or both.

    Raises
    ------
    InputError
        If there is nothing to compare with, a list is empty, points cannot be paired, the X-ray has no geometry or
        pose, or the reference is not rigid.
    """
    _require_points(ct_points, _("CT"))
    if reference is None:
        _require_points(xray_points, _("X-ray"))
    camera = require_camera(xray)
    pose = pose_of(xray)
    if pose is None:
        raise InputError(_("{name} has no pose yet; register it or choose one.").format(name=xray.GetName()))
    in_ct = slicer.util.arrayFromMarkupsControlPoints(ct_points, world=True)
    in_camera = rigid.transform_points(rigid.inverse(pose), in_ct)
    projected = camera.project(in_camera)
    if not np.isfinite(projected).all():
        raise InputError(_("A landmark lies behind the X-ray source; check the pose and the points."))
    labels = tuple(name or str(n + 1) for n, name in enumerate(_labels(ct_points)))
    pixels, millimetres, tre = (np.full(len(labels), np.nan) for _axis in range(3))
    if xray_points is not None:
        _points, marked, numbers = point_pairs(ct_points, xray_points, xray)
        difference = projected[numbers] - marked
        pixels[numbers] = np.linalg.norm(difference, axis=1)
        millimetres[numbers] = np.linalg.norm(difference * np.array(camera.pixel_spacing_mm[::-1]), axis=1)
    if reference is not None:
        true = rigid.validated_pose(slicer.util.arrayFromTransformMatrix(reference, toWorld=True), reference.GetName())
        tre = target_registration_errors(pose, true, in_ct)
    return LandmarkErrors(
        labels=labels,
        pixels=pixels,
        detector_mm=millimetres,
        patient_mm=millimetres * in_camera[:, 2] / camera.source_to_detector_mm,
        tre_mm=tre,
        projected_px=projected,
    )


def fill_table(errors: LandmarkErrors, table: slicer.vtkMRMLTableNode | None = None) -> slicer.vtkMRMLTableNode:
    """Write the errors and their mean, RMS and maximum into a table node (made if None); a column with nothing in
    it is left out."""
    table = table or add_node("vtkMRMLTableNode", _("Landmark errors"))
    was_modified = table.StartModify()
    table.RemoveAllColumns()
    columns = [
        (_("landmark"), None),
        (_("error [px]"), errors.pixels),
        (_("error on detector [mm]"), errors.detector_mm),
        (_("error in patient [mm]"), errors.patient_mm),
        (_("TRE [mm]"), errors.tre_mm),
    ]
    columns = [(name, values) for name, values in columns if values is None or np.isfinite(values).any()]
    for name, values in columns:
        column = table.AddColumn()
        column.SetName(name)
        table.SetColumnType(name, 13 if values is None else 11)  # VTK_STRING, VTK_DOUBLE
    names = [*errors.labels, _("mean"), _("RMS"), _("maximum")]
    for row, name in enumerate(names):
        table.AddEmptyRow()
        table.SetCellText(row, 0, name)
        for column, (_name, values) in enumerate(columns):
            if values is not None:
                shown = values[row] if row < len(values) else LandmarkErrors.summary(values)[row - len(values)]
                table.SetCellText(row, column, f"{shown:.3f}")
    # The older name of the same function is deprecated since Slicer 5.13.
    use_names = "SetUseColumnTitleAsColumnHeader"
    getattr(table, use_names if hasattr(table, use_names) else "SetUseColumnNameAsColumnHeader")(True)
    table.EndModify(was_modified)
    return table


def show_errors(xray: slicer.vtkMRMLScalarVolumeNode, errors: LandmarkErrors) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Mark on the X-ray where its pose projects the CT's landmarks, each with its error in its label; returns the
    list of points."""
    camera = require_camera(xray)
    name = _("{name} projected landmarks").format(name=xray.GetName())
    points = referenced(xray, PROJECTED_ROLE, "vtkMRMLMarkupsFiducialNode", name)
    was_modified = points.StartModify()
    points.RemoveAllControlPoints()
    points.SetLocked(True)
    transform = pose_node_of(xray)
    points.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)
    on_detector = camera.pixels_to_camera(errors.projected_px)
    for label, point, pixels in zip(errors.labels, on_detector, errors.pixels):
        text = _("{name}: {error:.1f} px").format(name=label, error=pixels) if np.isfinite(pixels) else label
        points.AddControlPoint(*(float(v) for v in point), text)
    points.EndModify(was_modified)
    if points.GetDisplayNode() is None:
        points.CreateDefaultDisplayNodes()
        points.GetDisplayNode().SetSelectedColor(0.3, 0.9, 0.4)
        points.GetDisplayNode().SetTextScale(2.0)
    return points


def _require_points(points: slicer.vtkMRMLMarkupsNode | None, what: str) -> None:
    if points is None or not points.IsA("vtkMRMLMarkupsNode"):
        raise InputError(_("No landmarks in the {what} are chosen; choose a point list.").format(what=what))
    if points.GetNumberOfDefinedControlPoints() == 0:
        raise InputError(_("{name} holds no points; place at least one.").format(name=points.GetName()))


def _paired(a: slicer.vtkMRMLMarkupsNode, b: slicer.vtkMRMLMarkupsNode) -> list[tuple[int, int]]:
    """Indices in ``a`` and ``b`` of the points that belong together."""
    first, second = _labels(a), _labels(b)
    common = [name for name in first if name and first.count(name) == 1 and second.count(name) == 1]
    if common:
        return [(first.index(name), second.index(name)) for name in common]
    if len(first) != len(second):
        raise InputError(
            _("{a} has {n} points and {b} has {m}, no names in common; name the points alike.").format(
                a=a.GetName(), n=len(first), b=b.GetName(), m=len(second)
            )
        )
    return [(n, n) for n in range(len(first))]


def _labels(points: slicer.vtkMRMLMarkupsNode) -> list[str]:
    return [points.GetNthControlPointLabel(n) for n in range(points.GetNumberOfControlPoints())]
