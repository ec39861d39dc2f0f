"""Tasks of one job, or of several jobs one after another, whose results come into the scene."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..jobs import events
from ..jobs.folder import JobFolder
from ..jobs.launcher import State
from .job_control import JobControl, MakeInputs
from .signal import Signal

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One job of a task.

    make_inputs
        Writes the inputs, in a thread; or the folder of a job that was stopped and now goes on.
    finish
        Takes the folder of results, in the main thread; what it returns is the task's result so far.
    watch
        Called with each event of the job.
    undo
        Called if the job ends without a result: puts back what ``watch`` has changed.
    keeps_folder
        Whether the job's folder holds what is needed later: a model.
    """

    kind: str
    make_inputs: MakeInputs | JobFolder
    finish: Callable[[Path], Any]
    watch: Callable[[events.Event], None] | None = None
    undo: Callable[[], None] | None = None
    keeps_folder: bool = False


_BETWEEN = Step("", lambda folder: ({}, {}), lambda folder: None)  # a task that waits for its next job


class JobRunner:
    """Runs one task at a time.

    jobs
        The job under way, see :class:`~.job_control.JobControl`.
    result
        What the last task made; None if it made nothing.
    problem, was_cancelled
        Why the last task ended before its end, in a sentence; and whether a person wanted it so.
    step, steps
        Which of its jobs a task is at, from 1, and how many it has.
    done()
        Signal: a task has ended, its result (if any) is in the scene.
    """

    def __init__(self, jobs: JobControl | None = None) -> None:
        self.jobs = jobs or JobControl()
        self.done = Signal()
        self.result: Any = None
        self.problem, self.was_cancelled = "", False
        self.step = self.steps = 0
        self._current: Step | None = None
        self._coming: Iterator[Step] = iter(())
        self._is_last = False
        self.jobs.stateChanged.connect(self._on_state)
        self.jobs.eventHappened.connect(self._on_event)
        # The next job is not started from inside the end of the one before, which others are still being told of.
        self._soon = qt.QTimer()
        self._soon.setInterval(0)
        self._soon.setSingleShot(True)
        self._soon.connect("timeout()", self._advance)

    @property
    def is_busy(self) -> bool:
        """Whether a task is under way, be it between two of its jobs."""
        return self._current is not None

    def cancel(self) -> None:
        """Ask the task to stop; does nothing if none runs. What its finished jobs brought stays."""
        self._is_last = True  # also where the present job ends before it hears of it
        if self._soon.isActive():
            self._soon.stop()
            self._end(_("Cancelled."), was_cancelled=True)
        else:
            self.jobs.cancel()

    def close(self) -> None:
        """End what runs; nothing is called any more."""
        self._soon.stop()
        self._current = None
        self.jobs.close()

    def run(self, steps: Iterable[Step], count: int, wait: bool) -> Any:
        """Run ``count`` jobs; each is asked for when the one before has ended.

        Returns the last one's result; None with ``wait=False``.

        Raises
        ------
        InputError
            If a task is under way, or (with ``wait``) if it ends before its end.
        """
        if self.is_busy:
            raise InputError(_("A job is still running; cancel it or wait for it before starting another."))
        self._coming, self.step, self.steps, self._is_last = iter(steps), 0, count, False
        self.result, self.problem, self.was_cancelled = None, "", False
        self._start_next()
        if not wait:
            return None
        while self.is_busy:
            self.jobs.poll()
            slicer.app.processEvents()
            time.sleep(0.01)
        if self.problem:
            raise InputError(self.problem)
        return self.result

    def _start_next(self) -> None:
        step = next(self._coming)
        if isinstance(step.make_inputs, JobFolder):
            self.jobs.resume(step.kind, step.make_inputs)
        else:
            self.jobs.start(step.kind, step.make_inputs)
        self._current = step
        self.step += 1

    def _advance(self) -> None:
        try:
            self._start_next()
        except InputError as error:
            self._end(str(error))

    def _on_event(self, event: events.Event) -> None:
        if self._current is not None and self._current.watch is not None:
            self._current.watch(event)

    def _on_state(self, state: State) -> None:
        if state.is_busy or self._current is None:
            return
        if state is State.CANCELLED:
            self._end(_("Cancelled."), was_cancelled=True)
            return
        if state is State.FAILED:
            self._end(self.jobs.problem)
            return
        try:
            self.result = self._current.finish(self.jobs.folder.result)
        except InputError as error:
            self._end(str(error))
        except Exception as error:
            _log.exception("The result of a job could not be brought into the scene.")
            self._end(
                _("The result in {folder} could not be read ({error}).").format(
                    folder=self.jobs.folder.result, error=error
                )
            )
        else:
            if not self._current.keeps_folder:
                self.jobs.discard(self.jobs.folder)
            self._current = _BETWEEN
            if self.step == self.steps:
                self._end("")
            elif self._is_last:
                self._end(_("Cancelled."), was_cancelled=True)
            else:
                self._soon.start()

    def _end(self, problem: str, was_cancelled: bool = False) -> None:
        if problem and self._current is not None and self._current.undo is not None:
            self._current.undo()
        self._current, self._coming = None, iter(())
        self.problem, self.was_cancelled = problem, was_cancelled
        self.done.emit()
