"""The launcher: starts jobs in a worker process, follows them, stops them. No Qt, no waiting.

``drain`` is called by a timer that whoever uses the launcher brings along (a QTimer of 20 to 100 ms, a loop
in a shell); all callbacks come from inside it, in the thread of the caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import events, orders, worker
from .folder import JobFolder
from .orders import Order
from .stream import WorkerStream, environment_for_worker

_log = logging.getLogger(__name__)

# One drain handles messages for at most this long; the rest waits for the next one.
_DRAIN_S = 0.02
# The order to cancel arrives at once; a worker that does not hear it is also told by the stop file.
_STOP_FILE_AFTER_S = 0.3
# An ended process whose output stays open (a grandchild has it) is given up after this long.
_LAST_LINES_S = 3.0
_KEPT_LINES = 50
# More is left where it is, so that a flood makes the worker wait rather than fill the memory.
_TURN_MESSAGES = 200


class State(str, Enum):
    """What the panel draws its buttons from."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_busy(self) -> bool:
        """True while a job is under way: it can be cancelled, and no other can be started."""
        return self in (State.STARTING, State.RUNNING, State.CANCELLING)


_NEXT = {
    State.IDLE: {State.STARTING},
    State.STARTING: {State.RUNNING, State.CANCELLING, State.FAILED, State.CANCELLED},
    State.RUNNING: {State.CANCELLING, State.FINISHED, State.FAILED, State.CANCELLED},
    State.CANCELLING: {State.FINISHED, State.FAILED, State.CANCELLED},
    **{state: {State.STARTING} for state in (State.FINISHED, State.FAILED, State.CANCELLED)},
}


class JobLauncher:
    """Runs one job at a time.

    Parameters
    ----------
    python
        The command that starts Python: PythonSlicer inside Slicer; this Python by default.
    environment
        The worker's environment, default this process's; see ``environment_for_worker``.
    warm
        Keep the worker for the next job, until it has been idle for ``idle_s`` seconds.
    grace_s
        After ``cancel``, or when this process is gone, the worker has so long to stop by itself; then its process
        tree is ended.
    on_state, on_event, on_output
        Called from ``drain`` with the new State, each Event of the job, each other line (text). What they
        raise is logged and otherwise ignored.
    tasks
        The module that does the work; another one only in tests.
    """

    def __init__(
        self,
        python: Sequence[str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        warm: bool = False,
        idle_s: float = worker.DEFAULT_IDLE_S,
        grace_s: float = worker.DEFAULT_GRACE_S,
        on_state: Callable[[State], None] | None = None,
        on_event: Callable[[events.Event], None] | None = None,
        on_output: Callable[[str], None] | None = None,
        tasks: str = worker.TASKS_MODULE,
    ) -> None:
        self._python = [sys.executable] if python is None else list(python)
        self._environment = environment_for_worker(environment)
        self._warm = warm
        self._idle_s = idle_s
        self._grace_s = grace_s
        self._on_state, self._on_event, self._on_output = on_state, on_event, on_output
        self._tasks = tasks
        self._state = State.IDLE
        self._job: JobFolder | None = None
        self._stream: WorkerStream | None = None
        self._leaving: list[WorkerStream] = []
        self._waiting: deque[events.Event | bytes | int | OSError] = deque()
        self._worker_pid: int | None = None
        self._kill_at: float | None = None
        self._stop_file_at: float | None = None
        self._exited_at: float | None = None
        self._sent_twice = False
        self._closed = False
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self.last_event: events.Event | None = None

    @property
    def state(self) -> State:
        """Where the job stands, as of the last ``drain``, ``start`` or ``cancel``."""
        return self._state

    @property
    def job(self) -> JobFolder | None:
        """The job that runs or ran last."""
        return self._job

    @property
    def _started(self) -> JobFolder:
        assert self._job is not None, "no job was started"
        return self._job

    def start(self, folder: Path) -> None:
        """Start or resume the job in ``folder``. Raises InputError while another one is under way."""
        if self._closed or self._state.is_busy:
            raise InputError("A job is still running; cancel it or wait for it before starting another.")
        self._job = JobFolder(Path(folder).absolute())
        try:
            self._job.stop.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{self._job.path} cannot be written ({error.strerror}); choose another place.") from error
        self._sent_twice = False
        self._kill_at = self._stop_file_at = self._exited_at = None
        self.last_event = None
        self._said.clear()
        self._send_off()
        self._enter(State.STARTING)

    def cancel(self) -> None:
        """Ask the job to stop; after the grace time its process tree is ended. Does nothing if none runs."""
        if not self._state.is_busy or self._state is State.CANCELLING:
            return
        self._kill_at = time.monotonic() + self._grace_s
        self._stop_file_at = time.monotonic() + _STOP_FILE_AFTER_S
        if self._stream is not None:
            self._stream.send(orders.line(Order("cancel")))
        self._enter(State.CANCELLING)

    def drain(self) -> None:
        """Handle what the worker has said since the last time. Never raises, never takes long by itself."""
        if self._closed:
            return
        time.sleep(0.001)  # a turn for the reader thread where the program around us seldom gives it one
        self._leaving = [stream for stream in self._leaving if not _ended(stream)]
        stream = self._stream
        if stream is None:
            return
        deadline = time.monotonic() + _DRAIN_S
        self._take_what_waits(stream)
        while self._waiting and time.monotonic() < deadline:
            message = self._waiting.popleft()
            if isinstance(message, events.Event):
                self._handle(message)
            elif isinstance(message, bytes):
                text = message.decode("utf-8", "replace").rstrip("\r\n")
                self._said.append(text)
                self._call(self._on_output, text)
            else:
                self._process_ended(message)
            if self._closed or self._stream is not stream:  # a callback closed us, or the worker has done its job
                return
        self._look_after_process()

    def wait(self, timeout_s: float | None = None, interval_s: float = 0.02) -> State:
        """Drain until the job is over (for shells and tests; a panel uses a timer); returns the state."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._state.is_busy and (deadline is None or time.monotonic() < deadline):
            self.drain()
            time.sleep(interval_s)
        return self._state

    def close(self) -> None:
        """The panel goes: no callback comes any more, and the worker stops by itself, forced after a grace time."""
        self._closed = True
        self._on_state = self._on_event = self._on_output = None
        for stream in (self._stream, *self._leaving):
            if stream is not None:
                stream.abandon()
        self._stream = None

    def _send_off(self) -> None:
        """Give the job to the waiting worker, or start one."""
        folder = str(self._started.path)
        order = orders.line(Order("run", folder))
        if self._warm and self._stream is not None and not self._stream.has_exited():
            self._stream.send(order)
            return
        if self._stream is not None:
            self._leaving.append(self._stream)
        common = ["--parent", str(os.getpid()), "--grace", str(self._grace_s), "--tasks", self._tasks]
        if self._warm:
            arguments = ["serve", "--idle", str(self._idle_s), *common]
        else:
            arguments = ["run", folder, "--owned", *common]
        self._worker_pid = None
        self._waiting.clear()
        self._stream = WorkerStream(self._python, arguments, self._environment)
        if self._warm:
            self._stream.send(order)

    def _take_what_waits(self, stream: WorkerStream) -> None:
        """Messages with events parsed; of several previews only the newest, for only its file is still there."""
        while len(self._waiting) < _TURN_MESSAGES:
            try:
                message = stream.messages.get_nowait()
            except queue.Empty:
                return
            event = events.parse(message) if isinstance(message, bytes) else None
            if isinstance(event, events.Preview):
                stale = next((item for item in self._waiting if isinstance(item, events.Preview)), None)
                if stale is not None:
                    self._waiting.remove(stale)
            self._waiting.append(event or message)

    def _enter(self, state: State) -> None:
        if state not in _NEXT[self._state]:
            raise AssertionError(f"{self._state} does not lead to {state}")
        self._state = state
        self._call(self._on_state, state)

    def _handle(self, event: events.Event) -> None:
        if isinstance(event, events.Ready | events.Started):
            self._worker_pid = event.pid
        if isinstance(event, events.Ready | events.Ended) or not self._state.is_busy:
            return
        self.last_event = event
        if isinstance(event, events.Started) and self._state is State.STARTING:
            self._enter(State.RUNNING)
        self._call(self._on_event, event)
        if isinstance(event, events.TERMINAL):
            self._over(State(event.name))

    def _over(self, state: State) -> None:
        """The job is over. A worker that did only this one now leaves; it is watched until it has."""
        if self._state is State.CANCELLING:
            with contextlib.suppress(OSError):
                self._started.stop.unlink(missing_ok=True)  # perhaps made at the very moment when the worker stopped
        self._kill_at = self._stop_file_at = None
        if not self._warm and self._stream is not None:
            self._stream.close_input()
            self._leaving.append(self._stream)
            self._stream = None
        if self._state is State.STARTING and state is State.FINISHED:
            self._enter(State.RUNNING)
        self._enter(state)

    def _process_ended(self, message: int | OSError) -> None:
        """The worker's process is gone; without a last word of the job this is how it ended."""
        self._stream = None
        if not self._state.is_busy:
            return
        if self._warm and message == 0 and self._state is State.STARTING and not self._sent_twice:
            self._sent_twice = True  # it had just ended for being idle when the order came: once more, with a new one
            self._send_off()
            return
        name = self._started.path.name
        if self._state is State.CANCELLING:
            self._end_for_worker(events.Cancelled(name, "the worker did not stop in time", forced=True))
        elif isinstance(message, OSError):
            python = " ".join(self._python)
            self._end_for_worker(
                events.Failed(
                    name,
                    f"The worker cannot be started with {python} ({message.strerror or message}).",
                    "Check that this Python exists and may be run.",
                )
            )
        else:
            said = f" Its last words: {self._said[-1]}" if self._said else ""
            self._end_for_worker(
                events.Failed(
                    name,
                    f"The worker ended unexpectedly (exit code {message}).{said}",
                    "Resume the job to go on from its last checkpoint; worker.log in its folder may say more.",
                )
            )

    def _end_for_worker(self, event: events.Event) -> None:
        """Say, and record in the folder, what the worker could not say any more."""
        threading.Thread(target=self._started.record_ending, args=(event,), name="last-word", daemon=True).start()
        self.last_event = event
        self._call(self._on_event, event)
        self._over(State(event.name))

    def _look_after_process(self) -> None:
        now = time.monotonic()
        if self._stream is None:
            return
        if self._stop_file_at is not None and now > self._stop_file_at:
            self._stop_file_at = None
            with contextlib.suppress(OSError):  # then the process tree is ended after the grace time
                self._started.stop.touch()
        if self._kill_at is not None and now > self._kill_at:
            self._kill_at = None
            worker_pid = self._worker_pid
            self._stream.kill(*(() if worker_pid in (None, self._stream.pid) else (worker_pid,)))
        if self._stream.has_exited():
            self._exited_at = self._exited_at or now
            if now - self._exited_at > _LAST_LINES_S and not self._waiting and self._stream.messages.empty():
                self._stream.kill()  # what it left behind holds its output open
                self._process_ended(-1)

    def _call(self, callback: Callable[[Any], None] | None, value: Any) -> None:
        if callback is None:
            return
        try:
            callback(value)
        except Exception:
            _log.exception("A callback of the job launcher failed; the job goes on.")


def _ended(stream: WorkerStream) -> bool:
    """Empty what a leaving worker still says, so that it can leave; True once it has."""
    while True:
        try:
            if not isinstance(stream.messages.get_nowait(), bytes):
                return True
        except queue.Empty:
            return stream.has_exited()
