"""Trials of real work as background jobs: kills at random moments, and what a person at the panel waits for.

scripts/test --slow Testing/trials/test_job_trials.py -s        some ten minutes; the times are of a machine at rest
"""

import os
import random
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.model_file import load_model
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.jobs import events, lock, process
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from DiffPoseRegistrationLib.jobs.stream import environment_for_worker
from real_jobs import Patient, assert_nothing_is_half
from waiting import PATIENCE_S, until, until_gone

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")]

KILLS = 20
STEPS = 60
LAUNCHER = """
import sys
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher
launcher = JobLauncher()
launcher.start(sys.argv[1])
launcher.wait()
"""
COMMANDS = {
    "worker": ["-m", "DiffPoseRegistrationLib.jobs", "run"],
    "launcher": ["-c", LAUNCHER],
}


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    return Patient.write(tmp_path_factory.mktemp("Patientin Ä"))


@pytest.fixture
def launcher():
    made = JobLauncher(warm=True, grace_s=PATIENCE_S, on_event=lambda event: made.seen.append(event))
    made.seen = []
    yield made
    made.close()


def _described(patient, kind, place):
    if kind == "prepare":
        return patient.prepare(place, STEPS, checkpoint_seconds=0.2)
    return patient.register(place)


def _outcome(job, kind):
    """What the job found, as one array."""
    if kind == "register":
        return read_pose(job.result / "pose.h5")
    weights = load_model(job.result / "model.safetensors").network.state_dict().values()
    return torch.cat([value.flatten() for value in weights]).numpy()


def _start(who, job):
    return subprocess.Popen(
        [sys.executable, *COMMANDS[who], str(job.path)],
        env=environment_for_worker(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("who", list(COMMANDS))
@pytest.mark.parametrize("kind", ["prepare", "register"])
def test_killed_at_random_moments(patient, tmp_path, kind, who):
    """Item 1 on real work: after each kill no process is left, nothing is half, and going on ends in the very result
    of work that nobody disturbed."""
    whole = _described(patient, kind, tmp_path / "whole")
    began = time.monotonic()
    assert _start(who, whole).wait(PATIENCE_S) == 0
    length, expected = time.monotonic() - began, _outcome(whole, kind)
    rng, kills, finished, resumed, job = random.Random(3), 0, 0, set(), None
    while kills < KILLS or job is not None:
        job = job or _described(patient, kind, tmp_path / "killed")
        started = _start(who, job)
        if kills < KILLS:
            try:
                started.wait(rng.uniform(0, length))
            except subprocess.TimeoutExpired:
                kills += 1
        else:
            started.wait(PATIENCE_S)
        family = process.descendants(started.pid)
        started.kill()
        started.wait()
        until_gone(*family)
        assert not lock.is_held(job.path)
        assert_nothing_is_half(job)
        resumed |= {event.resumed_step for event in events.read(job.path) if isinstance(event, events.Started)}
        if job.status().state == "finished":
            np.testing.assert_array_equal(_outcome(job, kind), expected)
            finished, job = finished + 1, None
        else:
            assert job.status().resumable
    print(f"\n{kind}, {who} killed {kills} times: {finished} jobs ended in the undisturbed result")
    if kind == "prepare":
        print(f"resumed at steps {sorted(step for step in resumed if step)}")
        assert len(resumed) > 3


def _run(launcher, job, happened=None):
    launcher.seen.clear()
    launcher.start(job.path)
    until(
        lambda: not launcher.state.is_busy or (happened is not None and any(map(happened, launcher.seen))),
        launcher.drain,
    )
    return launcher.state


def _training(event):
    return isinstance(event, events.Progress) and event.metrics.get("images", 0) > 0


def _refining(event):
    return isinstance(event, events.Progress) and "refining" in event.metrics.get("text", "")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("prepare", {}),
        ("register", {"method": "lm"}),
        ("register", {"method": "adam-diffpose"}),
        ("register", {"method": "adam-xvr"}),
        ("register", {"method": "cma"}),
    ],
)
def test_cancel_answers_within_a_second(patient, launcher, tmp_path, kind, settings):
    """Item 2: in the middle of the work, at random moments."""
    rng, seconds, tries = random.Random(4), [], 0
    while len(seconds) < 5 and tries < 60:  # a registration may be over before it is cancelled
        tries += 1
        if kind == "prepare":
            job = patient.prepare(tmp_path, 100_000)
        else:
            job = patient.register(tmp_path, rng.uniform(0.05, 0.3), **settings)
        if _run(launcher, job, _training if kind == "prepare" else _refining) is not State.RUNNING:
            continue
        time.sleep(rng.uniform(0, 0.5 if kind == "prepare" else 0.05))
        launcher.drain()
        asked = time.monotonic()
        launcher.cancel()
        if launcher.wait(PATIENCE_S, 0.002) is State.CANCELLED:
            assert not launcher.last_event.forced
            seconds.append(time.monotonic() - asked)
    print(f"\ncancel, {kind} {settings}: {', '.join(f'{s:.2f}' for s in seconds)} s")
    # A registration is often over before it can be cancelled.
    assert len(seconds) >= (5 if kind == "prepare" else 1) and max(seconds) < 1.0


def test_the_panels_thread_is_never_held_up(patient, launcher, tmp_path):
    """Item 2: the wall clock of every call of an event loop into the launcher, over a training and its end."""
    job, slowest = patient.prepare(tmp_path, 100_000, checkpoint_seconds=0.5), {}

    def timed(call, *arguments):
        began = time.perf_counter()
        call(*arguments)
        slowest[call.__name__] = max(slowest.get(call.__name__, 0.0), time.perf_counter() - began)

    timed(launcher.start, job.path)
    until(lambda: any(map(_training, launcher.seen)), lambda: timed(launcher.drain))
    end = time.monotonic() + 5
    while time.monotonic() < end:
        timed(launcher.drain)
        time.sleep(0.02)
    timed(launcher.cancel)
    until(lambda: not launcher.state.is_busy, lambda: timed(launcher.drain))
    timed(launcher.close)
    print("\nslowest calls: " + ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in slowest.items()))
    assert max(slowest.values()) < 0.05


def test_a_warm_worker_takes_the_next_job_within_100_ms(patient, launcher, tmp_path):
    delays = []
    for _ in range(10):
        job = patient.register(tmp_path, pictures=False)
        submitted = time.time()
        assert _run(launcher, job) is State.FINISHED, launcher.last_event
        delays.append(launcher.seen[0].time - submitted)
    print(f"\ntaken after: median {1e3 * statistics.median(delays[1:]):.0f} ms, worst {1e3 * max(delays[1:]):.0f} ms")
    assert statistics.median(delays[1:]) < 0.1
