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
from .nodes import add_node
from .xray_node import pose_node_of, pose_of, require_camera


@dataclass(frozen=True)
class LandmarkErrors:
    """Errors of the landmarks of one X-ray.

    labels
        Names of the points.
    pixels, detector_mm
        Distances [n] on the detector between the projected CT point and the X-ray point.
    patient_mm
        The same [n], scaled down to the depth of the CT point: what it means inside the patient.
    """

    labels: tuple[str, ...]
    pixels: np.ndarray
    detector_mm: np.ndarray
    patient_mm: np.ndarray

    @staticmethod
    def summary(values: np.ndarray) -> tuple[float, float, float]:
        """Mean, root mean square and maximum."""
        return float(values.mean()), float(np.sqrt(np.mean(values**2))), float(values.max())


def attach_to_xray(points: slicer.vtkMRMLMarkupsNode, xray: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Let points that are placed on the X-ray move with it, keeping them where they are now."""
    transform = pose_node_of(xray)
    world = slicer.util.arrayFromMarkupsControlPoints(points, world=True)
    points.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)
    if len(world):
        slicer.util.updateMarkupsControlPointsFromArray(points, world, world=True)


def landmark_errors(
    ct_points: slicer.vtkMRMLMarkupsNode,
    xray_points: slicer.vtkMRMLMarkupsNode,
    xray: slicer.vtkMRMLScalarVolumeNode,
) -> LandmarkErrors:
    """Errors of landmarks in CT (RAS) against the same landmarks marked on the X-ray.

    Points belong together by label; where no label is in both lists, by their order.

    Raises
    ------
    InputError
        If a list is missing or empty, they cannot be paired, or the X-ray has no geometry or pose.
    """
    for node, what in ((ct_points, _("CT")), (xray_points, _("X-ray"))):
        if node is None or not node.IsA("vtkMRMLMarkupsNode"):
            raise InputError(_("No landmarks in the {what} are chosen; choose a point list.").format(what=what))
        if node.GetNumberOfDefinedControlPoints() == 0:
            raise InputError(_("{name} holds no points; place at least one.").format(name=node.GetName()))
    camera = require_camera(xray)
    pose = pose_of(xray)
    if pose is None:
        raise InputError(_("{name} has no pose yet; register it or choose one.").format(name=xray.GetName()))
    pairs = _paired(ct_points, xray_points)
    in_ct = slicer.util.arrayFromMarkupsControlPoints(ct_points, world=True)[[a for _n, a, _b in pairs]]
    on_xray = slicer.util.arrayFromMarkupsControlPoints(xray_points, world=True)[[b for _n, _a, b in pairs]]
    to_camera = rigid.inverse(pose)
    in_camera = rigid.transform_points(to_camera, in_ct)
    # A point marked on the X-ray stands for the whole ray through it.
    difference = camera.project(in_camera) - camera.project(rigid.transform_points(to_camera, on_xray))
    if not np.isfinite(difference).all():
        raise InputError(_("A landmark lies behind the X-ray source; check the pose and the points."))
    millimetres = np.linalg.norm(difference * np.array(camera.pixel_spacing_mm[::-1]), axis=1)
    return LandmarkErrors(
        labels=tuple(name for name, _a, _b in pairs),
        pixels=np.linalg.norm(difference, axis=1),
        detector_mm=millimetres,
        patient_mm=millimetres * in_camera[:, 2] / camera.source_to_detector_mm,
    )


def target_registration_error(
    ct_points: slicer.vtkMRMLMarkupsNode,
    xray: slicer.vtkMRMLScalarVolumeNode,
    reference: slicer.vtkMRMLTransformNode,
) -> np.ndarray:
    """Distances [n] (mm) between the landmarks as the X-ray's pose and ``reference`` place them in the camera.

    Raises
    ------
    InputError
        If there are no points, no pose, or a transform is not rigid.
    """
    pose = pose_of(xray)
    if pose is None:
        raise InputError(_("{name} has no pose yet; register it or choose one.").format(name=xray.GetName()))
    if ct_points is None or ct_points.GetNumberOfDefinedControlPoints() == 0:
        raise InputError(_("No landmarks in the CT are chosen; choose a point list with points."))
    true = rigid.validated_pose(slicer.util.arrayFromTransformMatrix(reference, toWorld=True), reference.GetName())
    return target_registration_errors(pose, true, slicer.util.arrayFromMarkupsControlPoints(ct_points, world=True))


def fill_table(errors: LandmarkErrors, table: slicer.vtkMRMLTableNode | None = None) -> slicer.vtkMRMLTableNode:
    """Write the errors and their mean, RMS and maximum into a table node (made if None)."""
    table = table or add_node("vtkMRMLTableNode", _("Landmark errors"))
    was_modified = table.StartModify()
    table.RemoveAllColumns()
    columns = (
        (_("landmark"), None),
        (_("error [px]"), errors.pixels),
        (_("error on detector [mm]"), errors.detector_mm),
        (_("error in patient [mm]"), errors.patient_mm),
    )
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
    getattr(table, "SetUseColumnTitleAsColumnHeader", table.SetUseColumnNameAsColumnHeader)(True)
    table.EndModify(was_modified)
    return table


def _paired(a: slicer.vtkMRMLMarkupsNode, b: slicer.vtkMRMLMarkupsNode) -> list[tuple[str, int, int]]:
    """(label, index in ``a``, index in ``b``) of the points that belong together."""

    def labels(node):
        return [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]

    first, second = labels(a), labels(b)
    common = [name for name in first if name and first.count(name) == 1 and second.count(name) == 1]
    if common:
        return [(name, first.index(name), second.index(name)) for name in common]
    if len(first) != len(second):
        raise InputError(
            _("{a} has {n} points and {b} has {m}, no names in common; name the points alike.").format(
                a=a.GetName(), n=len(first), b=b.GetName(), m=len(second)
            )
        )
    return [(first[n] or str(n + 1), n, n) for n in range(len(first))]
