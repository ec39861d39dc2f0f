"""What a person sees: real slice and 3D views, rendered offscreen, from the module's own scene code."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util


@pytest.fixture()
def pictures(tmp_path):
    """Where pictures go: DIFFPOSE_PICTURES if set, to be looked at."""
    folder = Path(os.environ.get("DIFFPOSE_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture()
def scene(slicer_app):
    """The generated case with the X-ray at its pose, and the views."""
    from DiffPoseRegistrationLib.app import sample_data, xray_node
    from doubles.views import Views

    views = Views(slicer_app.applicationLogic(), (400, 400))
    ct, xray, landmarks, reference = sample_data.make_phantom()
    xray_node.set_pose(xray, slicer.util.arrayFromTransformMatrix(reference), ct)
    landmarks.GetDisplayNode().SetVisibility(False)
    return views, ct, xray, landmarks


def render(views, ct, xray, mode, path, opacity=0.5):
    from DiffPoseRegistrationLib.app import overlay, xray_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct
    from DiffPoseRegistrationLib.app.drr import QuickDRR

    drr = QuickDRR(patient_ct(ct).volume())
    overlay.update_drr(xray, drr.render(xray_node.camera_of(xray), xray_node.pose_of(xray), 256))
    overlay.show_comparison(xray, mode, opacity, views.slice_node, views.composite)
    return views.slice_picture(path).astype(float).mean(axis=2)


def test_slice_view_shows_the_image_upright(scene, pictures):
    from DiffPoseRegistrationLib.app.overlay import Comparison

    views, ct, xray, _landmarks = scene
    shown = render(views, ct, xray, Comparison.FADE, pictures / "xray.png", opacity=0.0)
    image = slicer.util.arrayFromVolume(xray)[0].astype(float)
    rows = (np.arange(400) + 0.5) / 400 * 1.02 * 512 - 0.01 * 512  # the view shows 2 % more than the image
    index = np.clip(rows.astype(int), 0, 511)
    expected = image[np.ix_(index, index)]
    inner = slice(20, -20)

    def agreement(other):
        return np.corrcoef(np.log(other[inner, inner].ravel() + 1), shown[inner, inner].ravel())[0, 1]

    assert agreement(expected) > 0.9
    assert agreement(expected[::-1]) < 0.8
    assert agreement(expected[:, ::-1]) < 0.85


@pytest.mark.parametrize("mode", ["FADE", "CHECKERBOARD", "EDGES", "DIFFERENCE"])
def test_each_comparison_tells_a_wrong_pose(scene, pictures, mode):
    from DiffPoseRegistrationLib.app import overlay, xray_node

    views, ct, xray, _landmarks = scene
    mode = overlay.Comparison[mode]
    right = render(views, ct, xray, mode, pictures / f"{mode.value}.png")
    pose = xray_node.pose_of(xray)
    pose[:3, 3] += (12, 0, 12)
    xray_node.set_pose(xray, pose)
    wrong = render(views, ct, xray, mode, pictures / f"{mode.value}-wrong.png")
    assert right.std() > 2
    assert np.abs(right - wrong).mean() > 0.5
    if mode is overlay.Comparison.DIFFERENCE:
        assert wrong[20:-20, 20:-20].std() > 3 * right[20:-20, 20:-20].std()


def test_three_d_view_shows_the_carm_and_looks_along_the_rays(scene, pictures):
    from DiffPoseRegistrationLib.app import carm_model, xray_node

    views, ct, xray, landmarks = scene
    pose = xray_node.pose_of(xray)
    beam, plane = carm_model.show_carm(xray)
    camera = xray_node.camera_of(xray)
    middle = (pose @ [0, 0, 0.6 * camera.source_to_detector_mm, 1])[:3]
    views.show_volume_rendering(ct)
    views.camera_node.SetFocalPoint(*middle)
    views.camera_node.SetPosition(*(middle + np.array([1500, 700, 600])))
    views.camera_node.SetViewUp(0, 0, 1)
    shown = views.three_d_picture(pictures / "c-arm.png").astype(int)
    beam.GetDisplayNode().SetVisibility(False)
    plane.GetDisplayNode().SetVisibility(False)
    hidden = views.three_d_picture(pictures / "no-c-arm.png").astype(int)
    assert (np.abs(shown - hidden).max(axis=2) > 20).mean() > 0.02

    # From the source, each landmark lies on its pixel: the renderer's own projection says so.
    carm_model.look_from_source(xray, views.camera_node)
    carm_model.show_carm(xray)
    views.three_d_picture(pictures / "from-source.png")
    renderer = views._three_d.renderer
    for point in slicer.util.arrayFromMarkupsControlPoints(landmarks, world=True)[:6]:
        renderer.SetWorldPoint(*point, 1.0)
        renderer.WorldToDisplay()
        x, y, _depth = renderer.GetDisplayPoint()
        column, row = camera.project((np.linalg.inv(pose) @ [*point, 1])[:3])
        # The detector's height fills the view: 512 pixels over 400, rows downwards.
        assert abs((column + 0.5) / 512 * 400 - (x + 0.5)) < 1.5
        assert abs((row + 0.5) / 512 * 400 - (400 - (y + 0.5))) < 1.5
