"""The warm worker: the second job pays neither for starting nor for loading."""

import json
import os
import subprocess
import time

from DiffPoseRegistrationLib.jobs import events, process
from DiffPoseRegistrationLib.jobs.launcher import State
from waiting import PATIENCE_S, until, until_gone


def _result(job):
    return json.loads((job.result / "result.json").read_text(encoding="utf-8"))


def test_the_next_job_finds_the_same_worker_and_what_is_loaded(make_job, launch):
    launcher, pids = launch(warm=True), set()
    for number in range(4):
        job = make_job(steps=5)
        launcher.start(job.path)
        assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
        pids.add(_result(job)["pid"])
        assert _result(job)["found"] is (number > 0)
    assert len(pids) == 1


def test_cancelled_and_failed_jobs_leave_the_worker_warm(make_job, launch):
    launcher, pids = launch(warm=True), []
    long = make_job(steps=100_000, step_s=0.01)
    for job, expected in (
        (make_job(), State.FINISHED),
        (long, State.CANCELLED),
        (make_job(fault="input"), State.FAILED),
        (make_job(fault="bug"), State.FAILED),
        (make_job(), State.FINISHED),
    ):
        launcher.start(job.path)
        until(lambda: launcher.state is not State.STARTING, launcher.drain)
        pids.append(next(event.pid for event in events.read(job.path) if isinstance(event, events.Started)))
        if job is long:
            launcher.cancel()
        assert launcher.wait(PATIENCE_S) is expected
    assert len(set(pids)) == 1


def test_what_is_loaded_survives_a_mistake_of_the_person_but_not_a_fault(make_job, launch):
    launcher, found = launch(warm=True), []
    for fault in (None, "input", None, "memory", None):
        job = make_job(fault=fault, steps=2)
        launcher.start(job.path)
        launcher.wait(PATIENCE_S)
        if fault is None:
            found.append(_result(job)["found"])
    assert found == [False, True, False]


def test_a_warm_worker_that_crashed_is_replaced(make_job, launch):
    launcher = launch(warm=True)
    for fault, expected in ((None, State.FINISHED), ("crash", State.FAILED), (None, State.FINISHED)):
        job = make_job(fault=fault)
        launcher.start(job.path)
        assert launcher.wait(PATIENCE_S) is expected


def test_it_ends_when_idle_and_the_next_job_starts_another(make_job, launch):
    launcher, pid = launch(warm=True, idle_s=0.15), None
    for pause in (None, 0.13, 0.14, 0.15, 0.16, None):
        if pause is None and pid is not None:
            until_gone(pid)
        elif pause is not None:
            time.sleep(pause)  # not to wait for anything: to come at about the moment when it ends
        before, job = pid, make_job(steps=3)
        launcher.start(job.path)
        assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
        pid = _result(job)["pid"]
    assert pid != before


def test_it_ends_when_the_panel_closes(make_job, launch):
    launcher = launch(warm=True)
    job = make_job(steps=3)
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED
    pid = _result(job)["pid"]
    assert process.is_alive(pid)
    launcher.close()
    until_gone(pid)


def test_the_line_protocol_survives_garbage_and_ends_on_request(make_job, start_python):
    job = make_job(steps=3)
    orders = [b"", b"garbage", b"\xff\xfe", b'{"order": "dance"}', b'{"order": "run"}', b"[]", b"x" * 200_000]
    orders += [json.dumps({"order": "run", "folder": str(job.path)}).encode()]
    command = ["-m", "DiffPoseRegistrationLib.jobs", "serve", "--tasks", "pretend_tasks"]
    server = start_python(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdin.write(b"\n".join(orders) + b"\n")
    server.stdin.flush()
    seen = []
    while not seen or not isinstance(seen[-1], events.Finished):
        seen.append(events.parse(server.stdout.readline()))
    server.stdin.write(b'{"order": "end"}\n')
    server.stdin.flush()
    rest = [events.parse(text) for text in server.stdout.read().splitlines()]
    assert server.wait(PATIENCE_S) == 0
    assert isinstance(seen[0], events.Ready) and seen[0].pid == server.pid
    assert isinstance(rest[-1], events.Ended) and rest[-1].reason == "on request"


def test_a_missing_package_is_named(make_job, launch, tmp_path, monkeypatch):
    (tmp_path / "needy_tasks.py").write_text("import a_package_nobody_has\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    for warm in (False, True):
        launcher = launch(warm=warm, tasks="needy_tasks")
        launcher.start(make_job().path)
        assert launcher.wait(PATIENCE_S) is State.FAILED
        assert "a_package_nobody_has is missing" in launcher.last_event.error
