"""Where a registration may start: landmark pairs and the C-arm's angles, as a person gives them in the panel."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from driving import choose, choose_start, place_at_view, settle, type_geometry, wait_for_job


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "thorax-01")


@pytest.fixture()
def ready(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    return panel


def mark(case, count):
    """The same points in the CT and, as another program projected them, on the X-ray that has no pose yet."""
    from cases import points_node

    in_ct = points_node(case.landmarks[:count], "CT points")
    on_xray = points_node(case.camera.pixels_to_camera(case.landmarks_px[:count]), "X-ray points")
    return in_ct, on_xray


def test_landmarks_place_the_xray(ready, case):
    from DiffPoseRegistrationLib.app import xray_node

    in_ct, on_xray = mark(case, 6)
    ready.ui.ctLandmarksSelector.setCurrentNode(in_ct)
    ready.ui.xrayLandmarksSelector.setCurrentNode(on_xray)
    choose_start(ready, "LANDMARKS")
    assert ready.ui.registerButton.enabled, ready.ui.registerButton.toolTip
    ready.ui.placeButton.click()
    settle()
    found = xray_node.pose_of(case.xray)
    assert np.abs((found @ np.linalg.inv(case.pose) - np.eye(4)) @ [*case.landmarks[9], 1]).max() < 0.5
    # The points stay where they were marked on the image, which has moved.
    marked = slicer.util.arrayFromMarkupsControlPoints(on_xray, world=True)
    on_image = (np.linalg.inv(found) @ np.c_[marked, np.ones(len(marked))].T).T[:, :3]
    assert np.allclose(case.camera.project(on_image), case.landmarks_px[:6], atol=0.01)
    # And they can be used once more: nothing has changed.
    choose_start(ready, "LANDMARKS")
    ready.ui.placeButton.click()
    settle()
    assert np.allclose(xray_node.pose_of(case.xray), found, atol=1e-3)


def test_too_few_landmarks(ready, case):
    in_ct, on_xray = mark(case, 3)
    choose_start(ready, "LANDMARKS")
    assert "landmarks" in ready.ui.registerButton.toolTip and not ready.ui.placeButton.enabled
    ready.ui.ctLandmarksSelector.setCurrentNode(in_ct)
    ready.ui.xrayLandmarksSelector.setCurrentNode(on_xray)
    settle()
    assert "There are 3 landmark pairs" in ready.ui.registerButton.toolTip
    assert not ready.ui.registerButton.enabled


def test_angles_place_the_xray(ready, case):
    from DiffPoseRegistrationLib.app import xray_facts, xray_node
    from DiffPoseRegistrationLib.geometry.angles import positioner_angles

    ui = ready.ui
    choose_start(ready, "ANGLES")
    assert not ui.placeButton.enabled and "angles" in ui.placeButton.toolTip
    ui.primaryAngleSpinBox.value = -30  # RAO
    settle()
    assert ui.secondaryAngleSpinBox.value == 0  # known from now on
    ui.secondaryAngleSpinBox.value = 12.5
    settle()
    assert ui.primaryAngleSpinBox.value == -30
    ui.placeButton.click()
    settle()
    pose = xray_node.pose_of(case.xray)
    assert np.allclose(positioner_angles(pose), (-30, 12.5, 0), atol=1e-6)
    bounds = np.zeros(6)
    case.ct.GetRASBounds(bounds)
    in_camera = np.linalg.inv(pose) @ [*bounds.reshape(3, 2).mean(axis=1), 1]
    assert np.allclose(in_camera[:3], (0, 0, 0.7 * case.camera.source_to_detector_mm), atol=1e-3)
    ui.primaryAngleSpinBox.value = ui.primaryAngleSpinBox.minimum  # not known
    settle()
    assert xray_facts.angles_of(case.xray) is None
    assert ui.secondaryAngleSpinBox.value == ui.secondaryAngleSpinBox.minimum


def test_geometry_that_may_be_off_is_refined_too(ready, case):
    """The beam's axis typed wrongly by some pixels: the pose and the geometry that belongs to it come into the scene,
    where landmarks then fall where the program that made the X-ray says."""
    from dataclasses import replace

    from cases import seen_at
    from DiffPoseRegistrationLib.app import xray_node

    ui, xray = ready.ui, case.xray
    wrong = replace(case.camera, principal_point_px=tuple(np.add(case.camera.principal_point_px, (6.0, -5.0))))
    xray_node.set_camera(xray, wrong)
    xray_node.set_pose(xray, case.pose, case.ct)
    choose_start(ready, "CURRENT")
    ui.searchComboBox.currentIndex = 0
    assert ui.advancedGroupBox.collapsed
    ui.principalPointToleranceSpinBox.value = 12
    ui.secondsSpinBox.value = 600
    settle()
    ui.registerButton.click()
    wait_for_job(ready)
    assert ready.logic.problem == "" and "refined" in ui.geometryLabel.text
    assert xray_node.camera_of(xray) == ready.logic.outcome.refined_camera != wrong
    inside = ((case.landmarks_px > 0) & (case.landmarks_px < 512)).all(axis=1)
    off = np.abs(seen_at(xray, case.landmarks) - case.landmarks_px)[inside].max()
    xray_node.set_camera(xray, wrong)  # the control: the pose does not belong to the geometry that was typed
    off_with_wrong = np.abs(seen_at(xray, case.landmarks) - case.landmarks_px)[inside].max()
    assert off < 1.0 and off_with_wrong > 3 * off, (off, off_with_wrong)


def test_carm_is_drawn_only_where_it_stands(ready, case):
    """Without a pose there is nothing at the scene's origin, and nothing stays there when the pose is gone."""
    from DiffPoseRegistrationLib.app import carm_model, xray_node

    def is_seen():
        models = [case.xray.GetNodeReference(role) for role in (carm_model.BEAM_ROLE, carm_model.PLANE_ROLE)]
        return [model is not None and bool(model.GetDisplayNode().GetVisibility()) for model in models]

    settle()
    assert is_seen() == [False, False]
    place_at_view(ready)
    assert is_seen() == [True, True]
    ready.ui.carmCheckBox.checked = False
    settle()
    assert is_seen() == [False, False]
    ready.ui.carmCheckBox.checked = True
    settle()
    assert is_seen() == [True, True]
    slicer.mrmlScene.RemoveNode(xray_node.pose_node_of(case.xray))
    settle()
    assert is_seen() == [False, False]
