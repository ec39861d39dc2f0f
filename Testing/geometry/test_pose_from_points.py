"""The pose from landmark pairs, against poses and pixels that another program (plastimatch) stated."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_from_points import pose_from_points
from DiffPoseRegistrationLib.metrics.errors import target_registration_errors

CASES = [f"{ct}-0{n}" for ct in ("lumbar_pelvis", "skull_phantom", "thorax") for n in range(4)]


def case(shared, name):
    truth = json.loads((shared / "cases" / name / "truth.json").read_text(encoding="utf-8"))
    return (
        Camera.from_json(truth["camera"]),
        np.array(truth["camera_to_world_ras_mm"]),
        np.array(truth["landmarks_ras_mm"]),
        np.array(truth["landmarks_px"]),
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [4, 6, 20])
def test_finds_the_pose_of_another_program(shared, name, count):
    camera, pose, points, pixels = case(shared, name)
    chosen = np.random.default_rng(count).permutation(len(points))[:count]
    found, rms = pose_from_points(points[chosen], pixels[chosen], camera)
    assert target_registration_errors(found, pose, points).max() < 0.1
    assert rms < 0.01


def test_one_wrong_pair_shows(shared):
    """The control: a pair that does not belong together leaves a distance that no pose explains."""
    camera, pose, points, pixels = case(shared, CASES[0])
    wrong = pixels.copy()
    wrong[3] += (60, 0)
    found, rms = pose_from_points(points, wrong, camera)
    assert rms > 5
    assert target_registration_errors(found, pose, points).max() > 1


def test_points_marked_by_a_hand(shared):
    camera, pose, points, pixels = case(shared, CASES[7])
    marked = pixels + np.random.default_rng(0).normal(size=pixels.shape)
    found, rms = pose_from_points(points, marked, camera)
    assert target_registration_errors(found, pose, points).mean() < 3
    assert 0.5 < rms < 2


def test_seen_from_the_detector_and_non_square_pixels():
    camera = Camera(1000.0, 400, 300, (0.8, 0.5), (120.0, 230.0), viewed_from="detector")
    pose = rigid.se3_exp(np.array([0.3, 2.0, -1.0, 100, -600, 40]))
    in_camera = np.array([[-60, 20, 700], [40, -50, 720], [30, 60, 690], [-20, -30, 760], [5, 5, 650]], float)
    found, _rms = pose_from_points(rigid.transform_points(pose, in_camera), camera.project(in_camera), camera)
    assert np.allclose(found, pose, atol=1e-3)


def test_points_in_one_plane(shared):
    camera, pose, points, _pixels = case(shared, CASES[1])
    flat = points.copy()
    flat[:, 1] = points[:, 1].mean()
    pixels = camera.project(rigid.transform_points(rigid.inverse(pose), flat))
    found, _rms = pose_from_points(flat, pixels, camera)
    assert target_registration_errors(found, pose, points).max() < 0.1


def test_what_cannot_be_told_is_refused(shared):
    camera, _pose, points, pixels = case(shared, CASES[2])
    line = points[0] + np.outer(np.arange(5), [1.0, 2.0, 3.0])
    holes = points.copy()
    holes[0, 0] = np.nan
    for some, places in ((points[:3], pixels[:3]), (line, pixels[:5]), (holes, pixels), (points, pixels[:5])):
        with pytest.raises(InputError):
            pose_from_points(some, places, camera)
