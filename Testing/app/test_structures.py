"""One structure of a CT: only what lies in the chosen segments is rendered, prepared for and registered."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from driving import choose, choose_start, settle, type_geometry, wait_for_job


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "lumbar_pelvis-00")


@pytest.fixture()
def segmentation(case):
    """The bones of the patient's right and left half."""
    from cases import segmentation_node

    bone = slicer.util.arrayFromVolume(case.ct) > 250
    middle = bone.shape[2] // 2
    labels = np.zeros(bone.shape, np.uint8)
    labels[:, :, :middle][bone[:, :, :middle]] = 1
    labels[:, :, middle:][bone[:, :, middle:]] = 2
    return segmentation_node(labels, case.ct, {1: "right", 2: "left"})


def centre_of(volume, inside):
    """Centre of the box around voxels, in RAS, through MRML alone."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    places = np.argwhere(inside)[:, ::-1]
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    return np.array(matrix.MultiplyPoint((*middle, 1.0)))[:3]


def test_only_the_segment_is_left(case, segmentation):
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    values = slicer.util.arrayFromVolume(case.ct)
    inside = values > 250
    inside[:, :, values.shape[2] // 2 :] = False
    patient = patient_ct(case.ct, segmentation, ["right"])
    volume = patient.volume()
    assert np.isclose(np.sort(volume.hounsfield[volume.hounsfield > -1000]), np.sort(values[inside])).all()
    assert volume.hounsfield.size < values.size and "right" in volume.name
    assert np.abs(volume.centre_ras - centre_of(case.ct, inside)).max() < 0.51 * max(case.ct.GetSpacing())
    # The densest voxel lies where it lay.
    k, j, i = np.unravel_index(np.argmax(np.where(inside, values, -2000)), values.shape)
    matrix = vtk.vtkMatrix4x4()
    case.ct.GetIJKToRASMatrix(matrix)
    there = np.array(matrix.MultiplyPoint((float(i), float(j), float(k), 1.0)))
    index = np.rint(np.linalg.inv(volume.ijk_to_ras) @ there).astype(int)[:3]
    assert volume.hounsfield[tuple(index[::-1])] == values[k, j, i]
    both = patient_ct(case.ct, segmentation)
    assert (both.volume().hounsfield > -1000).sum() == (values > 250).sum()
    assert volume.is_cut_out  # the core knows that it is a bone alone


def test_segmentation_is_taken_where_it_lies(case, segmentation):
    from DiffPoseRegistrationLib.app.ct_node import PatientCache

    patients = PatientCache()
    before = patients.of(case.ct, segmentation, ["left"])
    assert patients.of(case.ct, segmentation, ["left"]) is before  # nothing is exported twice
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    matrix = np.eye(4)
    matrix[2, 3] = 4 * case.ct.GetSpacing()[2]
    slicer.util.updateTransformMatrixFromArray(moved, matrix)
    after = patients.of(case.ct, segmentation, ["left"])
    assert after is not before
    assert (after.volume().hounsfield > -1000).sum() != (before.volume().hounsfield > -1000).sum()
    case.ct.SetAndObserveTransformNodeID(moved.GetID())  # both moved: the same voxels, elsewhere
    together = patients.of(case.ct, segmentation, ["left"])
    assert np.array_equal(together.volume().hounsfield, before.volume().hounsfield)
    assert np.allclose(together.centre_ras - before.centre_ras, matrix[:3, 3])


def test_nothing_is_left_in_the_scene(case, segmentation):
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    before = slicer.mrmlScene.GetNumberOfNodes()
    patient_ct(case.ct, segmentation)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_segments_that_do_not_serve(case, segmentation):
    from cases import volume_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct
    from DiffPoseRegistrationLib.errors import InputError

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hollow")
    elsewhere = volume_node(np.full((8, 8, 8), -1000, np.int16), np.diag([1.0, 1, 1, 1]) + 1e4 * np.eye(4, k=3), "far")
    for arguments, word in (
        ((case.ct, segmentation, ["pelvis"]), "pelvis"),
        ((case.ct, segmentation, []), "tick"),
        ((case.ct, empty), "hollow"),
        ((case.ct, case.xray), "no segmentation"),
        ((elsewhere, segmentation), "far"),
    ):
        with pytest.raises(InputError, match=word):
            patient_ct(*arguments)


def test_ticks_of_the_panel_choose_the_segments(panel, case, segmentation):
    import qt
    from DiffPoseRegistrationLib.app import overlay, xray_node

    ui = panel.ui
    choose(panel, case)
    type_geometry(panel, case.camera)
    assert ui.segmentsList.isHidden()
    ui.segmentationSelector.setCurrentNode(segmentation)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    panel._panel.geometry_changed()
    settle()
    assert not ui.segmentsList.isHidden() and ui.segmentsList.count == 2
    drr = slicer.util.arrayFromVolume(case.xray.GetNodeReference(overlay.DRR_ROLE))[0].copy()
    ui.segmentsList.item(0).setCheckState(qt.Qt.Unchecked)
    settle()
    assert json.loads(panel.logic.getParameterNode().segments) == [segmentation.GetSegmentation().GetNthSegmentID(1)]
    assert np.abs(slicer.util.arrayFromVolume(case.xray.GetNodeReference(overlay.DRR_ROLE))[0] - drr).mean() > 0
    ui.segmentsList.item(1).setCheckState(qt.Qt.Unchecked)
    settle()
    assert not ui.registerButton.enabled and "tick at least one" in ui.registerButton.toolTip
    ui.segmentsList.item(1).setCheckState(qt.Qt.Checked)
    ui.segmentsList.item(0).setCheckState(qt.Qt.Checked)
    settle()
    assert panel.logic.getParameterNode().segments == ""


def test_a_bone_alone_is_registered(panel, case, segmentation):
    """The X-ray shows the whole body; what is moved is one half's bones."""
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.geometry import rigid
    from DiffPoseRegistrationLib.metrics.errors import pose_error

    ui = panel.ui
    choose(panel, case)
    type_geometry(panel, case.camera)
    ui.segmentationSelector.setCurrentNode(segmentation)
    start = rigid.update_pose(case.pose, np.array([0.02, -0.03, 0.02, 3, 4, -3]), case.landmarks.mean(axis=0))
    xray_node.set_pose(case.xray, start, case.ct)
    choose_start(panel, "CURRENT")
    ui.registerButton.click()
    wait_for_job(panel)
    assert panel.logic.problem == ""
    before = pose_error(start, case.pose, case.landmarks, case.camera)
    error = pose_error(xray_node.pose_of(case.xray), case.pose, case.landmarks, case.camera)
    assert error.projection_error_mm < 2 < before.projection_error_mm
