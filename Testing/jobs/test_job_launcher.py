"""The launcher from idle to the end, with the worker as a real process."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pretend_tasks
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.jobs import events, lock, process
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from waiting import PATIENCE_S, until, until_gone


def _result(job):
    return json.loads((job.result / "result.json").read_text(encoding="utf-8"))


def test_a_job_runs_to_its_end_and_leaves_what_it_promised(make_job, launch):
    job, states, seen = make_job(), [], []
    launcher = launch(on_state=states.append, on_event=seen.append)
    assert launcher.state is State.IDLE
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
    assert states == [State.STARTING, State.RUNNING, State.FINISHED]
    kinds = [type(event) for event in seen]
    assert kinds[0] is events.Started and kinds[-1] is events.Finished
    assert {events.Progress, events.Preview, events.Result} <= set(kinds)
    assert seen[0].attempt == 1 and seen[0].resumed_step is None
    assert [event.file for event in seen if isinstance(event, events.Result)] == [
        "result/result.json",
        "result/sum.txt",
    ]
    last = [event for event in seen if isinstance(event, events.Progress)][-1]
    assert (last.done, last.total, last.eta_s) == (20, 20, 0.0)
    assert last.metrics == {"sum": 210, "loss": None}  # what is no number is not sent as one
    assert _result(job)["sum"] == 210 and pretend_tasks.is_whole(job.result / "sum.txt")
    assert [path.name for path in sorted(job.checkpoint.iterdir())] == ["step-0000000015", "step-0000000020"]
    assert job.status().state == "finished" and not lock.is_held(job.path)
    # The folder alone tells the same as the stream did.
    assert [type(event) for event in events.read(job.path)] == kinds
    assert (job.path / events.FILE_NAME).read_bytes().isascii()


def test_what_others_print_goes_to_the_log_and_no_private_name_with_it(make_job, launch, ct):
    job, lines = make_job(fault="garbage"), []
    launcher = launch(on_output=lines.append)
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
    log = job.log.read_text(encoding="utf-8", errors="replace")
    assert "native" in log and "half a line" in log and "reading <input>" in log
    assert "Müller" not in log and lines == []
    assert all("ller" not in path.name for path in job.path.rglob("*"))


@pytest.mark.parametrize(
    ("fault", "sentence", "hint"),
    [
        ("input", "The CT has only one slice; choose a volume.", "resume"),
        ("bug", "fault in the program (ZeroDivisionError)", "worker.log"),
        ("memory", "not enough memory", "smaller"),
        ("gpu memory", "not enough memory", "smaller"),
        ("crash", "ended unexpectedly", "Resume"),
    ],
)
def test_an_error_reaches_the_person_as_a_sentence(make_job, launch, fault, sentence, hint):
    job = make_job(fault=fault)
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert sentence in launcher.last_event.error and hint in launcher.last_event.hint
    assert "Traceback" not in launcher.last_event.error
    log = job.log.read_text(encoding="utf-8", errors="replace")
    if fault == "bug":
        assert "Traceback" in log and "while reading <input> of <input>" in log and "Müller" not in log
    if fault == "crash":
        assert "Segmentation fault" in log
    until(lambda: job.status().state == "failed")  # the launcher writes the crashed worker's last word in a thread
    assert sentence in job.status().problem


def test_cancel_keeps_the_checkpoint_and_the_job_resumes_there(make_job, launch, tmp_path):
    go = tmp_path / "go"
    job = make_job("prepare", steps=60, hold_at=17, go=str(go))
    launcher = launch()
    launcher.start(job.path)
    until(lambda: job.checkpoints.latest() and job.checkpoints.latest().step == 15, launcher.drain)
    launcher.cancel()
    assert launcher.state is State.CANCELLING
    assert launcher.wait(PATIENCE_S) is State.CANCELLED
    assert not launcher.last_event.forced
    assert job.status().state == "cancelled" and job.status().resumable and not job.stop.exists()
    go.touch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED
    assert _result(job)["sum"] == 1830 and _result(job)["first"] == 15
    assert events.read(job.path)[-1].name == "finished" and job.status().attempts == 2


def test_cancel_right_after_start(make_job, launch):
    job = make_job(steps=100_000, step_s=0.01)
    for pause in (0.0, 0.02, 0.06):
        launcher = launch()
        launcher.start(job.path)
        time.sleep(pause)  # not to wait for anything: to cancel at different moments of the start
        launcher.cancel()
        assert launcher.wait(PATIENCE_S) is State.CANCELLED
        assert not lock.is_held(job.path) and not launcher.last_event.forced


def test_a_stop_file_made_by_anybody_stops_the_job(make_job, launch):
    job = make_job(steps=100_000, step_s=0.01)
    launcher = launch()
    launcher.start(job.path)
    until(lambda: launcher.state is State.RUNNING, launcher.drain)
    job.request_stop()
    assert launcher.wait(PATIENCE_S) is State.CANCELLED
    assert launcher.last_event.reason == "stop file"


def test_a_stop_file_of_an_earlier_attempt_does_not_stop_the_next(make_job, launch):
    job = make_job()
    job.request_stop()
    launcher = launch()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED and not job.stop.exists()


def test_a_deaf_worker_is_ended_with_its_children_after_the_grace_time(make_job, launch):
    job, seen = make_job(fault="deaf"), []
    launcher = launch(grace_s=0.2, on_event=seen.append)
    launcher.start(job.path)
    until(lambda: any(isinstance(event, events.Warned) for event in seen), launcher.drain)
    started = next(event for event in seen if isinstance(event, events.Started))
    child = next(int(event.text.split()[1]) for event in seen if isinstance(event, events.Warned))
    assert process.is_alive(child)
    launcher.cancel()
    assert launcher.wait(PATIENCE_S) is State.CANCELLED
    assert launcher.last_event.forced
    until_gone(started.pid, child)
    until(lambda: job.status().state == "cancelled" and not lock.is_held(job.path))


def test_callbacks_that_raise_do_not_stop_the_draining(make_job, launch, caplog):
    job, calls = make_job(), []

    def raising(value):
        calls.append(value)
        raise RuntimeError("the panel's fault")

    launcher = launch(on_state=raising, on_event=raising, on_output=raising)
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED
    assert isinstance(calls[-1], State) and len(calls) > 5
    assert "the panel's fault" in caplog.text


def test_a_panel_that_closes_is_called_no_more_and_its_worker_ends(make_job, launch):
    job, calls = make_job("prepare", steps=100_000, step_s=0.01), []
    launcher = launch(on_state=calls.append, on_event=calls.append)
    launcher.start(job.path)
    until(lambda: any(isinstance(call, events.Progress) for call in calls), launcher.drain)
    pid = next(call.pid for call in calls if isinstance(call, events.Started))
    launcher.close()
    count = len(calls)
    until(lambda: not process.is_alive(pid), launcher.drain)
    assert len(calls) == count
    assert job.status().state == "cancelled" and job.status().resumable
    with pytest.raises(InputError):
        launcher.start(job.path)


def test_a_callback_may_close_the_launcher(make_job, launch):
    job, calls = make_job(), []
    launcher = launch(on_event=lambda event: (calls.append(event), launcher.close()))
    launcher.start(job.path)
    until(lambda: calls, launcher.drain)
    for _ in range(20):
        launcher.drain()
    assert len(calls) == 1


@pytest.mark.parametrize("warm", [False, True])
def test_a_callback_may_start_the_next_job(make_job, launch, warm):
    jobs, ended = [make_job(steps=3) for _ in range(4)], []

    def next_job(state):
        if not state.is_busy:
            ended.append(state)
            if jobs:
                launcher.start(jobs.pop().path)

    launcher = launch(warm=warm, on_state=next_job)
    launcher.start(jobs.pop().path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
    assert ended == [State.FINISHED] * 4


def test_a_second_worker_on_the_same_folder_is_refused(make_job, launch):
    job = make_job(steps=100_000, step_s=0.01)
    first, second = launch(), launch()
    first.start(job.path)
    until(lambda: first.state is State.RUNNING, first.drain)
    with pytest.raises(InputError, match="still running"):
        first.start(job.path)
    second.start(job.path)
    assert second.wait(PATIENCE_S) is State.FAILED
    assert second.last_event.refused and "already working on this job (process" in second.last_event.error
    first.drain()
    assert first.state is State.RUNNING  # and the first does not notice
    assert not any(isinstance(event, events.Failed) for event in events.read(job.path))
    first.cancel()
    assert first.wait(PATIENCE_S) is State.CANCELLED


def test_a_finished_job_is_not_run_again(make_job, launch):
    job, launcher = make_job(), launch()
    for expected in (State.FINISHED, State.FAILED):
        launcher.start(job.path)
        assert launcher.wait(PATIENCE_S) is expected
    assert launcher.last_event.refused and "finished already" in launcher.last_event.error
    assert job.status().state == "finished"


def test_a_python_that_does_not_exist(make_job):
    launcher = JobLauncher([str(Path("no such") / "python")])
    launcher.start(make_job().path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "cannot be started" in launcher.last_event.error
    launcher.close()


def test_a_python_that_prints_nonsense_and_ends(make_job, tmp_path, launch):
    if os.name == "nt":
        pytest.skip("needs a shell script")
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\nprintf '\\377\\376{\"event\": \"fini'; printf 'x%.0s' $(seq 2000); echo\n"
        'echo \'{"event": "progress", "version": 99}\'\necho no module here\nexit 7\n'
    )
    script.chmod(0o755)
    lines = []
    launcher = JobLauncher([str(script)], on_output=lines.append)
    launcher.start(make_job().path)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "exit code 7" in launcher.last_event.error and "no module here" in launcher.last_event.error
    assert len(lines) == 3
    launcher.close()


def test_the_callers_thread_is_never_held_up(make_job, launch):
    """Every call of a panel's event loop into the launcher, over starting, running, previews and cancelling: in
    processor time of the calling thread, which other programs do not take part in. A worker that hears nothing shows
    that no call waits for it (the wall clock of all this is a trial of its own)."""
    job, slowest, seen = make_job("prepare", steps=1_000_000, step_s=0.001), {}, []
    launcher = launch(on_event=seen.append)

    def timed(call, *arguments):
        began = time.thread_time()
        call(*arguments)
        slowest[call.__name__] = max(slowest.get(call.__name__, 0.0), time.thread_time() - began)

    timed(launcher.start, job.path)
    until(lambda: sum(isinstance(event, events.Preview) for event in seen) > 5, lambda: timed(launcher.drain))
    if os.name != "nt":
        worker = next(event.pid for event in seen if isinstance(event, events.Started))
        os.kill(worker, signal.SIGSTOP)
        for _ in range(20):
            timed(launcher.drain)
    timed(launcher.cancel)
    for _ in range(20):
        timed(launcher.drain)
    assert launcher.state is State.CANCELLING
    if os.name != "nt":
        os.kill(worker, signal.SIGCONT)
    until(lambda: not launcher.state.is_busy, lambda: timed(launcher.drain))
    timed(launcher.close)
    assert set(slowest) == {"start", "drain", "cancel", "close"} and max(slowest.values()) < 0.05, slowest


def test_one_turn_of_the_panel_takes_a_bounded_share_of_what_waits(make_job, launch):
    """A flood of events, each with work for the panel, is handled over many turns; none is lost, none out of order."""
    job, seen, turns = make_job(fault="flood", steps=1), [], []

    def show(event):
        seen.append(event)
        time.sleep(0.001)

    launcher = launch(on_event=show)
    launcher.start(job.path)
    until(job.result.joinpath("result.json").exists)  # everything waits by now
    while launcher.state.is_busy:
        before = len(seen)
        launcher.drain()
        turns.append(len(seen) - before)
    told = [event.text for event in seen if isinstance(event, events.Warned)]
    assert told == [str(number) for number in range(pretend_tasks.FLOOD)]
    assert isinstance(seen[-1], events.Finished) and max(turns) <= 25  # of a millisecond each


@pytest.fixture
def between(tmp_path):
    """A launcher between us and the real Python, as PythonSlicer is: it starts it as a child and waits."""
    if os.name == "nt":
        pytest.skip("needs a shell script")
    script = tmp_path / "Python Slicer"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o755)
    return [str(script)]


@pytest.mark.parametrize("warm", [False, True])
def test_through_a_launcher_in_between_everything_still_reaches_the_worker(make_job, launch, between, warm):
    launcher = launch(python=between, warm=warm)
    job = make_job()
    launcher.start(job.path)
    assert launcher.wait(PATIENCE_S) is State.FINISHED, launcher.last_event
    job = make_job(steps=100_000, step_s=0.01)
    launcher.start(job.path)
    until(lambda: launcher.state is State.RUNNING, launcher.drain)
    launcher.cancel()
    assert launcher.wait(PATIENCE_S) is State.CANCELLED and not launcher.last_event.forced
    seen, job = [], make_job(fault="deaf")
    launcher = launch(python=between, warm=warm, grace_s=0.3, on_event=seen.append)
    launcher.start(job.path)
    until(lambda: any(isinstance(event, events.Warned) for event in seen), launcher.drain)  # deaf from here on
    worker = seen[0].pid
    launcher.cancel()
    assert launcher.wait(PATIENCE_S) is State.CANCELLED and launcher.last_event.forced
    until_gone(worker)


def test_a_launcher_in_between_that_dies_alone_does_not_leave_the_worker_behind(make_job, launch, between):
    launcher, job = launch(python=between, grace_s=0.3), make_job(fault="deaf")
    launcher.start(job.path)
    until(lambda: job.status().attempts)
    worker = events.read(job.path)[0].pid
    (middle,) = (pid for pid in process.descendants(os.getpid()) if worker in process.descendants(pid))
    os.kill(middle, signal.SIGKILL)
    assert launcher.wait(PATIENCE_S) is State.FAILED
    assert "ended unexpectedly" in launcher.last_event.error
    until_gone(worker)
