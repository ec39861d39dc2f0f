"""Frames of a sequence one after another, and X-rays that keep their places to one another."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from driving import choose_start, settle, wait_for, wait_for_job

COUNT = 3


@pytest.fixture()
def moving(panel):
    """A patient and a sequence of frames during which the C-arm turned; (CT, proxy X-ray, browser, poses, camera)."""
    from cases import picture_of, sequence_node, small_patient
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose

    node, ct = small_patient()
    camera = Camera(1020.0, 192, 192, (1.9, 1.9))
    about = PoseRange(view_pose("AP", ct.centre_ras, 765.0), ct.centre_ras, (90, 90, 90), (60, 60, 60))
    poses = [about.pose(np.array([8.0 * n, -4.0, 2.0 * n, 3.0 * n, 5.0, -2.0 * n])) for n in range(COUNT)]
    xray, browser = sequence_node([picture_of(ct, camera, pose) for pose in poses], "run")
    xray_node.set_camera(xray, camera)
    panel.ui.ctSelector.setCurrentNode(node)
    panel.ui.xraySelector.setCurrentNode(xray)
    settle()
    return node, xray, browser, poses, camera


def worst(found, true, camera):
    """Largest distance in mm between where two poses put points around the patient in the camera."""
    points = np.array([[x, y, 765 + z, 1] for x in (-60, 60) for y in (-60, 60) for z in (-40, 40)], float).T
    return np.linalg.norm((np.linalg.inv(found) @ true @ points - points)[:3], axis=0).max()


def test_all_frames_become_a_sequence_of_transforms(panel, moving):
    from DiffPoseRegistrationLib.app import xray_facts, xray_node

    _ct, xray, browser, poses, camera = moving
    ui = panel.ui
    assert ui.allFramesCheckBox.enabled
    ui.allFramesCheckBox.checked = True
    start = poses[0].copy()
    start[:3, 3] += (6, -5, 8)
    xray_node.set_pose(xray, start)
    choose_start(panel, "CURRENT")
    said = []
    ui.registerButton.click()
    wait_for(lambda: ui.registerButton.text == "Cancel")
    panel.logic.jobs.eventHappened.connect(lambda event: said.append(ui.registerLabel.text))
    wait_for_job(panel)
    assert panel.logic.problem == "" and len(panel.logic.result) == COUNT
    assert any(f"Frame {COUNT} of {COUNT}" in text for text in said), said
    transform = xray_node.pose_node_of(xray)
    recorded = browser.GetSequenceNode(transform)
    assert recorded.GetNumberOfDataNodes() == COUNT
    # Whoever scrolls through the sequence sees each frame at its pose, with its own verdict.
    for number in (1, 0, 2):
        browser.SetSelectedItemNumber(number)
        settle()
        assert worst(xray_node.pose_of(xray), poses[number], camera) < 1.5
        assert xray_node.camera_of(xray) == camera
        verdict = panel.logic.result[number].verdict
        assert xray_facts.outcome_of(xray)["verdict"] == verdict
        assert ui.verdictLabel.text.lower().startswith(verdict)
    assert worst(poses[0], poses[1], camera) > 5  # the control: they are not alike


def test_cancelled_between_frames_keeps_what_was_found(panel, moving):
    from DiffPoseRegistrationLib.app import xray_facts, xray_node

    _ct, xray, browser, poses, _camera = moving
    panel.ui.allFramesCheckBox.checked = True
    xray_node.set_pose(xray, poses[0])
    choose_start(panel, "CURRENT")
    panel.ui.registerButton.click()
    wait_for(lambda: panel.logic.step == 2)
    panel.ui.registerButton.click()
    wait_for_job(panel)
    assert panel.logic.was_cancelled and panel.ui.registerLabel.text == "Cancelled." and not slicer.app.messages
    browser.SetSelectedItemNumber(0)
    settle()
    assert xray_facts.outcome_of(xray) is not None
    browser.SetSelectedItemNumber(2)
    settle()
    assert xray_facts.outcome_of(xray) is None and panel.ui.verdictLabel.text == "Not registered yet."
    assert panel.ui.registerButton.enabled


def test_a_single_image_is_no_sequence(panel, slicer_app, shared):
    from cases import load_case
    from DiffPoseRegistrationLib.errors import InputError
    from driving import choose, type_geometry

    case = load_case(shared, "skull_phantom-00")
    choose(panel, case)
    type_geometry(panel, case.camera)
    assert not panel.ui.allFramesCheckBox.enabled and "single image" in panel.ui.allFramesCheckBox.toolTip
    with pytest.raises(InputError, match="not a sequence"):
        panel.logic.registerFrames(case.ct, case.xray, initial=case.pose)


@pytest.fixture()
def biplane(panel):
    """A patient and two X-rays at right angles; (CT, X-rays, poses, camera)."""
    from cases import picture_of, small_patient, volume_node
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose

    node, ct = small_patient()
    camera = Camera(1020.0, 192, 192, (1.9, 1.9))
    about = PoseRange(view_pose("AP", ct.centre_ras, 765.0), ct.centre_ras, (180, 90, 90), (60, 60, 60))
    poses = [about.pose(np.array(c, float)) for c in ((5, -4, 2, 6, 5, -3), (93, 3, -2, -4, 10, 6))]
    xrays = []
    for n, pose in enumerate(poses):
        xray = volume_node(picture_of(ct, camera, pose)[None], np.diag([-1.0, -1.0, 1.0, 1.0]), f"view {n}")
        xray_node.set_camera(xray, camera)
        xrays.append(xray)
    panel.ui.ctSelector.setCurrentNode(node)
    panel.ui.xraySelector.setCurrentNode(xrays[0])
    settle()
    return node, xrays, poses, camera


def test_ticked_xrays_are_registered_together(panel, biplane):
    import qt
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.geometry import rigid

    _ct, xrays, poses, camera = biplane
    ui = panel.ui
    assert not ui.togetherCheckBox.enabled
    for row in range(2):
        ui.xrayTable.item(row, 0).setCheckState(qt.Qt.Checked)
    settle()
    assert ui.togetherCheckBox.enabled
    ui.togetherCheckBox.checked = True
    choose_start(panel, "CURRENT")
    assert not ui.registerButton.enabled and "no pose" in ui.registerButton.toolTip
    # The calibration: the cameras stand right to one another, but the patient is elsewhere.
    moved = rigid.se3_exp(np.array([0.05, -0.04, 0.06, 6, -7, 5]))
    for xray, pose in zip(xrays, poses):
        xray_node.set_pose(xray, moved @ pose)
    settle()
    assert ui.registerButton.enabled, ui.registerButton.toolTip
    assert worst(xray_node.pose_of(xrays[0]), poses[0], camera) > 10
    ui.registerButton.click()
    wait_for_job(panel)
    assert panel.logic.problem == "" and len(panel.logic.result) == 2
    found = [xray_node.pose_of(xray) for xray in xrays]
    for pose, true in zip(found, poses):
        assert worst(pose, true, camera) < 1.0
    between = np.linalg.inv(poses[0]) @ poses[1]
    assert np.allclose(np.linalg.inv(found[0]) @ found[1], between, atol=1e-4)
    assert [ui.xrayTable.item(row, 3).text() for row in range(2)] == ["Accept", "Accept"]


def test_cancelled_registration_puts_the_xrays_back(panel, biplane):
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.jobs import events

    ct, xrays, poses, _camera = biplane
    for xray, pose in zip(xrays, poses):
        xray_node.set_pose(xray, pose)
    panel.logic.registerTogether(ct, xrays, initial=poses[0], wait=False)
    shift = np.eye(4)
    shift[0, 3] = 25
    told = events.Progress(job="x", done=1, total=2, metrics={"camera_to_world_ras_mm": (shift @ poses[0]).tolist()})
    panel.logic.jobs.eventHappened.emit(told)  # as the worker tells on its way
    for xray, pose in zip(xrays, poses):
        assert np.allclose(xray_node.pose_of(xray), shift @ pose, atol=1e-3)
    panel.logic.cancel()
    wait_for_job(panel)
    if panel.logic.was_cancelled:  # else it had finished before
        for xray, pose in zip(xrays, poses):
            assert np.allclose(xray_node.pose_of(xray), pose, atol=1e-6)
    assert panel.ui.simulateButton.enabled
