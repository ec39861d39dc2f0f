"""The DeepFluoro reader against pictures and landmarks made by the data set's own definitions."""

import numpy as np
import pytest
from checks import likeness, pinhole, projected
from DiffPoseRegistrationLib.datasets.deepfluoro import read_deepfluoro
from miniatures import body, xreg_intrinsic


@pytest.fixture(scope="module")
def read(deepfluoro):
    return read_deepfluoro(deepfluoro.path, structures="all")


def _frame(dataset, subject, name):
    return next(f for s in dataset.subjects if s.name == subject for f in s.frames if f.name == name)


def test_subjects_and_frames(read, deepfluoro):
    frames = {subject.name: [frame.name for frame in subject.frames] for subject in read.subjects}
    assert frames == {"17-1882": ["000", "001"], "18-2799": ["005"]}
    assert list(read.excluded) == ["17-1882/003"]
    everything = read_deepfluoro(deepfluoro.path, exclude=False)
    assert [f.name for f in everything.subjects[0].frames] == ["000", "001", "003"] and not everything.excluded


def test_splits_are_made_of_whole_subjects(read):
    held_out, development = set(read.splits["held-out"]), set(read.splits["development"])
    assert not held_out & development and len(held_out | development) == 6
    assert [subject.name for subject in read.chosen(names=("18-2799",))] == ["18-2799"]


@pytest.mark.parametrize(("subject", "name", "patient"), [("17-1882", "000", 0), ("17-1882", "001", 0),
                                                          ("18-2799", "005", 1)])  # fmt: skip
def test_landmarks_fall_where_the_file_says(read, deepfluoro, subject, name, patient):
    plan = deepfluoro.plan
    intrinsic = xreg_intrinsic(plan.distance_mm, plan.spacing_mm, ((plan.columns - 1) / 2, (plan.rows - 1) / 2))
    stored = pinhole(body(patient).landmarks, deepfluoro.truth[f"{subject}/{name}"], intrinsic)
    if plan.frames[subject][name][2]:  # the reader turns the picture by 180 degrees
        stored = np.array([plan.columns - 1, plan.rows - 1]) - stored
    np.testing.assert_allclose(projected(_frame(read, subject, name)), stored - 50, atol=2e-3)


@pytest.mark.parametrize("name", ["000", "001"])
def test_picture_ct_and_pose_belong_together(read, name):
    ct = read.subjects[0].read_ct()
    frame = _frame(read, "17-1882", name)
    right = likeness(frame, ct)
    assert right > 0.9999
    # Controls: without the correction of half a voxel (towards the patient's left, back and head), and 5 mm off.
    half = 0.5 * ct.spacing_mm * [-1, -1, 1]
    assert likeness(frame, ct, half) < right - 3e-4
    assert likeness(frame, ct, (5, 0, 0)) < 0.995


def test_a_picture_stored_upside_down_is_turned(read):
    """After that the patient's head is up: landmarks further up in the patient are further up in the picture."""
    for name in ("000", "001"):
        frame = _frame(read, "17-1882", name)
        height, row = frame.truth.landmarks_ras_mm[:, 2], projected(frame)[:, 1]
        assert np.corrcoef(height, row)[0, 1] < -0.9


def test_pictures_are_attenuation(read, deepfluoro):
    import h5py

    xray = _frame(read, "17-1882", "000").read()
    with h5py.File(deepfluoro.path) as file:
        stored = file["17-1882/projections/000/image/pixels"][50:-50, 50:-50]
    assert xray.attenuation.shape == (104, 112) and xray.mask.all()
    np.testing.assert_allclose(xray.attenuation - xray.attenuation.min(), np.log(stored.max() / stored), atol=1e-4)


def test_femurs_become_soft_tissue(read, deepfluoro):
    whole = read.subjects[0].read_ct().hounsfield
    ct = read_deepfluoro(deepfluoro.path).subjects[0].read_ct()
    changed = ct.hounsfield != whole
    below = np.arange(whole.shape[0]) < 0.16 * whole.shape[0] + 2
    assert changed.any() and not changed[~below].any()
    assert (ct.hounsfield[changed] == 50).all() and (whole[changed] > 50).all()
    assert (whole[:4] > 200).any() and not (ct.hounsfield[:4] > 200).any()


def test_the_prior_holds_the_poses_and_looks_from_behind(read):
    subject = read.subjects[0]
    ct = subject.read_ct()
    pose_range = read.priors["hip"].pose_range(ct)
    assert pose_range.centre[1, 3] < ct.centre_ras[1] - 700  # the source is behind the patient
    for frame in subject.frames:
        turn = pose_range.centre[:3, :3].T @ frame.truth.camera_to_world[:3, :3]
        assert np.rad2deg(np.arccos((np.trace(turn) - 1) / 2)) < 25
