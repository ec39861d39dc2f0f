"""The real tasks as jobs: killed, resumed, cancelled, one after the other in a warm worker."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.encoder.model_file import load_model
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.jobs import events
from DiffPoseRegistrationLib.jobs.files import is_temporary
from DiffPoseRegistrationLib.jobs.folder import create_job
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray, write_ct, write_xray_dicom

CAMERA = Camera(1020.0, 192, 192, (1.9, 1.9))
STEPS = 8

posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """(CT file, X-ray file, true pose, CT)"""
    folder = tmp_path_factory.mktemp("Patientin Ä")
    ct = phantom_ct(size=(80, 60, 80), spacing=4.0)
    pose = view_pose("AP", ct.centre_ras, 765.0)
    write_ct(folder / "ct.nrrd", ct)
    write_xray_dicom(folder / "xray.dcm", simulate_xray(ct, CAMERA, pose), CAMERA)
    return folder / "ct.nrrd", folder / "xray.dcm", pose, ct


@pytest.fixture(scope="module")
def warm():
    """A warm worker whose kernels are compiled, with the events of its job."""
    launcher = JobLauncher([sys.executable], warm=True, on_event=lambda event: launcher.seen.append(event))
    launcher.seen = []
    yield launcher
    launcher.close()


def _prepare(patient, place, **settings):
    ct_file, _, pose, _ = patient
    described = {
        "camera": CAMERA.to_json(),
        "centre_camera_to_world_ras_mm": pose,
        "rotation_deg": [20, 20, 10],
        "translation_mm": [30, 60, 30],
        "steps": STEPS,
        "seed": 3,
        "device": "cpu",
        **settings,
    }
    return create_job("prepare", {"ct": ct_file}, described, place)


def _register(patient, place, turn=0.05, **settings):
    ct_file, xray, pose, ct = patient
    start = rigid.update_pose(pose, np.array([turn, -0.03, 0.03, 4, 5, -4]), ct.centre_ras)
    described = {"initial_camera_to_world_ras_mm": start, **settings}
    return create_job("register", {"ct": ct_file, "xray": xray, "model": None}, described, place)


def _run(launcher, job, until=None, timeout_s=120):
    """Start the job; drain until ``until(event)`` holds for some event, or the job is over."""
    launcher.seen.clear()
    launcher.start(job.path)
    deadline = time.monotonic() + timeout_s
    while launcher.state.is_busy and not (until is not None and any(map(until, launcher.seen))):
        assert time.monotonic() < deadline
        launcher.drain()
        time.sleep(0.002)
    return launcher.state


def _learning(event):
    return isinstance(event, events.Progress) and event.metrics.get("images", 0) > 0


def _weights(job):
    network = load_model(job.result / "model.safetensors").network
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@posix
def test_prepare_killed_again_and_again_ends_as_if_it_had_not_been(patient, warm, tmp_path):
    whole = _prepare(patient, tmp_path / "whole")
    assert _run(warm, whole) is State.FINISHED, warm.last_event
    curve = json.loads((whole.result / "result.json").read_text(encoding="utf-8"))["training"]["curve"]
    assert curve[-1]["images"] == STEPS * 64

    job = _prepare(patient, tmp_path / "killed", checkpoint_seconds=0)
    for least in (2, 5):
        warm.seen.clear()
        warm.start(job.path)
        deadline = time.monotonic() + 60
        while (saved := job.checkpoints.latest()) is None or saved.step < least:
            assert warm.state.is_busy and time.monotonic() < deadline
            warm.drain()
            time.sleep(0.002)
        started = next(event for event in warm.seen if isinstance(event, events.Started))
        os.kill(started.pid, signal.SIGKILL)
        assert warm.wait(10) is State.FAILED
        assert not list(job.result.iterdir())
    assert job.status().state in ("failed", "interrupted")
    assert _run(warm, job) is State.FINISHED, warm.last_event
    resumed = [event.resumed_step for event in warm.seen if isinstance(event, events.Started)]
    assert resumed[0] >= 5
    assert torch.equal(_weights(job), _weights(whole))
    assert not [path for path in job.path.rglob("*") if is_temporary(path)]


def test_cancel_answers_within_a_second_while_training_and_the_training_goes_on_there(patient, warm, tmp_path):
    job = _prepare(patient, tmp_path, steps=2000)
    seconds = []
    while len(seconds) < 3 and not any(value < 1.0 for value in seconds):  # other programs may be in the way
        assert _run(warm, job, until=_learning) is State.RUNNING
        asked = time.monotonic()
        warm.cancel()
        assert warm.wait(10, 0.002) is State.CANCELLED and not warm.last_event.forced
        seconds.append(time.monotonic() - asked)
    assert min(seconds) < 1.0
    saved = job.checkpoints.latest()
    assert saved.step > 0
    preview = [event for event in warm.seen if isinstance(event, events.Preview)]
    assert all(event.file == "preview.json" for event in preview)
    assert _run(warm, job, until=_learning) is State.RUNNING
    progress = next(event for event in warm.seen if _learning(event))
    assert progress.metrics["images"] > 64 * saved.step
    warm.cancel()
    assert warm.wait(10) is State.CANCELLED


def test_cancel_answers_within_a_second_while_refining(patient, warm, tmp_path):
    def refining(event):
        return isinstance(event, events.Progress) and "refining" in event.metrics.get("text", "")

    job = _register(patient, tmp_path)
    if _run(warm, job, until=refining) is not State.RUNNING:
        pytest.skip("the refinement was over before it could be cancelled")
    asked = time.monotonic()
    warm.cancel()
    assert warm.wait(10, 0.002) in (State.CANCELLED, State.FINISHED)
    assert time.monotonic() - asked < 1.0


def test_a_second_registration_pays_for_nothing_again_and_shows_the_pose_on_its_way(patient, warm, tmp_path):
    _, _, true, _ = patient
    seconds = []
    for turn in (0.05, -0.06):
        job = _register(patient, tmp_path, turn, preview_px=64, pictures=False)
        assert _run(warm, job) is State.FINISHED, warm.last_event
        data = json.loads((job.result / "result.json").read_text(encoding="utf-8"))
        seconds.append(data["seconds"])
        found = read_pose(job.result / "pose.h5")
        assert pose_error(found, true, phantom_landmarks(), CAMERA).projection_error_mm < 1.0
        assert sorted(path.name for path in job.result.iterdir()) == ["pose.h5", "result.json"]
        told = [
            event.metrics.get("camera_to_world_ras_mm") for event in warm.seen if isinstance(event, events.Progress)
        ]
        poses = [np.array(pose) for pose in told if pose is not None]
        np.testing.assert_allclose(poses[-1], data["camera_to_world_ras_mm"], atol=1e-9)
        assert len(poses) > 1 and np.abs(poses[0] - poses[-1]).max() > 0.5
        drr = np.load(job.path / "preview.npy")
        assert drr.shape == (64, 64) and drr.dtype == np.float32 and drr.max() > 0.5
    assert seconds[1]["volume"] < 0.05 and seconds[1]["reading"] < 0.7
    assert len({event.pid for event in warm.seen if isinstance(event, events.Started)}) == 1


def test_many_x_rays_are_simulated_then_evaluated_and_what_is_done_is_not_done_again(patient, warm, tmp_path):
    ct_file, _, pose, ct = patient
    poses = np.stack([rigid.update_pose(pose, np.array([a, 0, 0, 0, 0, 0]), ct.centre_ras) for a in (0, 0.1)])
    settings = {"camera": CAMERA.to_json(), "camera_to_world_ras_mm": poses, "photons": 30000}
    job = create_job("simulate", {"ct": ct_file}, settings, tmp_path)
    first = job.result / "case-0000"
    first.mkdir(parents=True)
    (first / "truth.json").write_text("{}", encoding="utf-8")  # as if done by an attempt before
    assert _run(warm, job) is State.FINISHED, warm.last_event
    assert [path.name for path in first.iterdir()] == ["truth.json"]
    second = job.result / "case-0001"
    np.testing.assert_allclose(read_pose(second / "truth.json"), poses[1], atol=1e-9)

    inputs = {"ct": ct_file, "cases": [second], "models": None}
    evaluation = create_job("evaluate", inputs, {"perturb": [3, 5], "starts": 2, "mistake": 1}, tmp_path)
    row = {"ct": ct_file.name, "case": "case-0001", "start": 0, "tre_mm": 77.0, "seconds": 1.0, "verdict": "check"}
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
        ({"minutes": "two"}, "'minutes' is 'two'; give a number"),
        ({"steps": 0}, "'steps' is 0; give a whole number"),
        ({"device": "abacus"}, "abacus"),
        ({"camera": None}, "no setting 'camera'"),
        ({"camera": 5}, "setting 'camera'"),
        ({"centre_camera_to_world_ras_mm": [[1, 0], [0, 1]]}, "'centre_camera_to_world_ras_mm'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(patient, warm, tmp_path, settings, sentence):
    assert _run(warm, _prepare(patient, tmp_path, **settings)) is State.FAILED
    assert sentence in warm.last_event.error and warm.last_event.of_input


def test_a_command_as_a_job_is_resumed_by_the_same_command_and_by_jobs_resume(patient, tmp_path, capsys):
    ct_file, xray, _, _ = patient
    job, model = tmp_path / "job", tmp_path / "m.safetensors"
    command = ["prepare", "--ct", str(ct_file), "--xray", str(xray), "--steps", "3", "--device", "cpu"]
    command += [
        "--rotation",
        "20",
        "20",
        "10",
        "--translation",
        "30",
        "60",
        "30",
        "--job",
        str(job),
        "--out",
        str(model),
    ]
    assert main(command) == 0
    made = load_model(model)
    assert made.training["steps"] == 3 and (job / "result" / "model.safetensors").read_bytes() == model.read_bytes()
    model.unlink()
    assert main(command) == 0 and model.exists()  # what has finished is handed out again
    assert main([*command, "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert main(["jobs", "resume", str(job)]) == 2  # nothing to resume

    direct, by_job = tmp_path / "direct", tmp_path / "by job"
    command = ["register", "--ct", str(ct_file), "--xray", str(xray), "--model", str(model)]
    assert main([*command, "--out", str(direct)]) == 0
    assert main([*command, "--out", str(by_job), "--job", str(tmp_path / "job2")]) == 0
    np.testing.assert_allclose(read_pose(by_job / "pose.h5"), read_pose(direct / "pose.h5"), atol=1e-6)
    assert sorted(path.name for path in by_job.iterdir()) == ["overlay.png", "pose.h5", "result.json"]
    assert "Verdict" in capsys.readouterr().out
