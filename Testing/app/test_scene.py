"""CT, X-ray, pose and C-arm as MRML nodes agree with X-rays that another program rendered."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk

CASES = ["lumbar_pelvis-00", "skull_phantom-02", "thorax-03"]
ALL_CASES = [f"{ct}-0{n}" for ct in ("lumbar_pelvis", "skull_phantom", "thorax") for n in range(4)]


def _world_to_pixel(xray, points):
    """Where straight lines from the source meet the image, in its own pixels, through MRML alone."""
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(xray.GetParentTransformNode(), None, to_world)
    source = np.array(to_world.TransformPoint((0, 0, 0)))
    ras_to_ijk = vtk.vtkMatrix4x4()
    xray.GetRASToIJKMatrix(ras_to_ijk)
    to_local = to_world.GetInverse()
    pixels = []
    for point in points:
        ends = [
            np.array(ras_to_ijk.MultiplyPoint((*to_local.TransformPoint(p), 1.0)))[:3]
            for p in (source, np.array(point))
        ]
        step = ends[1] - ends[0]
        pixels.append((ends[0] - step * ends[0][2] / step[2])[:2])
    return np.array(pixels)


@pytest.mark.parametrize("name", ALL_CASES)
def test_landmarks_of_the_ct_fall_on_their_pixels(slicer_app, shared, name):
    from cases import load_case
    from DiffPoseRegistrationLib.app import xray_node

    case = load_case(shared, name)
    ras_to_ijk = vtk.vtkMatrix4x4()
    case.ct.GetRASToIJKMatrix(ras_to_ijk)
    values = slicer.util.arrayFromVolume(case.ct)
    voxels = [np.rint(ras_to_ijk.MultiplyPoint((*point, 1.0))[:3]).astype(int) for point in case.landmarks]
    assert np.median([values[k, j, i] for i, j, k in voxels]) > 150  # they lie in the CT's bone
    xray_node.set_camera(case.xray, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    assert np.abs(_world_to_pixel(case.xray, case.landmarks) - case.landmarks_px).max() < 0.5

    wrong = case.pose.copy()
    wrong[:3, 3] += (5, 0, 5)
    xray_node.set_pose(case.xray, wrong)
    assert np.abs(_world_to_pixel(case.xray, case.landmarks) - case.landmarks_px).max() > 0.5


def test_image_seen_from_the_detector_is_mirrored_by_the_camera_not_the_pose(slicer_app, shared):
    from dataclasses import replace

    from cases import load_case
    from DiffPoseRegistrationLib.app import xray_node

    case = load_case(shared, CASES[0])
    slicer.util.updateVolumeFromArray(case.xray, slicer.util.arrayFromVolume(case.xray)[:, :, ::-1].copy())
    xray_node.set_camera(case.xray, replace(case.camera, viewed_from="detector"))
    pose_node = xray_node.set_pose(case.xray, case.pose)
    mirrored = case.landmarks_px * (-1, 1) + (case.camera.columns - 1, 0)
    assert np.abs(_world_to_pixel(case.xray, case.landmarks) - mirrored).max() < 0.5
    assert np.linalg.det(slicer.util.arrayFromTransformMatrix(pose_node)[:3, :3]) == pytest.approx(1)


def test_quick_drr_agrees_with_the_other_programs_xray(slicer_app, shared):
    from cases import load_case
    from DiffPoseRegistrationLib.app.ct_node import patient_ct
    from DiffPoseRegistrationLib.app.drr import QuickDRR

    case = load_case(shared, CASES[1])
    picture = slicer.util.arrayFromVolume(case.xray)[0].astype(float)
    truth = -np.log(np.maximum(picture, 1)).ravel()
    drr = QuickDRR(patient_ct(case.ct).volume())

    def correlation(pose):
        return np.corrcoef(drr.render(case.camera, pose).ravel(), truth)[0, 1]

    wrong = case.pose.copy()
    wrong[:3, 3] += (5, 0, 5)
    assert correlation(case.pose) > 0.99
    assert correlation(wrong) < 0.97
    small = drr.render(case.camera, case.pose, 128)
    assert small.shape == (128, 128)
    blocks = drr.render(case.camera, case.pose).reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 0.02 * blocks.mean()


def test_ct_under_a_transform_is_taken_where_it_lies(slicer_app, shared):
    from cases import load_case
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    case = load_case(shared, CASES[0])
    before = patient_ct(case.ct).volume()
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = (10, -20, 30)
    slicer.util.updateTransformMatrixFromArray(moved, matrix)
    case.ct.SetAndObserveTransformNodeID(moved.GetID())
    under = patient_ct(case.ct).volume().ijk_to_ras
    case.ct.HardenTransform()
    hardened = patient_ct(case.ct).volume().ijk_to_ras
    assert np.allclose(under, hardened)
    assert np.allclose(under[:3, 3] - before.ijk_to_ras[:3, 3], (10, -20, 30))


def test_pose_node_turns_about_the_ct_and_knows_both(slicer_app, shared):
    from cases import load_case
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    case = load_case(shared, CASES[0])
    xray_node.set_camera(case.xray, case.camera)
    node = xray_node.set_pose(case.xray, case.pose, case.ct, patient_ct(case.ct).centre_ras)
    assert node.GetNodeReference(slicer.vtkMRMLTransformNode.GetMovingNodeReferenceRole()) is case.xray
    assert node.GetNodeReference(slicer.vtkMRMLTransformNode.GetFixedNodeReferenceRole()) is case.ct
    centre = node.GetCenterOfTransformation()
    bounds = np.zeros(6)
    case.ct.GetRASBounds(bounds)
    assert np.allclose((case.pose @ [*centre, 1])[:3], bounds.reshape(3, 2).mean(axis=1))
    assert np.allclose(xray_node.pose_of(case.xray), case.pose, atol=1e-6)


def test_landmark_errors(slicer_app, shared):
    from cases import load_case, points_node
    from DiffPoseRegistrationLib.app import landmarks, xray_node

    case = load_case(shared, CASES[2])
    xray_node.set_camera(case.xray, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    in_ct = points_node(case.landmarks, "CT points")
    # The same points as the other program projected them, moved 3 pixels down (first) and 4 right (second).
    marked = case.landmarks_px.copy()
    marked[0] += (0, 3)
    marked[1] += (4, 0)
    on_plane = (case.pose @ np.c_[case.camera.pixels_to_camera(marked), np.ones(len(marked))].T).T[:, :3]
    on_xray = points_node(on_plane, "X-ray points")
    landmarks.attach_to_xray(on_xray, case.xray)
    errors = landmarks.landmark_errors(in_ct, case.xray, on_xray)
    assert errors.pixels[0] == pytest.approx(3, abs=0.01)
    assert errors.pixels[1] == pytest.approx(4, abs=0.01)
    assert errors.pixels[2:].max() < 0.01
    assert errors.detector_mm[0] == pytest.approx(3 * case.camera.pixel_spacing_mm[0], abs=0.01)
    depth = (np.linalg.inv(case.pose) @ [*case.landmarks[0], 1])[2]
    assert errors.patient_mm[0] == pytest.approx(
        errors.detector_mm[0] * depth / case.camera.source_to_detector_mm, rel=1e-4
    )
    table = landmarks.fill_table(errors)
    assert table.GetNumberOfRows() == len(case.landmarks) + 3
    rms = float(table.GetCellText(len(case.landmarks) + 1, 1))
    assert rms == pytest.approx(np.sqrt(np.mean(errors.pixels**2)), abs=1e-3)

    shown = landmarks.show_errors(case.xray, errors)
    assert shown.GetNthControlPointLabel(1).endswith(": 4.0 px")
    at = slicer.util.arrayFromMarkupsControlPoints(shown, world=True)[2]
    assert np.allclose(_world_to_pixel(case.xray, [at])[0], case.landmarks_px[2], atol=0.05)

    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "reference")
    shifted = case.pose.copy()
    shifted[:3, 3] += (0, 0, 2)
    slicer.util.updateTransformMatrixFromArray(reference, shifted)
    against = landmarks.landmark_errors(in_ct, case.xray, None, reference)
    assert against.tre_mm == pytest.approx(2.0, abs=1e-6)
    assert np.isnan(against.pixels).all()
    columns = landmarks.fill_table(against)
    assert columns.GetNumberOfColumns() == 2 and columns.GetColumnName(1) == "TRE [mm]"


def test_marked_points_move_with_the_xray(slicer_app, shared):
    from cases import load_case, points_node
    from DiffPoseRegistrationLib.app import landmarks, xray_node

    case = load_case(shared, CASES[0])
    xray_node.set_camera(case.xray, case.camera)
    xray_node.set_pose(case.xray, case.pose)
    points = points_node(case.landmarks[:1], "X-ray points")
    landmarks.attach_to_xray(points, case.xray)
    assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(points, world=True), case.landmarks[:1], atol=1e-3)
    moved = case.pose.copy()
    moved[:3, 3] += (7, 0, 0)
    xray_node.set_pose(case.xray, moved)
    shift = slicer.util.arrayFromMarkupsControlPoints(points, world=True) - case.landmarks[:1]
    assert np.allclose(shift, (7, 0, 0), atol=1e-3)


def test_wrong_nodes_are_refused_in_words(slicer_app):
    from cases import points_node, volume_node
    from DiffPoseRegistrationLib.app import landmarks, xray_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct
    from DiffPoseRegistrationLib.errors import InputError
    from DiffPoseRegistrationLib.geometry.camera import Camera

    identity = np.eye(4)
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "a model")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    solid = volume_node(np.full((9, 9, 9), -1000, np.int16), identity, "solid")
    flat = volume_node(np.zeros((1, 9, 9), np.int16), identity, "flat")
    photo = volume_node(np.zeros((1, 9, 9, 3), np.uint8), identity, "photo", "vtkMRMLVectorVolumeNode")
    eight_bit = volume_node(np.arange(729, dtype=np.uint8).reshape(9, 9, 9), identity, "picture")
    holes = volume_node(np.full((9, 9, 9), np.nan, np.float32), identity, "holes")
    bent = volume_node(np.full((9, 9, 9), -1000, np.int16), identity, "bent")
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "grid")
    bent.SetAndObserveTransformNodeID(grid.GetID())
    for node in (None, model, empty, flat, photo, eight_bit, holes, bent):
        with pytest.raises(InputError) as caught:
            patient_ct(node).volume()
        assert node is None or node.GetName() in str(caught.value)
    for node in (None, model, empty, solid, photo):
        with pytest.raises(InputError):
            xray_node.require_xray(node)
    with pytest.raises(InputError):
        xray_node.set_camera(flat, Camera(1000, 8, 9, (1, 1)))
    with pytest.raises(InputError):
        xray_node.require_camera(flat)
    with pytest.raises(InputError):
        xray_node.set_pose(flat, np.diag([1.0, 1.0, -1.0, 1.0]))
    with pytest.raises(InputError):
        landmarks.landmark_errors(None, flat)
    with pytest.raises(InputError):
        landmarks.landmark_errors(points_node(np.zeros((0, 3)), "none"), flat, points_node(np.zeros((1, 3)), "one"))
