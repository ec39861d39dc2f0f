"""Jobs from inside Slicer: input files written in a thread, the worker followed by a timer."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError
from ..jobs.folder import TEMPORARY_PREFIX, JobFolder, make_job_folder
from ..jobs.launcher import JobLauncher, State
from ..jobs.worker import TASKS_MODULE
from .signal import Signal

_log = logging.getLogger(__name__)
_INTERVAL_MS = 40

# Writes the job's own input files into the folder it is given; returns (inputs, settings) of the job.
MakeInputs = Callable[[Path], tuple[Mapping[str, Any], Mapping[str, Any]]]


def worker_python() -> list[str]:
    """The command that starts Python for a worker: PythonSlicer in Slicer, else this Python."""
    found = shutil.which("PythonSlicer")
    return [found] if found else [sys.executable]


def worker_environment() -> dict[str, str]:
    """The environment for that Python: PythonSlicer sets up Slicer's paths again by itself."""
    return slicer.util.startupEnvironment() if shutil.which("PythonSlicer") else dict(os.environ)


def jobs_place() -> Path | None:
    """Where job folders go: beside the saved scene; None: a private temporary folder."""
    url = slicer.mrmlScene.GetURL()
    return Path(url).parent / "DiffPose" if url and Path(url).is_file() else None


class JobControl:
    """One job at a time.

    stateChanged(State), eventHappened(Event), failed(str)
        Signals; all come from inside :meth:`poll`, which the Qt event loop calls.
    """

    def __init__(self, python: list[str] | None = None, tasks: str = TASKS_MODULE) -> None:
        self.stateChanged, self.eventHappened = Signal(), Signal()
        self.kind = ""
        self._folder: JobFolder | None = None
        self.problem = ""
        self._python, self._tasks = python or worker_python(), tasks
        self._launcher = self._new_launcher()
        self._discarded: list[JobFolder] = []
        self._writer: threading.Thread | None = None
        self._written: Exception | bool | None = None
        self._state = State.IDLE
        self._timer = qt.QTimer()
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.connect("timeout()", self.poll)

    def renew_worker(self) -> None:
        """Let a worker that waits for the next job go; another one starts then."""
        if not self._state.is_busy:
            self._launcher.close()
            self._launcher = self._new_launcher()

    def _new_launcher(self) -> JobLauncher:
        return JobLauncher(
            self._python,
            environment=worker_environment(),
            warm=True,
            on_state=self._on_state,
            on_event=self.eventHappened.emit,
            on_output=lambda text: _log.debug("worker: %s", text),
            tasks=self._tasks,
        )

    @property
    def folder(self) -> JobFolder:
        """The folder of the job, or of the last one. Raises RuntimeError before the first."""
        if self._folder is None:
            raise RuntimeError("no job has been started yet")
        return self._folder

    @property
    def state(self) -> State:
        """Where the job stands."""
        return self._state

    def start(self, kind: str, make_inputs: MakeInputs) -> JobFolder:
        """Make a job folder, let ``make_inputs`` fill it in a thread, then start the worker.

        Raises
        ------
        InputError
            If a job is under way or no folder can be made.
        """
        if self._state.is_busy:
            raise InputError(_("A job is still running; cancel it or wait for it before starting another."))
        folder = make_job_folder(kind, jobs_place())
        self.kind, self._folder, self.problem, self._written = kind, folder, "", None

        def write() -> None:
            try:
                folder.input.mkdir()
                inputs, settings = make_inputs(folder.input)
                folder.describe(kind, inputs, settings)
                self._written = True
            except Exception as error:
                self._written = error

        self._enter(State.STARTING)
        self._writer = threading.Thread(target=write, name="job-inputs", daemon=True)
        self._writer.start()
        self._timer.start()
        return folder

    def resume(self, kind: str, folder: JobFolder) -> None:
        """Go on with a job that was stopped, from its last checkpoint.

        Raises
        ------
        InputError
            If a job is under way or the folder cannot be written.
        """
        if self._state.is_busy:
            raise InputError(_("A job is still running; cancel it or wait for it before starting another."))
        self.kind, self._folder, self.problem = kind, folder, ""
        self._launcher.start(folder.path)
        self._timer.start()

    def discard(self, folder: JobFolder) -> None:
        """Remove a finished job whose results are in the scene, if it lies in a temporary folder: as soon as the next
        job has taken over from it the files that have not changed, or with :meth:`close`."""
        if folder.path.name.startswith(TEMPORARY_PREFIX):
            self._discarded.append(folder)

    def _remove_discarded(self) -> None:
        kept = []
        for folder in self._discarded:
            try:
                folder.clean()
            except InputError as error:  # in use somewhere; it is tried again
                _log.debug("%s", error)
                kept.append(folder)
        self._discarded = kept

    def cancel(self) -> None:
        """Ask the job to stop; does nothing if none runs."""
        if not self._state.is_busy or self._state is State.CANCELLING:
            return
        if self._writer is not None:
            self._enter(State.CANCELLING)
        else:
            self._launcher.cancel()

    def poll(self) -> None:
        """Move on: called by the timer."""
        if self._writer is not None:
            if self._written is None:
                return
            self._writer = None
            self._remove_discarded()
            if self._state is State.CANCELLING:
                self._enter(State.CANCELLED)
            elif self._written is True:
                try:
                    self._launcher.start(self.folder.path)
                except InputError as error:
                    self._fail(error)
            elif isinstance(self._written, Exception):
                self._fail(self._written)
        self._launcher.drain()
        if not self._state.is_busy:
            self._timer.stop()

    def close(self) -> None:
        """The panel goes: nothing is called any more and the worker ends."""
        self._timer.stop()
        self._launcher.close()
        self._remove_discarded()
        self.stateChanged, self.eventHappened = Signal(), Signal()

    def _on_state(self, state: State) -> None:
        if state is State.FAILED:
            event = self._launcher.last_event
            # What is wrong with the input says by itself what to do.
            hint = "" if getattr(event, "of_input", False) else getattr(event, "hint", "")
            self.problem = " ".join(t for t in (getattr(event, "error", ""), hint) if t)
        # The launcher begins anew when the inputs are written; for the person the job has begun before.
        if not (state is State.STARTING and self._state is State.STARTING):
            self._enter(state)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, InputError):
            self.problem = str(error)
        else:
            _log.error("The job's inputs could not be written.", exc_info=error)
            self.problem = _("The job's files could not be written ({error}).").format(error=error)
        self._enter(State.FAILED)

    def _enter(self, state: State) -> None:
        self._state = state
        self.stateChanged.emit(state)
