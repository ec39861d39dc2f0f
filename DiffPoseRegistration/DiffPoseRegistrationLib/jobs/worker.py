"""The worker: does one job after the other in its own process and says on its event stream how it goes."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import queue
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import errors
from . import events, failures, lock
from .context import JobContext, StopRequest
from .description import JobDescription
from .files import is_temporary, write_json
from .folder import JobFolder
from .orders import Order, OrderReader
from .output import Announcer, captured
from .process import descendants

RESULT_NAME = "result.json"
TASKS_MODULE = "DiffPoseRegistrationLib.workflow.tasks"

# Exit codes of ``run``.
FINISHED, FAILED, REFUSED, CANCELLED = 0, 1, 2, 3

PARENT_GONE = "the program that started it is gone"
# So long a task that was asked to stop may take, to write a checkpoint; then its process is ended.
DEFAULT_GRACE_S = 5.0
DEFAULT_IDLE_S = 900.0
_UMASK_PRIVATE = 0o077


class Worker:
    """Runs jobs; ``cache`` is kept from one to the next."""

    def __init__(self, announcer: Announcer, tasks: str = TASKS_MODULE) -> None:
        self._announcer = announcer
        self._tasks = tasks
        self.cache: dict[str, Any] = {}

    def run(self, folder: Path, stop: StopRequest) -> int:
        """Run the job in ``folder`` to its end; returns an exit code and never raises for the job's sake."""
        job_id = folder.name
        try:
            with contextlib.ExitStack() as stack:
                try:
                    held = lock.FolderLock(folder)
                except lock.Held as error:
                    self._announce(events.Failed(job_id, str(error), refused=True))
                    return REFUSED
                stack.callback(held.release)
                attempt = _Attempt(JobFolder(folder), self._announcer, held)
                stack.callback(attempt.close)
                return attempt.run(self._tasks, self.cache, stop)
        except (OSError, errors.InputError) as error:  # the folder does not even take a lock or an event
            self._announce(failures.explain(error, job_id, folder))
            return FAILED

    def _announce(self, event: events.Event) -> None:
        self._announcer.write(events.line(event))


class _Attempt:
    """One attempt at one job, by the holder of its lock."""

    def __init__(self, job: JobFolder, announcer: Announcer, held: lock.FolderLock) -> None:
        self._job = job
        self._id = job.path.name
        self._announcer = announcer
        self._held = held
        self._history = events.read(job.path)
        self._file = events.EventFile(job.path)

    def close(self) -> None:
        self._file.close()

    def run(self, tasks: str, cache: dict[str, Any], stop: StopRequest) -> int:
        began = time.monotonic()
        umask = os.umask(_UMASK_PRIVATE) if self._job.is_private else None
        try:
            ending, code = self._outcome(tasks, cache, stop, began)
            self._end(ending)
            return code
        finally:
            if umask is not None:
                os.umask(umask)

    def _outcome(self, tasks: str, cache: dict[str, Any], stop: StopRequest, began: float) -> tuple[events.Event, int]:
        """(the last event, exit code) of the attempt."""
        try:
            description = JobDescription.read(self._job.path)
            self._id = description.id
            if any(isinstance(event, events.Finished) for event in self._history):
                sentence = f"This job has finished already, its results are in {self._job.result}; start a new job."
                return events.Failed(self._id, sentence, refused=True), REFUSED
            inputs = self._prepare_folder(description)
            context = self._context(cache, stop)
        except (errors.InputError, OSError) as error:
            return failures.explain(error, self._id, self._job.path), FAILED
        with captured(self._job.log, description.private_texts()) as log:
            log.write(f"--- attempt {context.attempt}, process {os.getpid()}\n")
            try:
                context.raise_if_cancelled()
                module = load_tasks(tasks)
                value = module.run_task(description.kind, inputs, dict(description.settings), context)
                context.flush()
                self._publish_results(value)
                return events.Finished(self._id, time.monotonic() - began), FINISHED
            except (errors.Cancelled, KeyboardInterrupt):
                with contextlib.suppress(OSError):
                    context.flush()
                return events.Cancelled(self._id, stop.reason), CANCELLED
            except Exception as error:
                with contextlib.suppress(OSError):
                    traceback.print_exc(file=log)
                if not isinstance(error, errors.InputError):
                    cache.clear()  # half-made objects, and the memory they hold
                return failures.explain(error, self._id, self._job.path), FAILED

    def _prepare_folder(self, description: JobDescription) -> dict[str, Any]:
        for folder in (self._job.result, self._job.checkpoint):
            if folder.is_symlink():
                raise errors.InputError(f"{folder} is a link out of the job folder; remove it.")
            folder.mkdir(exist_ok=True)
        self._job.remove_temporary()
        (self._job.result / RESULT_NAME).unlink(missing_ok=True)  # of an attempt that did not finish
        inputs = description.resolved_inputs(self._job.path)
        description.check_unchanged(self._job.path)
        return inputs

    def _context(self, cache: dict[str, Any], stop: StopRequest) -> JobContext:
        attempt = 1 + sum(isinstance(event, events.Started) for event in self._history)
        context = JobContext(self._job, self._id, self._emit, stop, cache, attempt)
        checkpoint = context.checkpoints.latest()
        self._emit(events.Started(self._id, attempt, os.getpid(), checkpoint.step if checkpoint else None))
        return context

    def _publish_results(self, value: Any) -> None:
        """Write what the task returned as result.json, unless it wrote one, and name every result file."""
        target = self._job.result / RESULT_NAME
        if isinstance(value, Mapping) and not target.exists():
            write_json(target, dict(value))
        for path in sorted(self._job.result.rglob("*")):
            if path.is_file() and not is_temporary(path):
                self._emit(events.Result(self._id, path.relative_to(self._job.path).as_posix()))

    def _emit(self, event: events.Event) -> None:
        self._file.append(event)
        self._announcer.write(events.line(event))

    def _end(self, event: events.Event) -> None:
        """Record the last event, give the folder free, and only then say so: who reads it may start anew."""
        with contextlib.suppress(OSError):  # disk full: the stream still carries the event
            self._job.stop.unlink(missing_ok=True)  # heeded, or too late
            if not (isinstance(event, events.Failed) and event.refused):
                self._file.append(event, durable=True)
        self._held.release()
        self._announcer.write(events.line(event))


def load_tasks(name: str) -> ModuleType:
    """The module with ``run_task(kind, inputs, settings, context)``; the heavy imports happen here.

    Raises InputError if a package is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.InputError(
            f"The Python package {error.name or error} is missing or broken; install it in the Environment section."
        ) from error


def run_one(
    folder: Path,
    *,
    tasks: str = TASKS_MODULE,
    owned: bool = False,
    parent: int | None = None,
    grace_s: float = DEFAULT_GRACE_S,
) -> int:
    """The ``run`` command. ``owned``: standard input carries orders and its end means that the parent is gone."""
    stop = StopRequest()
    worker = Worker(_set_up(stop.request, lambda: bool(stop)), tasks)
    if owned:

        def obey(order: Order) -> None:
            if order.name in ("cancel", "end"):
                stop.request("on request")

        def gone() -> None:
            stop.request(PARENT_GONE)
            _leave_after(grace_s)

        OrderReader(obey, gone, parent)
    return worker.run(folder, stop)


def serve(
    *,
    tasks: str = TASKS_MODULE,
    idle_s: float = DEFAULT_IDLE_S,
    parent: int | None = None,
    grace_s: float = DEFAULT_GRACE_S,
) -> int:
    """The ``serve`` command: a warm worker that takes orders until it is idle for ``idle_s`` or told to end."""
    waiting: queue.SimpleQueue[tuple[Path, StopRequest] | str] = queue.SimpleQueue()
    newest = [StopRequest()]

    def leave(reason: str) -> None:
        newest[0].request(reason)
        waiting.put(reason)

    announcer = _set_up(leave, lambda: bool(newest[0]))
    worker = Worker(announcer, tasks)

    def obey(order: Order) -> None:
        if order.name == "run":
            newest[0] = StopRequest()
            waiting.put((Path(order.folder), newest[0]))
        elif order.name == "cancel":
            newest[0].request("on request")
        else:
            leave("on request")

    def gone() -> None:
        leave(PARENT_GONE)
        _leave_after(grace_s)

    orders = OrderReader(obey, gone, parent)
    # What makes the first job quick too; whatever is wrong with it, that job will say so in its own words.
    with contextlib.suppress(Exception), captured(Path(os.devnull)):
        load_tasks(tasks)
    announcer.write(events.line(events.Ready("", os.getpid())))
    while not isinstance(item := _next(waiting, orders, idle_s), str):
        worker.run(*item)
        announcer.write(events.line(events.Ready("", os.getpid())))
    announcer.write(events.line(events.Ended("", item)))
    return FINISHED


def _next(
    waiting: queue.SimpleQueue[tuple[Path, StopRequest] | str], orders: OrderReader, idle_s: float
) -> tuple[Path, StopRequest] | str:
    """The next job, or why there will be none."""
    while True:
        try:
            return waiting.get(timeout=idle_s)
        except queue.Empty:
            if not orders.has_unread():  # on a busy machine an order may have come that nobody had time to read
                return "idle"


def _set_up(ask: Callable[[str], None], asked: Callable[[], bool]) -> Announcer:
    """Take standard output for events; let a signal ``ask`` for a clean stop, and a second one insist."""
    announcer = Announcer()
    with contextlib.suppress(ValueError, OSError):
        os.dup2(2, 1)  # stray prints between jobs are no events
        faulthandler.enable(file=2)

    def on_signal(number: int, frame: object) -> None:
        if asked():
            raise KeyboardInterrupt
        ask("interrupted")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return announcer


def _leave_after(grace_s: float) -> None:
    """The parent is gone: after a grace time for the task to stop, end this process and its children."""
    time.sleep(grace_s)
    if os.name != "nt":
        for child in descendants(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
    os._exit(CANCELLED)
