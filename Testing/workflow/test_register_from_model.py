"""A registration starts from everything that the network believes possible."""

import types

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, displaced, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.refinement.starts import Hypotheses
from DiffPoseRegistrationLib.refinement.views import View
from DiffPoseRegistrationLib.workflow.register import read_from, register
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray

CAMERA = Camera(1000.0, 96, 96, (3.0, 3.0))


@pytest.fixture(scope="module")
def scene():
    """A CT, where an X-ray was taken from, and the X-ray."""
    ct = phantom_ct(4, size=(80, 64, 80), spacing=4.0)
    truth = displaced(view_pose("AP", ct.centre_ras, 700.0), ct.centre_ras, np.deg2rad([4, -3, 2]), (6, -10, 4))
    image = simulate_xray(ct, CAMERA, truth, seed=1)
    return ct, truth, XRay(-np.log(image / 60000.0 + 1e-4), CAMERA)


class _Model:
    """Reads what it was told to."""

    def __init__(self, ct, poses, weights):
        self.pose_range = PoseRange(view_pose("AP", ct.centre_ras, 700.0), ct.centre_ras, (30, 30, 30), (60, 120, 60))
        self.camera, self.training = CAMERA, {}
        self._read = Hypotheses(np.stack(poses), np.array(weights))

    def require_ct(self, ct):
        pass

    def hypotheses(self, xray):
        return self._read


def test_a_hypothesis_that_is_believed_less_is_tried_too(scene):
    ct, truth, xray = scene
    near = displaced(truth, ct.centre_ras, np.deg2rad([3, 2, -3]), (5, 8, -4))
    far = displaced(truth, ct.centre_ras, np.deg2rad([20, 0, 170]), (0, 40, 30))
    found = register(ct, xray, model=_Model(ct, [far, near], [0.7, 0.3]))
    assert _apart_mm(found.views[0].camera_to_world, truth, ct) < 2
    # Control: the one that is believed most leads astray by itself.
    alone = register(ct, xray, model=_Model(ct, [far], [1.0]))
    assert _apart_mm(alone.views[0].camera_to_world, truth, ct) > 20 and alone.verdict != "accept"


def test_hypotheses_of_every_view_are_told_as_poses_of_the_first(scene):
    ct, truth, xray = scene
    other = displaced(truth, ct.centre_ras, np.deg2rad([0, 80, 0]), (0, 0, 0))
    from_first = rigid.inverse(truth) @ other
    views = [View.single(xray), types.SimpleNamespace(xray=xray, from_first=from_first)]
    sure, doubtful = _Model(ct, [truth], [1.0]), _Model(ct, [other, truth], [0.6, 0.4])
    model = types.SimpleNamespace(hypotheses=lambda _: next(read).hypotheses(None))
    read = iter([sure, doubtful])
    found = read_from(model, views)
    np.testing.assert_allclose(found.weights, [0.5, 0.3, 0.2])
    for pose, expected in zip(found.poses, [truth, truth, truth @ rigid.inverse(from_first)]):
        np.testing.assert_allclose(pose, expected, atol=1e-9)


def _apart_mm(pose, truth, ct):
    points = ct.centre_ras + 80 * np.concatenate([np.eye(3), -np.eye(3)])
    seen = [rigid.transform_points(rigid.inverse(one), points) for one in (pose, truth)]
    return np.linalg.norm(seen[0] - seen[1], axis=1).mean()
