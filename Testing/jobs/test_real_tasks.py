"""The real tasks as jobs: killed, resumed, cancelled, one after the other in a warm worker."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.encoder.model_file import load_model
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.imaging.phantom import phantom_landmarks
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.jobs import events, process
from DiffPoseRegistrationLib.jobs.files import is_temporary
from DiffPoseRegistrationLib.jobs.folder import create_job
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from DiffPoseRegistrationLib.metrics.errors import pose_error
from real_jobs import CAMERA, Patient, assert_nothing_is_half
from waiting import PATIENCE_S, until, until_gone

STEPS = 8

posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")

# A launcher in a process of its own, to be killed.
LAUNCHER = """
import sys
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher
launcher = JobLauncher(grace_s=300.0)
launcher.start(sys.argv[1])
launcher.wait()
"""


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    return Patient.write(tmp_path_factory.mktemp("Patientin Ä"))


@pytest.fixture(scope="module")
def warm():
    """A warm worker whose kernels are compiled, with the events of its job."""
    launcher = JobLauncher(
        [sys.executable], warm=True, grace_s=PATIENCE_S, on_event=lambda event: launcher.seen.append(event)
    )
    launcher.seen = []
    yield launcher
    launcher.close()


def _run(launcher, job, happened=None):
    """Start the job; drain until ``happened(event)`` holds for some event, or the job is over."""
    launcher.seen.clear()
    launcher.start(job.path)
    until(
        lambda: not launcher.state.is_busy or (happened is not None and any(map(happened, launcher.seen))),
        launcher.drain,
    )
    return launcher.state


def _learning(event):
    return isinstance(event, events.Progress) and event.metrics.get("images", 0) > 0


def _weights(job):
    network = load_model(job.result / "model.safetensors").network
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@posix
def test_prepare_whose_worker_and_launcher_are_killed_ends_as_if_they_had_not_been(
    patient, warm, tmp_path, start_python
):
    whole = patient.prepare(tmp_path / "whole", STEPS)
    assert _run(warm, whole) is State.FINISHED, warm.last_event
    curve = json.loads((whole.result / "result.json").read_text(encoding="utf-8"))["training"]["curve"]
    assert curve[-1]["images"] == STEPS * 64

    job = patient.prepare(tmp_path / "killed", STEPS, checkpoint_seconds=0)

    def has_reached(step):
        saved = job.checkpoints.latest()
        return saved is not None and saved.step >= step

    warm.seen.clear()
    warm.start(job.path)
    until(lambda: has_reached(2), warm.drain)
    started = next(event for event in warm.seen if isinstance(event, events.Started))
    os.kill(started.pid, signal.SIGKILL)
    assert warm.wait(PATIENCE_S) is State.FAILED
    assert_nothing_is_half(job)
    assert not list(job.result.iterdir())
    until(lambda: job.status().state == "failed")

    launcher = start_python("-c", LAUNCHER, job.path, stderr=subprocess.DEVNULL)
    until(lambda: has_reached(5))
    family = process.descendants(launcher.pid)
    launcher.kill()
    launcher.wait()
    until_gone(*family)
    assert_nothing_is_half(job)
    assert not list(job.result.iterdir()) and job.status().state == "cancelled"

    assert _run(warm, job) is State.FINISHED, warm.last_event
    resumed = [event.resumed_step for event in warm.seen if isinstance(event, events.Started)]
    assert resumed[0] >= 5
    assert torch.equal(_weights(job), _weights(whole))
    assert not [path for path in job.path.rglob("*") if is_temporary(path)]


@posix
def test_register_whose_worker_is_killed_finds_the_pose_all_the_same(patient, warm, tmp_path):
    rng = random.Random(0)
    while True:  # a registration is so short that a kill may come too late: then another one
        job = patient.register(tmp_path)
        _run(warm, job, lambda event: isinstance(event, events.Progress))
        time.sleep(rng.uniform(0, 0.3))
        os.kill(warm.seen[0].pid, signal.SIGKILL)
        until_gone(warm.seen[0].pid)
        if warm.wait(PATIENCE_S) is State.FAILED:
            break
    assert "ended unexpectedly" in warm.last_event.error
    assert_nothing_is_half(job)
    until(lambda: job.status().state == "failed")
    assert _run(warm, job) is State.FINISHED, warm.last_event
    assert_nothing_is_half(job)
    found = read_pose(job.result / "pose.h5")
    assert pose_error(found, patient.pose, phantom_landmarks(), CAMERA).projection_error_mm < 1.0


def test_a_training_that_was_cancelled_goes_on_there(patient, warm, tmp_path):
    job = patient.prepare(tmp_path, 100_000)
    assert _run(warm, job, _learning) is State.RUNNING
    warm.cancel()
    assert warm.wait(PATIENCE_S) is State.CANCELLED and not warm.last_event.forced
    saved = job.checkpoints.latest()
    assert saved.step > 0
    preview = [event for event in warm.seen if isinstance(event, events.Preview)]
    assert all(event.file == "preview.json" for event in preview)
    assert _run(warm, job, _learning) is State.RUNNING
    progress = next(event for event in warm.seen if _learning(event))
    assert progress.metrics["images"] > 64 * saved.step
    warm.cancel()
    assert warm.wait(PATIENCE_S) is State.CANCELLED and not warm.last_event.forced


def test_a_second_registration_reads_nothing_again_and_shows_the_pose_on_its_way(patient, warm, tmp_path):
    ct_file = shutil.copy(patient.ct_file, tmp_path / "ct.nrrd")
    mine = dataclasses.replace(patient, ct_file=ct_file)
    for turn in (0.05, -0.06):
        job = mine.register(tmp_path, turn, preview_px=64, pictures=False)
        assert _run(warm, job) is State.FINISHED, warm.last_event
        data = json.loads((job.result / "result.json").read_text(encoding="utf-8"))
        found = read_pose(job.result / "pose.h5")
        assert pose_error(found, patient.pose, phantom_landmarks(), CAMERA).projection_error_mm < 1.0
        assert sorted(path.name for path in job.result.iterdir()) == ["pose.h5", "result.json"]
        told = [
            event.metrics.get("camera_to_world_ras_mm") for event in warm.seen if isinstance(event, events.Progress)
        ]
        poses = [np.array(pose) for pose in told if pose is not None]
        np.testing.assert_allclose(poses[-1], data["camera_to_world_ras_mm"], atol=1e-9)
        assert len(poses) > 1 and np.abs(poses[0] - poses[-1]).max() > 0.5
        drr = np.load(job.path / "preview.npy")
        assert drr.shape == (64, 64) and drr.dtype == np.float32 and drr.max() > 0.5
        _make_unreadable_unnoticed(ct_file)
    assert len({event.pid for event in warm.seen if isinstance(event, events.Started)}) == 1


def _make_unreadable_unnoticed(path):
    """Zeros instead of the content, with the file's size, number and time as they were."""
    state = path.stat()
    with path.open("r+b") as stream:
        stream.write(bytes(state.st_size))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_many_x_rays_are_simulated_then_evaluated_and_what_is_done_is_not_done_again(patient, warm, tmp_path):
    twists = np.array([[0, 0, 0, 0, 0, 0], [0.1, 0, 0, 0, 0, 0]])
    poses = np.stack([rigid.update_pose(patient.pose, twist, patient.ct.centre_ras) for twist in twists])
    settings = {"camera": CAMERA.to_json(), "camera_to_world_ras_mm": poses, "photons": 30000}
    job = create_job("simulate", {"ct": patient.ct_file}, settings, tmp_path)
    first = job.result / "case-0000"
    first.mkdir(parents=True)
    (first / "truth.json").write_text("{}", encoding="utf-8")  # as if done by an attempt before
    assert _run(warm, job) is State.FINISHED, warm.last_event
    assert [path.name for path in first.iterdir()] == ["truth.json"]
    second = job.result / "case-0001"
    np.testing.assert_allclose(read_pose(second / "truth.json"), poses[1], atol=1e-9)

    inputs = {"ct": patient.ct_file, "cases": [second], "models": None}
    evaluation = create_job("evaluate", inputs, {"perturb": [3, 5], "starts": 2, "mistake": 1}, tmp_path)
    row = {
        "ct": patient.ct_file.name,
        "case": "case-0001",
        "disturbance": "none",
        "start": 0,
        "tre_mm": 77.0,
        "seconds": 1.0,
        "verdict": "check",
    }
    known = {**row, **dict.fromkeys(("projection_error_mm", "rotation_deg", "in_plane_mm", "depth_mm"), 1.0)}
    evaluation.checkpoints.save(1, lambda f: (f / "rows.json").write_text(json.dumps([known]), encoding="utf-8"))
    assert _run(warm, evaluation) is State.FINISHED, warm.last_event
    rows = (evaluation.result / "trials.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3 and ",77.0," in rows[1] and ",77.0," not in rows[2]
    assert ["mistake" in e.text for e in warm.seen if isinstance(e, events.Warned)] == [True]
    summary = json.loads((evaluation.result / "summary.json").read_text(encoding="utf-8"))
    assert summary["overall"]["trials"] == 2 and summary["overall"]["success_2mm"] == 0.5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rotation_deg": [20, 20]}, "'rotation_deg' must be 3 numbers from 0 to 180"),
        ({"minutes": "two"}, "minutes is 'two'; give a number"),
        ({"steps": 0}, "steps is 0; give a number from 1"),
        ({"device": "abacus"}, "abacus"),
        ({"camera": None}, "no setting 'camera'"),
        ({"camera": 5}, "setting 'camera'"),
        ({"centre_camera_to_world_ras_mm": [[1, 0], [0, 1]]}, "'centre_camera_to_world_ras_mm'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(patient, warm, tmp_path, settings, sentence):
    assert _run(warm, patient.prepare(tmp_path, **{"steps": STEPS, **settings})) is State.FAILED
    assert sentence in warm.last_event.error and warm.last_event.of_input


def test_a_command_as_a_job_is_resumed_by_the_same_command_and_by_jobs_resume(patient, tmp_path, capsys):
    files = ["--ct", str(patient.ct_file), "--xray", str(patient.xray_file)]
    job, model = tmp_path / "job", tmp_path / "m.safetensors"
    how = ["--steps", "3", "--device", "cpu", "--rotation", "20", "20", "10", "--translation", "30", "60", "30"]
    command = ["prepare", *files, *how, "--job", str(job), "--out", str(model)]
    assert main(command) == 0
    made = load_model(model)
    assert made.training["steps"] == 3 and (job / "result" / "model.safetensors").read_bytes() == model.read_bytes()
    model.unlink()
    assert main(command) == 0 and model.exists()  # what has finished is handed out again
    assert main([*command, "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert main(["jobs", "resume", str(job)]) == 2  # nothing to resume

    direct, by_job = tmp_path / "direct", tmp_path / "by job"
    command = ["register", *files, "--model", str(model)]
    assert main([*command, "--out", str(direct)]) == 0
    assert main([*command, "--out", str(by_job), "--job", str(tmp_path / "job2")]) == 0
    np.testing.assert_allclose(read_pose(by_job / "pose.h5"), read_pose(direct / "pose.h5"), atol=1e-6)
    assert sorted(path.name for path in by_job.iterdir()) == ["overlay.png", "pose.h5", "result.json"]
    assert "Verdict" in capsys.readouterr().out
