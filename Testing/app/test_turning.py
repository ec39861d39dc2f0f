"""A picture turned or mirrored from the panel: each landmark stays on the same picture element, through MRML alone."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from cases import seen_at
from driving import choose, settle, type_geometry


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "lumbar_pelvis-00")


@pytest.fixture()
def ready(panel, case):
    """The panel with the case at its true pose."""
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    xray_node.set_camera(case.xray, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    settle()
    return panel


def values_seen(xray, landmarks):
    columns, rows = np.rint(seen_at(xray, landmarks)).astype(int).T
    return slicer.util.arrayFromVolume(xray)[0][rows, columns]


def test_the_scene_projects_as_the_truth_says(ready, case):
    """The outside truth, which what follows rests on: the landmarks' pixels by the program that made the X-ray."""
    assert np.abs(seen_at(case.xray, case.landmarks) - case.landmarks_px).max() < 0.5


def test_turned_four_times_and_mirrored_twice(ready, case):
    from DiffPoseRegistrationLib.app import turning, xray_node

    ui, xray = ready.ui, case.xray
    inside = ((case.landmarks_px > 1) & (case.landmarks_px < 510)).all(axis=1)
    points, before = case.landmarks[inside], slicer.util.arrayFromVolume(xray).copy()
    first = values_seen(xray, points)
    assert len(set(first)) > 3
    for turns in range(1, 5):
        ui.turnButton.click()
        settle()
        assert np.array_equal(slicer.util.arrayFromVolume(xray)[0], np.rot90(before[0], -turns))
        assert np.array_equal(values_seen(xray, points), first)
        if turns == 1:  # the control: a pose that is not turned along
            turned = xray_node.pose_of(xray)
            xray_node.set_pose(xray, case.pose)
            assert not np.array_equal(values_seen(xray, points), first)
            xray_node.set_pose(xray, turned)
    assert xray_node.camera_of(xray) == case.camera and xray.GetAttribute(turning.TURNED_ATTRIBUTE) is None
    assert np.allclose(xray_node.pose_of(xray), case.pose)
    for times in (1, 2):
        ui.mirrorButton.click()
        settle()
        assert ui.viewedFromComboBox.currentIndex == (["source", "detector"].index(case.camera.viewed_from) + times) % 2
        assert np.array_equal(values_seen(xray, points), first)
    assert np.array_equal(slicer.util.arrayFromVolume(xray), before)
    assert not slicer.app.messages


def test_points_and_verdict_turn_along(ready, case):
    from cases import points_node
    from DiffPoseRegistrationLib.app import landmarks, xray_facts, xray_node

    ui, xray = ready.ui, case.xray
    outcome = {"verdict": "check", "verdict_reasons": [], "camera_to_world_ras_mm": case.pose.tolist()}
    xray_facts.set_outcome(xray, outcome)
    in_ct = points_node(case.landmarks, "in CT")
    on_image = case.camera.pixels_to_camera(case.landmarks_px) @ case.pose[:3, :3].T + case.pose[:3, 3]
    on_xray = points_node(on_image, "on X-ray")
    ui.ctLandmarksSelector.setCurrentNode(in_ct)
    ui.xrayLandmarksSelector.setCurrentNode(on_xray)
    settle()
    ui.landmarksButton.click()
    settle()
    projected = xray.GetNodeReference(landmarks.PROJECTED_ROLE)
    places = [slicer.util.arrayFromMarkupsControlPoints(node, world=True).copy() for node in (on_xray, projected)]
    said = ui.landmarksLabel.text
    ui.turnButton.click()
    settle()
    for node, place in zip((on_xray, projected), places):
        assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(node, world=True), place, atol=1e-3)
    assert "moved since" not in ui.verdictLabel.text
    assert np.allclose(xray_facts.outcome_of(xray)["camera_to_world_ras_mm"], xray_node.pose_of(xray))
    ui.landmarksButton.click()
    settle()
    assert ui.landmarksLabel.text == said


def test_geometry_read_after_turning_is_that_of_the_turned_picture(ready, case, shared, monkeypatch):
    import qt
    from DiffPoseRegistrationLib.app import xray_node

    path = shared / "cases/lumbar_pelvis-00/xray.dcm"
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: str(path)))
    ready.ui.turnButton.click()
    ready.ui.mirrorButton.click()
    settle()
    before = xray_node.camera_of(case.xray)
    ready.ui.readDicomButton.click()
    settle()
    after = xray_node.camera_of(case.xray)
    assert after.principal_point_px == pytest.approx(before.principal_point_px, abs=0.5)
    assert (after.rows, after.columns) == (before.rows, before.columns)
    assert not slicer.app.messages


def test_a_sequence_turns_with_all_its_frames(panel, slicer_app):
    from cases import sequence_node
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.app.frames import frames_of
    from DiffPoseRegistrationLib.geometry import rigid
    from DiffPoseRegistrationLib.geometry.camera import Camera

    images = [np.random.default_rng(n).integers(0, 4000, (24, 32)).astype(np.uint16) for n in range(3)]
    xray, browser = sequence_node(images, "run")
    xray_node.set_camera(xray, Camera(1000.0, 24, 32, (1.0, 1.5)))
    poses = [rigid.se3_exp(np.array([0.1 * n, 0.2, 0.3, 10.0, 20.0 * n, -700.0])) for n in range(3)]
    transform = xray_node.set_pose(xray, poses[0])
    for number, pose in enumerate(poses):
        frames_of(xray).set_pose(number, pose, transform)
    panel.ui.xraySelector.setCurrentNode(xray)
    landmarks = np.array([[0.0, 0, 0], [5, 4, 3]])
    browser.SetSelectedItemNumber(1)
    settle()

    def seen():
        values = []
        for number in (2, 0, 1):
            browser.SetSelectedItemNumber(number)
            settle()
            values.append((slicer.util.arrayFromVolume(xray)[0].shape, seen_at(xray, landmarks)))
        return values

    before = seen()
    panel.ui.turnButton.click()
    settle()
    for (shape, places), (shape_now, places_now), image in zip(before, seen(), (images[2], images[0], images[1])):
        assert shape_now == shape[::-1] and image.shape == shape
        # Turned clockwise: (column, row) becomes (rows - 1 - row, column).
        assert np.allclose(places_now, np.column_stack([shape[0] - 1 - places[:, 1], places[:, 0]]), atol=1e-6)
    assert np.array_equal(slicer.util.arrayFromVolume(xray)[0], np.rot90(images[1], -1))
    browser.SetSelectedItemNumber(0)
    assert np.array_equal(slicer.util.arrayFromVolume(xray)[0], np.rot90(images[0], -1))


def test_no_turning_while_a_job_runs(ready, case):
    assert ready.ui.turnButton.enabled
    ready.ui.simulateButton.click()
    settle()
    assert not ready.ui.turnButton.enabled and "simulation" in ready.ui.turnButton.toolTip
    ready.logic.cancel()
    from driving import wait_for_job

    wait_for_job(ready)
    assert ready.ui.mirrorButton.enabled
