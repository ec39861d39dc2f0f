"""The Ljubljana reader against pictures and landmarks made by the data set's own definitions."""

from dataclasses import replace

import numpy as np
import pytest
from checks import likeness, pinhole, projected
from DiffPoseRegistrationLib.datasets.ljubljana import read_ljubljana
from miniatures import vessels, xreg_intrinsic


@pytest.fixture(scope="module")
def read(ljubljana):
    return read_ljubljana(ljubljana.path)


@pytest.fixture(scope="module")
def volume(read):
    return read.subjects[0].read_ct()


def test_subjects_and_frames(read, ljubljana):
    frames = {subject.name: [frame.name for frame in subject.frames] for subject in read.subjects}
    assert frames == {"subject01": ["ap", "lat"], "subject02": ["ap", "lat"]}
    frontal = read_ljubljana(ljubljana.path, ("ap",))
    assert [[frame.name for frame in subject.frames] for subject in frontal.subjects] == [["ap"], ["ap"]]
    assert list(frontal.priors) == ["ap"]


@pytest.mark.parametrize("subject", [0, 1])
def test_landmarks_fall_where_the_file_says(read, ljubljana, subject):
    plan = ljubljana.plan
    principal = tuple((n - 1) / 2 + d for n, d in zip((plan.columns, plan.rows), plan.principal_point_shift_px))
    intrinsic = xreg_intrinsic(plan.distance_mm, plan.spacing_mm, principal)
    points = vessels(subject)[3]
    for frame in read.subjects[subject].frames:
        stored = pinhole(points, ljubljana.truth[f"subject0{subject + 1}/{frame.name}"], intrinsic)
        np.testing.assert_allclose(projected(frame), stored, atol=2e-3)


@pytest.mark.parametrize("view", [0, 1])
def test_picture_volume_and_pose_belong_together(read, volume, view):
    frame = read.subjects[0].frames[view]
    right = likeness(frame, volume)
    assert right > 0.999
    # Controls: the volume not mirrored, half a voxel off, the principal point on the wrong side, and 5 mm off.
    assert likeness(frame, replace(volume, hounsfield=volume.hounsfield[:, :, ::-1])) < 0.9
    assert likeness(frame, volume, 0.5 * volume.spacing_mm) < right - 1e-3
    column, row = frame.camera.principal_point_px
    other_side = (frame.camera.columns - 1 - column, row)
    assert likeness(replace(frame, camera=replace(frame.camera, principal_point_px=other_side)), volume) < 0.5
    assert likeness(frame, volume, (0, 0, 5)) < 0.95


def test_background_attenuates_nothing(volume):
    values = vessels(0)[0][::-1].transpose(2, 1, 0)
    assert (volume.hounsfield[values < 1000] == -1000).all()
    inside = values >= 1000
    np.testing.assert_allclose(volume.hounsfield[inside] + 1000, 1000 * values[inside] / values.max(), rtol=1e-5)


def test_what_is_brighter_than_the_background_counts_as_background(ljubljana, tmp_path):
    import shutil

    import h5py

    shutil.copy(ljubljana.path, tmp_path / "moved.h5")
    with h5py.File(tmp_path / "moved.h5", "r+") as file:
        file["subject01/proj-ap/pixels"][10:20, 10:20] = 0.99
    frame = read_ljubljana(tmp_path / "moved.h5").subjects[0].frames[0]
    attenuation = frame.read().attenuation
    assert (attenuation[10:20, 10:20] == attenuation.min()).all()


def test_the_priors_hold_the_poses(read, volume):
    for frame in read.subjects[0].frames:
        pose_range = read.priors[frame.view].pose_range(volume)
        turn = pose_range.centre[:3, :3].T @ frame.truth.camera_to_world[:3, :3]
        assert np.rad2deg(np.arccos((np.trace(turn) - 1) / 2)) < 15, frame.name
