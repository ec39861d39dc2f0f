"""The geometry wizard in the panel: a changed picture is named, nothing is changed by that, and Apply sets it right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util
from driving import choose_start, settle, wait_for, wait_for_job


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "lumbar_pelvis-00")


@pytest.fixture()
def changed(panel):
    """The panel with a small CT and an X-ray of it that lies on its side, its bright pixels said to be air; the X-ray;
    and its picture upright."""
    from cases import picture_of, small_patient, volume_node
    from DiffPoseRegistrationLib.app import xray_facts, xray_node
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.geometry.pose_range import view_pose

    node, ct = small_patient()
    camera = Camera(1020.0, 120, 120, (3.0, 3.0))
    picture = picture_of(ct, camera, view_pose("AP", ct.centre_ras, 714.0))
    xray = volume_node(40000 - np.rot90(picture, -1)[None], np.diag([-1.0, -1.0, 1.0, 1.0]), "X-ray")
    xray_node.set_camera(xray, camera)
    xray_facts.set_polarity(xray, "bright-is-air")
    panel.ui.ctSelector.setCurrentNode(node)
    panel.ui.xraySelector.setCurrentNode(xray)
    settle()
    return panel, xray, 40000 - picture


def test_checked_then_applied(changed):
    from DiffPoseRegistrationLib.app import xray_facts, xray_node

    panel, xray, upright = changed
    ui = panel.ui
    assert not ui.explainButton.enabled and "rough pose is needed" in ui.explainButton.toolTip
    choose_start(panel, "VIEW")
    assert ui.explainButton.enabled, ui.explainButton.toolTip
    before, camera = slicer.util.arrayFromVolume(xray).copy(), xray_node.camera_of(xray)
    ui.explainButton.click()
    wait_for(lambda: ui.explainButton.text == "Cancel")
    assert "check of the geometry" in ui.registerButton.toolTip
    wait_for_job(panel)
    said = ui.explainLabel.text
    assert "probably changed: turned by 90 degrees clockwise; grey values inverted" in said, said
    assert (
        "Apply will: turn the picture by 90 degrees counter-clockwise" in said and "set Bright pixels to Bone" in said
    )
    assert not ui.explainPicture.isHidden() and 400 < ui.explainPicture.pixmap.width() <= 480
    assert np.array_equal(slicer.util.arrayFromVolume(xray), before) and xray_node.camera_of(xray) == camera
    assert xray_facts.polarity_of(xray) == "bright-is-air" and xray_node.pose_node_of(xray) is None

    assert not ui.readSoButton.isHidden() and ui.readSoButton.enabled
    ui.readSoButton.click()
    settle()
    assert np.array_equal(slicer.util.arrayFromVolume(xray)[0], upright)
    assert xray_facts.polarity_of(xray) == "bright-is-bone" and ui.polarityComboBox.currentIndex == 2
    assert replace(xray_node.camera_of(xray), pixel_spacing_mm=(3.0, 3.0)) == camera
    assert "geometry check" in ui.geometryLabel.text
    assert ui.readSoButton.isHidden() and ui.explainPicture.isHidden() and not ui.explainLabel.text
    assert not slicer.app.messages


def test_the_check_can_be_cancelled(changed):
    panel, _xray, _upright = changed
    ui = panel.ui
    choose_start(panel, "VIEW")
    ui.explainButton.click()
    wait_for(lambda: "readings" in ui.explainLabel.text)
    assert not ui.explainProgressBar.isHidden()
    ui.explainButton.click()
    wait_for_job(panel)
    assert ui.explainLabel.text == "Cancelled." and ui.readSoButton.isHidden()
    assert ui.explainButton.text == "Check geometry" and ui.explainButton.enabled


def explanation_of(xray, change, camera, polarity=None):
    from DiffPoseRegistrationLib.app.explanation import XRayExplanation, state_of

    picture = np.zeros((4, 4, 3), np.uint8)
    return XRayExplanation(state_of(xray), True, change, change.words, 0.9, 0.2, None, polarity, camera, picture)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turned_deg", [0, 90, 180, 270])
def test_read_so_a_landmark_is_seen_where_it_was(case, mirrored, turned_deg):
    """By the truth of the other program's X-ray, here cut to an oblong whose principal point is not in its middle."""
    from cases import seen_at, volume_node
    from DiffPoseRegistrationLib.app import explanation, xray_node
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.imaging.picture_change import PictureChange

    camera = replace(case.camera, columns=case.camera.columns - 90)
    picture = slicer.util.arrayFromVolume(case.xray)[0][:, : camera.columns]
    inside = ((case.landmarks_px > 1) & (case.landmarks_px < [camera.columns - 2, camera.rows - 2])).all(axis=1)
    points, pixels = case.landmarks[inside], np.rint(case.landmarks_px[inside]).astype(int)
    assert len(points) > 3
    true = picture[pixels[:, 1], pixels[:, 0]]
    change = PictureChange(mirrored, turned_deg)
    stored = change.applied(picture)
    xray = volume_node(np.ascontiguousarray(stored)[None], np.diag([-1.0, -1.0, 1.0, 1.0]), "changed")
    xray_node.set_camera(xray, Camera(camera.source_to_detector_mm, *stored.shape, camera.pixel_spacing_mm))
    xray_node.set_pose(xray, case.pose)
    xray_node.set_reference(xray, case.pose)
    explanation.read_so(xray, explanation_of(xray, change, camera))
    assert np.allclose(xray_node.pose_of(xray), case.pose)
    assert np.allclose(slicer.util.arrayFromTransformMatrix(xray_node.reference_of(xray)), case.pose)
    columns, rows = np.rint(seen_at(xray, points)).astype(int).T
    now = slicer.util.arrayFromVolume(xray)[0]
    if mirrored:  # the picture stays so, and is seen from the other side
        assert xray_node.camera_of(xray).viewed_from != camera.viewed_from
    assert now.shape == picture.shape and np.array_equal(now, picture[:, ::-1] if mirrored else picture)
    assert np.array_equal(now[rows, columns], true)


def test_an_xray_that_changed_since_is_left_alone(case):
    from DiffPoseRegistrationLib.app import explanation, turning, xray_node
    from DiffPoseRegistrationLib.errors import InputError
    from DiffPoseRegistrationLib.imaging.picture_change import PictureChange

    xray_node.set_camera(case.xray, case.camera)
    found = explanation_of(case.xray, PictureChange(mirrored=True), case.camera)
    assert found.is_of(case.xray)
    turning.mirror(case.xray)
    assert not found.is_of(case.xray)
    before = xray_node.camera_of(case.xray)
    with pytest.raises(InputError, match="has changed since"):
        explanation.read_so(case.xray, found)
    assert xray_node.camera_of(case.xray) == before
