"""What must not be lost: kills at random moments, full disks, folders that cannot be written, two at once.

After each fault: no process is left, no half file has a final name, and the job resumes or says why not.
"""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pretend_tasks
import pytest
from DiffPoseRegistrationLib.jobs import events, lock, process
from DiffPoseRegistrationLib.jobs.checkpoint import CheckpointStore
from DiffPoseRegistrationLib.jobs.files import is_temporary
from DiffPoseRegistrationLib.jobs.folder import JobFolder, create_job
from DiffPoseRegistrationLib.jobs.launcher import State
from waiting import PATIENCE_S, until, until_gone

KILLS = 20

# A launcher in a process of its own, to be killed: it says the worker's process id as soon as it knows it.
LAUNCHER = """
import sys, time
from DiffPoseRegistrationLib.jobs import events
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher
def say(event):
    if isinstance(event, events.Started):
        print(event.pid, flush=True)
launcher = JobLauncher(on_event=say, tasks="pretend_tasks", warm=sys.argv[2] == "warm")
launcher.start(sys.argv[1])
launcher.wait()
"""

posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL, file-size limits and mounts are POSIX")


def _newest_whole_step(job: JobFolder) -> int:
    newest = job.checkpoints.latest()
    return 0 if newest is None else newest.step


def _check_nothing_is_half(job: JobFolder) -> None:
    """Every file under a final name is whole, judged without the code that wrote it."""
    for path in job.path.rglob("*"):
        if path.is_dir() or any(is_temporary(part) for part in (path, *path.parents)):
            continue
        if path.name in ("result.json", "job.json", "state.json", "complete.json"):
            json.loads(path.read_text(encoding="utf-8"))
        elif path.name == "sum.txt":
            assert pretend_tasks.is_whole(path)
        elif path.name == "weights.bin":
            assert path.stat().st_size == 20_000 and (path.parent / "complete.json").exists()
        elif path.name == "preview.bin":
            assert path.read_bytes().startswith(b"picture ")


def _starts(job: JobFolder) -> list[events.Started]:
    return [event for event in events.read(job.path) if isinstance(event, events.Started)]


def _finish(job: JobFolder, launch) -> list[events.Event]:
    """Let the job come to its end, and check the sum that it makes."""
    steps = json.loads((job.path / "job.json").read_text(encoding="utf-8"))["settings"].get("steps", 20)
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
    assert json.loads((job.result / "result.json").read_text(encoding="utf-8"))["sum"] == steps * (steps + 1) // 2
    assert not [path for path in job.path.rglob("*") if is_temporary(path)]
    return events.read(job.path)


def _wait_for_a_random_moment(job: JobFolder, rng: random.Random, startup_s: float) -> None:
    """Some moment of an attempt: while its process starts, or among the steps that it does."""
    attempt = len(_starts(job))
    if rng.random() < 0.3:
        time.sleep(rng.uniform(0, startup_s))
        return
    until(lambda: len(_starts(job)) > attempt)
    more = _newest_whole_step(job) + rng.randrange(12)
    until(lambda: _newest_whole_step(job) >= more)
    time.sleep(rng.uniform(0, 0.01))


def _startup_seconds(start, job: JobFolder) -> float:
    """How long a process takes here and now until the work begins."""
    began = time.monotonic()
    started = start()
    until(lambda: _starts(job))
    started.kill()
    started.wait()
    return time.monotonic() - began


@posix
@pytest.mark.parametrize("kind", ["prepare", "register"])
def test_worker_killed_at_random_moments(make_job, launch, start_worker, kind):
    job, rng, steps = make_job(kind, steps=100_000, every=3, step_s=0.0005), random.Random(1), [0]
    startup_s = _startup_seconds(lambda: start_worker(job), job)
    for _ in range(KILLS):
        worker = start_worker(job)
        _wait_for_a_random_moment(job, rng, startup_s)
        worker.kill()
        worker.wait()
        assert not lock.is_held(job.path)
        _check_nothing_is_half(job)
        assert job.status().state == "interrupted"
        steps.append(_newest_whole_step(job))
    assert steps == sorted(steps) and len(set(steps)) > KILLS // 4  # nothing that was finished is lost
    attempts = len(_starts(job))
    _shorten(job, steps[-1] + 10)
    history = _finish(job, launch)
    last = [event for event in history if isinstance(event, events.Started)][-1]
    assert last.resumed_step == steps[-1] and last.attempt == attempts + 1


@posix
@pytest.mark.parametrize("mode", ["once", "warm"])
@pytest.mark.parametrize("kind", ["prepare", "register"])
def test_launcher_killed_at_random_moments(make_job, launch, start_python, kind, mode):
    job, rng, workers = make_job(kind, steps=100_000, every=3, step_s=0.0005), random.Random(2), set()

    def start():
        return start_python("-c", LAUNCHER, job.path, mode, stderr=subprocess.DEVNULL)

    startup_s = _startup_seconds(start, job)
    until(lambda: not lock.is_held(job.path))
    for _ in range(KILLS // 2):
        launcher = start()
        _wait_for_a_random_moment(job, rng, startup_s)
        launcher.send_signal(signal.SIGSTOP)  # so that it starts no worker between the next two lines
        os.waitpid(launcher.pid, os.WUNTRACED)
        workers |= set(process.descendants(launcher.pid))
        launcher.kill()
        launcher.wait()
        until_gone(*workers)
        assert not lock.is_held(job.path)
        _check_nothing_is_half(job)
        assert job.status().resumable
    assert workers >= {start.pid for start in _starts(job)[1:]} and _newest_whole_step(job) > 0
    _shorten(job, _newest_whole_step(job) + 10)
    _finish(job, launch)


def _shorten(job: JobFolder, steps: int) -> None:
    path = job.path / "job.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["settings"].update(steps=steps)
    path.write_text(json.dumps(data), encoding="utf-8")


@posix
def test_both_killed_at_once(make_job, start_python):
    job = make_job("prepare", steps=100_000, every=3, step_s=0.0005)
    launcher = start_python("-c", LAUNCHER, job.path, "once", stdout=subprocess.PIPE)
    worker = int(launcher.stdout.readline())
    os.kill(worker, signal.SIGKILL)
    launcher.kill()
    launcher.wait()
    until_gone(worker)
    assert job.status().state == "interrupted"
    _check_nothing_is_half(job)


@posix
def test_a_worker_that_ignores_the_loss_of_its_parent_is_ended_by_itself(make_job, start_python):
    job = make_job(fault="deaf")
    launcher = start_python("-c", LAUNCHER, job.path, "once", stdout=subprocess.PIPE)
    worker = int(launcher.stdout.readline())
    children = until(lambda: process.descendants(worker))
    launcher.kill()
    launcher.wait()
    until_gone(worker, *children)
    assert job.status().state == "interrupted"


@posix
def test_a_worker_whose_input_stays_open_still_misses_its_parent(make_job, start_python, start_worker):
    """As under PythonSlicer, a launcher that outlives Slicer and keeps the worker's input open."""
    job = make_job("prepare", steps=1_000_000, step_s=0.001)
    parent = start_python("-c", "import time; time.sleep(1000)")
    owned = ("--owned", "--parent", str(parent.pid), "--grace", str(PATIENCE_S))
    worker = start_worker(job, *owned, stdin=subprocess.PIPE)
    until(lambda: _starts(job))
    parent.kill()  # and not waited for: a zombie is gone as well
    assert worker.wait(PATIENCE_S) == 3
    assert events.read(job.path)[-1].reason == "the program that started it is gone"


def test_full_disk_then_room_again(make_job, launch, tmp_path):
    job = make_job(fault="full once", marker=str(tmp_path / "marker"))
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "disk is full" in launcher.last_event.error and "model.bin" in launcher.last_event.error
    assert "Free some space" in launcher.last_event.hint
    assert not list(job.result.iterdir())
    _finish(job, launch)


@posix
def test_a_really_full_disk(ct, tmp_path, launch):
    """On a file system of 512 KiB: while writing a result, and again with no room even for an event."""
    small = tmp_path / "small disk"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root; the injected failure is tested anyway")
    try:
        job = create_job("prepare", {"ct": ct}, {"fault": "fill"}, small)
        launcher = launch()
        launcher.start(job.path)
        assert launcher.wait(PATIENCE_S) is State.FAILED
        assert "disk is full" in launcher.last_event.error
        _check_nothing_is_half(job)
        assert list(job.result.iterdir()) == [] and job.status().resumable
        job = create_job("prepare", {"ct": ct}, {"steps": 200, "every": 2}, small)
        with (small / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
        launcher.start(job.path)
        assert launcher.wait(PATIENCE_S) is State.FAILED
        assert "disk is full" in launcher.last_event.error
        _check_nothing_is_half(job)
        (small / "ballast").unlink()
        _finish(job, launch)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_folder_that_cannot_be_written(make_job, launch):
    """Root may write anywhere, so the obstacle is one that stops root too: a file where a folder must be."""
    job = make_job()
    job.result.write_text("in the way")
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert str(job.result) in launcher.last_event.error
    job.result.unlink()
    (job.path / "events.jsonl").unlink()
    (job.path / "events.jsonl").mkdir()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED  # not even an event can be written: the stream still says why
    assert str(job.path) in launcher.last_event.error and not lock.is_held(job.path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "", "damaged"),
        (lambda text: "\x00" * len(text), "damaged"),
        (lambda text: "[" * 100_000, "damaged"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "newer DiffPose (format 2"),
        (lambda text: text.replace('"version": 1', '"version": "1"'), "no version number"),
        (lambda text: text.replace("DiffPose job", "recipe"), "does not describe a DiffPose job"),
        (lambda text: text.replace('"kind": "register"', '"kind": "rm -rf"'), "not known"),
        (lambda text: text.replace('"steps": 20', '"steps": NaN'), "damaged"),
        (lambda text: text.replace('"id": "', '"id": "../../'), "id"),
        (lambda text: text.replace('"settings": {', '"settings": [{').replace("20\n  }", "20\n  }]"), "settings"),
    ],
)
def test_a_damaged_description(make_job, launch, damage, sentence):
    job = make_job(steps=20)
    path = job.path / "job.json"
    text = path.read_text(encoding="utf-8")
    assert damage(text) != text
    path.write_text(damage(text), encoding="utf-8")
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert sentence in launcher.last_event.error, launcher.last_event
    assert job.status().state == "damaged" and not job.result.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        "../../etc/passwd",
        "input/../../x",
        "",
        "a\x00b",
        "a\nb",
        "input/x:stream",
        "C:x",
        "/dev/zero",
        "x" * 5000,
        "NUL",
    ],
)
def test_hostile_paths_are_refused(make_job, launch, hostile):
    job = make_job()
    path = job.path / "job.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["inputs"]["ct"] = hostile
    path.write_text(json.dumps(data), encoding="utf-8")
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert launcher.last_event.error.startswith("Input ct "), launcher.last_event


@posix
def test_links_out_of_the_folder_are_refused(make_job, launch, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    job = make_job()
    job.result.symlink_to(outside, target_is_directory=True)
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "link" in launcher.last_event.error and not list(outside.iterdir())
    (outside / "precious").write_text("keep")
    assert job.clean() == []
    assert (outside / "precious").exists() and not job.path.exists()


def test_an_input_that_changed_since_is_not_mixed_with_old_work(make_job, launch, ct):
    job = make_job()
    ct.chmod(0o644)
    ct.write_bytes(b"another patient")
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "has changed since" in launcher.last_event.error
    ct.unlink()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "is missing" in launcher.last_event.error


def test_a_half_event_and_garbage_in_the_file_are_passed_over(make_job, launch):
    job = make_job()
    whole = events.line(events.Started("x", 1, 1))
    (job.path / "events.jsonl").write_bytes(
        whole + b"\xff garbage\n{}\n[1]\n" + events.line(events.Warned("x", "a"))[:20]
    )
    assert job.status().state == "interrupted"
    history = _finish(job, launch)
    assert [type(event) for event in history[:2]] == [events.Started, events.Started]
    assert history[1].attempt == 2


def test_a_torn_checkpoint_is_passed_over(make_job, launch):
    job = make_job("prepare", steps=20, every=5)
    store = CheckpointStore(job.checkpoint)
    for step in (5, 10):
        state = json.dumps({"step": step, "total": step * (step + 1) // 2})
        store.save(step, lambda folder, state=state: (folder / "state.json").write_text(state))
    (job.checkpoint / "step-0000000010" / "state.json").write_bytes(b"\x00" * 24)  # as after a power cut
    history = _finish(job, launch)
    assert history[0].resumed_step == 5


def test_a_lock_file_left_by_a_dead_worker_is_no_obstacle(make_job, launch):
    job = make_job()
    Path(job.path / lock.FILE_NAME).write_text('{"pid": 1, "host": "elsewhere"}')
    assert not lock.is_held(job.path)
    _finish(job, launch)
