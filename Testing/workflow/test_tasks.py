"""Whole tasks as jobs: from a job folder to the files in its result folder, in a worker process."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.jobs import events
from DiffPoseRegistrationLib.jobs.context import JobContext, StopRequest
from DiffPoseRegistrationLib.jobs.folder import JobFolder, create_job
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.workflow import tasks

CAMERA = Camera(1020.0, 192, 192, (1.9, 1.9))


@pytest.fixture(scope="module")
def ct_file(tmp_path_factory):
    ct = phantom_ct(size=(80, 60, 80), spacing=4.0)
    image = sitk.GetImageFromArray(np.rint(ct.hounsfield).astype(np.int16))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.ijk_to_ras
    image.SetSpacing(ct.spacing_mm.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / ct.spacing_mm).ravel().tolist())
    path = tmp_path_factory.mktemp("ct") / "phantom.nrrd"
    sitk.WriteImage(image, str(path))
    return path, ct


@pytest.fixture(scope="module")
def launcher():
    launcher = JobLauncher(warm=True)
    yield launcher
    launcher.close()


def run(launcher, place, kind, inputs, settings):
    """(state, job folder, last event)"""
    job = create_job(kind, inputs, settings, place)
    launcher.start(job.path)
    return launcher.wait(120), job, launcher.last_event


def test_simulate_then_register(launcher, ct_file, tmp_path):
    path, ct = ct_file
    true = view_pose("AP", ct.centre_ras, 765.0)
    state, job, event = run(
        launcher,
        tmp_path,
        "simulate",
        {"ct": path},
        {"camera": CAMERA.to_json(), "camera_to_world_ras_mm": true.tolist(), "seed": 3},
    )
    assert state is State.FINISHED, event
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(job.result / "xray.nrrd")))
    assert picture.shape == (192, 192)

    start = rigid.update_pose(true, np.array([0.04, -0.03, 0.03, 4, 5, -4]), ct.centre_ras)
    state, registered, event = run(
        launcher,
        tmp_path,
        "register",
        {"ct": path, "xray": job.result / "xray.nrrd", "model": None},
        {
            "camera": CAMERA.to_json(),
            "polarity": "bright-is-air",
            "open_field": 60000.0,
            "initial_camera_to_world_ras_mm": start.tolist(),
        },
    )
    assert state is State.FINISHED, event
    data = json.loads((registered.result / "result.json").read_text(encoding="utf-8"))
    found = np.array(data["camera_to_world_ras_mm"])
    assert np.allclose(read_pose(registered.result / "pose.h5"), found, atol=1e-6)
    landmarks = phantom_landmarks()
    assert pose_error(found, true, landmarks, CAMERA).projection_error_mm < 1.0
    assert pose_error(start, true, landmarks, CAMERA).projection_error_mm > 5.0


@pytest.mark.parametrize(
    ("kind", "settings", "word"),
    [
        ("simulate", {}, "camera"),
        ("simulate", {"camera": {"rows": 5}, "camera_to_world_ras_mm": np.eye(4).tolist()}, "columns"),
        ("prepare", {"camera": CAMERA.to_json()}, "centre_camera_to_world_ras_mm"),
        ("register", {}, "xray"),
        ("pretrain", {}, "camera"),
    ],
)
def test_incomplete_jobs_fail_in_words(launcher, ct_file, tmp_path, kind, settings, word):
    state, job, event = run(launcher, tmp_path, kind, {"ct": ct_file[0]}, settings)
    assert state is State.FAILED
    assert word in event.error and "fault in the program" not in event.error
    assert not list(job.result.iterdir())


def test_a_computer_that_must_compile_first_says_so_once(monkeypatch, tmp_path):
    monkeypatch.setattr(tasks, "warm_up", lambda tell: tell("Compiling, be patient."))
    seen, cache = [], {}
    for _ in range(2):
        context = JobContext(JobFolder(tmp_path), "x", seen.append, StopRequest(), cache)
        with pytest.raises(InputError, match="no setting 'camera'"):
            tasks.run_task("simulate", {}, {}, context)
    assert [type(event) for event in seen] == [events.Progress]
    assert seen[0].metrics == {"text": "Compiling, be patient."} and seen[0].done == 0
