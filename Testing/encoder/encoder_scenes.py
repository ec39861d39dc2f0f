"""A small CT with a camera and a range of poses, shared by the tests of the encoder."""

import numpy as np
from DiffPoseRegistrationLib.encoder.frame import PoseFrame
from DiffPoseRegistrationLib.encoder.lessons import TrainingBody
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0))
LANDMARKS = phantom_landmarks(2)


def small_ct(seed=2):
    return phantom_ct(seed, size=(80, 60, 80), spacing=4.0)


def range_of(ct, rotation=(25, 20, 15), translation=(40, 60, 40), **more):
    # An isocentre beside the CT's centre, so that forgetting the difference shows.
    isocentre = ct.centre_ras + np.array([15.0, -10.0, 25.0])
    return PoseRange(view_pose("AP", isocentre, 720.0), isocentre, rotation, translation, **more)


def body_of(ct, **more):
    return TrainingBody(ct, range_of(ct), LANDMARKS, **more)


def oblique_frame():
    """A frame whose centre pose sees the isocentre beside its axis."""
    pose_range = PoseRange(view_pose("LL", np.array([3.0, 4.0, 5.0]), 700.0), np.zeros(3), (30, 20, 10), (60, 120, 40))
    return pose_range, PoseFrame.of_range(pose_range)
