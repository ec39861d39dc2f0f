"""``jobs list | show | resume | cancel | clean | diagnose``: the same as functions and as a command line."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import diagnose, events, lock, worker
from .description import JobDescription
from .folder import JobFolder, Status, find_jobs
from .launcher import JobLauncher, State
from .process import is_alive, kill_tree

# As the other commands of the tool: 130 for stopped by the person.
_EXIT = {State.FINISHED: 0, State.CANCELLED: 130}
_CTRL_C_LOOK_S = 0.1


@dataclass(frozen=True)
class JobSummary:
    """A job and how it stands; ``description`` is None if it cannot be read."""

    folder: JobFolder
    description: JobDescription | None
    status: Status

    def plain(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        made, status = self.description, self.status
        progress = status.progress
        return {
            "folder": str(self.folder.path),
            "id": made.id if made else None,
            "kind": made.kind if made else None,
            "created": made.created if made else None,
            "state": status.state,
            "attempts": status.attempts,
            "progress": {"done": progress.done, "total": progress.total, "metrics": progress.metrics}
            if progress
            else None,
            "problem": status.problem,
            "resumable": status.resumable,
        }


def show_job(folder: Path) -> JobSummary:
    """How the job in ``folder`` stands. Raises InputError if there is none."""
    found = find_jobs(folder)
    if [job.path for job in found] != [folder]:
        raise InputError(f"{folder} is not a job; choose one that 'jobs list' shows.")
    return _summary(found[0])


def list_jobs(place: Path) -> list[JobSummary]:
    """All jobs directly inside ``place`` (or at it), oldest first. Raises InputError if it is no folder."""
    return [_summary(job) for job in find_jobs(place)]


def run_job(
    folder: Path,
    *,
    python: Sequence[str] | None = None,
    on_event: Callable[[events.Event], None] | None = None,
    tasks: str = worker.TASKS_MODULE,
) -> tuple[State, events.Event | None]:
    """Run or resume the job in ``folder`` in a worker and wait for its end; Ctrl-C asks it to stop.

    Returns the last state and event. Raises InputError if the job cannot be run at all.
    """
    status = show_job(folder).status
    if not status.resumable:
        raise InputError(f"The job in {folder} is {status.state}: nothing to resume. {status.problem}".strip())
    launcher = JobLauncher(python, on_event=on_event, tasks=tasks)
    interrupted = threading.Event()  # heeded between the steps of the launcher, never in the middle of one
    previous = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, lambda number, frame: interrupted.set())
        launcher.start(folder)
        while launcher.state.is_busy:
            if interrupted.is_set():
                launcher.cancel()
            launcher.wait(_CTRL_C_LOOK_S)
        return launcher.state, launcher.last_event
    finally:
        signal.signal(signal.SIGINT, previous)
        launcher.close()


def cancel_job(folder: Path, *, grace_s: float = worker.DEFAULT_GRACE_S) -> State | None:
    """Ask the job in ``folder`` to stop, whoever started it, and end its process after ``grace_s``.

    Returns None if nobody was working on it, else CANCELLED. Raises InputError if the worker is on another computer
    and does not stop in time.
    """
    job = show_job(folder).folder
    holder = lock.holder(job.path)
    if holder is None and not lock.is_held(job.path):
        return None
    job.request_stop()
    deadline = time.monotonic() + grace_s
    while lock.is_held(job.path):
        if time.monotonic() > deadline:
            if holder is None or holder[1] != platform.node():
                where = "another computer" if holder is None else holder[1]
                raise InputError(f"The worker on {where} has not stopped yet; end it there, the stop request stays.")
            kill_tree(holder[0])
            while is_alive(holder[0]) and time.monotonic() < deadline + grace_s:
                time.sleep(0.02)
            job.record_ending(events.Cancelled(job.path.name, "the worker did not stop in time", forced=True))
            break
        time.sleep(0.02)
    return State.CANCELLED


def clean_job(folder: Path) -> list[Path]:
    """Remove the job in ``folder`` with everything it made; returns what it did not make and therefore left."""
    return JobFolder(folder).clean()


def add_jobs_command(subparsers: argparse._SubParsersAction) -> None:
    """Add ``jobs ...`` to a command line. The chosen function is ``options.run(options) -> exit code``."""
    parser = subparsers.add_parser(
        "jobs", help="list, show, resume, cancel or clean background jobs; diagnose this computer"
    )
    actions = parser.add_subparsers(dest="jobs_action", required=True, metavar="ACTION")
    for name, function, text in (
        ("list", _list, "all jobs in FOLDER and how they stand"),
        ("show", _show, "one job: what was asked, how far it is, what came out"),
        ("resume", _resume, "go on from the last checkpoint"),
        ("cancel", _cancel, "stop the job, whoever started it"),
        ("clean", _clean, "remove the job with its inputs, checkpoints, results and log"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("folder", type=Path, help="the job folder" if name != "list" else "where the jobs are")
        action.add_argument("--json", action="store_true", help="print JSON instead of words")
        if name == "cancel":
            action.add_argument(
                "--grace", type=float, default=worker.DEFAULT_GRACE_S, help="seconds before it is forced"
            )
        if name == "resume":
            action.add_argument("--tasks", default=worker.TASKS_MODULE, help=argparse.SUPPRESS)
        action.set_defaults(run=function)
    text = "what this Python can do for jobs: packages, GPU, where it can write"
    action = actions.add_parser("diagnose", help=text, description=text)
    action.add_argument("folder", type=Path, nargs="?", help="also try whether this folder can be written")
    action.add_argument("--json", action="store_true", help="print JSON instead of words")
    action.set_defaults(run=lambda options: diagnose.main(options.folder, as_json=options.json))


def print_event(event: events.Event) -> None:
    """One event as a line for people."""
    if isinstance(event, events.Started):
        resumed = "" if event.resumed_step is None else f", going on from step {event.resumed_step}"
        text = f"Started (attempt {event.attempt}{resumed})."
    elif isinstance(event, events.Progress):
        numbers = " ".join(f"{name}={_number(value)}" for name, value in event.metrics.items())
        left = "" if event.eta_s is None else f", {_duration(event.eta_s)} left"
        text = f"{event.done:g} of {event.total:g}{left} {numbers}".rstrip()
    elif isinstance(event, events.Warned):
        text = f"Warning: {event.text}"
    elif isinstance(event, events.Result):
        text = f"Result: {event.file}"
    elif isinstance(event, events.Failed):
        text = f"Failed: {event.error} {event.hint}".rstrip()
    elif isinstance(event, events.Cancelled):
        text = f"Cancelled ({event.reason})." if event.reason else "Cancelled."
    elif isinstance(event, events.Finished):
        text = f"Finished after {_duration(event.seconds)}."
    else:
        return
    print(text, flush=True)


def _summary(job: JobFolder) -> JobSummary:
    try:
        description = JobDescription.read(job.path)
    except InputError:
        description = None
    return JobSummary(job, description, job.status())


def _list(options: argparse.Namespace) -> int:
    jobs = list_jobs(options.folder)
    if options.json:
        print(json.dumps([job.plain() for job in jobs], indent=2))
        return 0
    if not jobs:
        print(f"There are no jobs in {options.folder}.")
    for job in jobs:
        progress = job.status.progress
        share = f"{progress.done / progress.total:.0%}" if progress and progress.total else ""
        print(f"{job.folder.path.name:40} {job.status.state:12} {share:>5}  {job.status.problem}".rstrip())
    return 0


def _show(options: argparse.Namespace) -> int:
    job = show_job(options.folder)
    if options.json:
        print(json.dumps(job.plain(), indent=2))
        return 0
    status = job.status
    print(f"Folder    {job.folder.path}")
    if job.description:
        print(f"Kind      {job.description.kind}, described {job.description.created}")
    print(f"State     {status.state}, {status.attempts} attempts")
    if status.progress:
        print("Progress  ", end="")
        print_event(status.progress)
    if status.problem:
        print(f"Problem   {status.problem}")
    if job.folder.result.is_dir():
        for path in sorted(job.folder.result.iterdir()):
            print(f"Result    {path}")
    if status.resumable:
        print(f"Resume    jobs resume {job.folder.path}")
    return 0


def _resume(options: argparse.Namespace) -> int:
    show: Callable[[events.Event], None] = print_event
    if options.json:

        def show(event: events.Event) -> None:
            print(events.line(event).decode("ascii"), end="", flush=True)

    state, _ = run_job(options.folder, on_event=show, tasks=options.tasks)
    return _EXIT.get(state, worker.FAILED)


def _cancel(options: argparse.Namespace) -> int:
    state = cancel_job(options.folder, grace_s=options.grace)
    text = "nobody was working on it" if state is None else "cancelled"
    print(json.dumps({"cancelled": state is not None}) if options.json else f"{options.folder}: {text}.")
    return 0


def _clean(options: argparse.Namespace) -> int:
    left = clean_job(options.folder)
    if options.json:
        print(json.dumps({"left": [str(path) for path in left]}))
    elif left:
        print(f"Removed the job; left in {options.folder}: {', '.join(path.name for path in left)}.")
    else:
        print(f"Removed {options.folder}.")
    return 0


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _duration(seconds: float) -> str:
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
