"""A worker process and its output, read by a thread into a queue, so that a panel never waits for it."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import events
from .process import kill_group, kill_tree, spawn

PACKAGE = __package__ or "DiffPoseRegistrationLib.jobs"
_PACKAGE_FOLDER = Path(__file__).resolve().parents[2]
# So many lines may wait for the panel; then the reader waits too, and with it the worker.
_QUEUE_LINES = 20_000


def environment_for_worker(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """``environment`` (default: this process's) with what a worker needs: unbuffered UTF-8, and this package."""
    made = dict(os.environ if environment is None else environment)
    made.update(PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8", PYTHONUTF8="1")
    # OpenMP threads that spin while they wait make everything three times slower as soon as another program (Slicer
    # itself) wants a core.
    made.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    paths = [str(_PACKAGE_FOLDER), *filter(None, made.get("PYTHONPATH", "").split(os.pathsep))]
    made["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return made


class WorkerStream:
    """Starts ``python -m DiffPoseRegistrationLib.jobs ...`` and collects what it says.

    Starting, reading and ending happen in threads; no method waits. ``messages`` gives, in order, ``bytes``
    for each line, then at last one ``int`` (the exit code) or one OSError (it could not be started).
    """

    def __init__(self, python: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.messages: queue.Queue[bytes | int | OSError] = queue.Queue(_QUEUE_LINES)
        self._command = [*python, "-m", PACKAGE, *arguments]
        self._environment = environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unsent = b""
        self._input_closed = False
        self._killed = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="worker-stream", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The id of the started process, None before."""
        return None if self._process is None else self._process.pid

    def has_exited(self) -> bool:
        """True once the process has ended, although its last lines may still wait in ``messages``."""
        return self._process is not None and self._process.poll() is not None

    def send(self, content: bytes) -> None:
        """Write to the worker's standard input, now or as soon as it is there; silently lost if it has ended."""
        with self._lock:
            self._unsent += content
            self._flush()

    def close_input(self) -> None:
        """Tell the worker that its parent is gone: it stops cleanly, and ends within a grace time."""
        with self._lock:
            self._input_closed = True
            self._flush()

    def abandon(self) -> None:
        """Nobody will read ``messages`` any more: let the worker end by itself, and discard what it says."""
        self._abandoned = True
        self.close_input()

    def kill(self, *also: int) -> None:
        """End the process tree, and that of the process ids in ``also``, from a thread of its own."""
        with self._lock:
            self._killed = True
        if self.pid is not None and self.has_exited():
            kill_group(self.pid)
        elif self.pid is not None:
            also = (self.pid, *also)
        threading.Thread(target=_kill_trees, args=also, name="worker-kill", daemon=True).start()

    def _flush(self) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None  # ``spawn`` makes pipes
        with contextlib.suppress(OSError, ValueError):
            if self._unsent:
                process.stdin.write(self._unsent)
                process.stdin.flush()
                self._unsent = b""
            if self._input_closed:
                process.stdin.close()

    def _run(self) -> None:
        try:
            process = spawn(self._command, self._environment)
        except OSError as error:
            self.messages.put(error)
            return
        with self._lock:
            self._process = process
            self._flush()
            killed = self._killed
        if killed:  # it was to be ended before it was there
            kill_tree(process.pid)
        assert process.stdin is not None and process.stdout is not None
        with process.stdout:
            while text := process.stdout.readline(events.MAX_LINE_BYTES):
                self._put(text)
        self._put(process.wait())
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _put(self, message: bytes | int) -> None:
        while not self._abandoned:
            try:
                return self.messages.put(message, timeout=0.5)
            except queue.Full:
                continue


def _kill_trees(*pids: int) -> None:
    for pid in pids:
        kill_tree(pid)
