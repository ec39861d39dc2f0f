"""What a running task may say and ask: progress, previews, warnings, checkpoints, and whether to stop."""

from __future__ import annotations

import contextlib
import math
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .. import errors
from . import events
from .checkpoint import CheckpointStore
from .files import atomic_file
from .folder import PREVIEW_STEM, JobFolder
from .remaining import RemainingTime

REPORT_INTERVAL_S = 0.1
STOP_LOOK_INTERVAL_S = 0.05


class StopRequest:
    """A wish to stop that any thread may utter once; ``reason`` is empty until then."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def request(self, reason: str) -> None:
        """Utter the wish; the first reason stays."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()


class JobContext:
    """Handed to ``workflow.tasks.run_task``.

    Attributes
    ----------
    folder, result_folder, checkpoint_folder
        Paths of the job; results are written under a temporary name and renamed (``files.atomic_file``).
    checkpoints
        ``save(step, write)`` and ``latest()`` in ``checkpoint_folder``.
    cache
        A dict that outlives the job in a warm worker: loaded volumes, models, renderers.
    attempt
        1 for the first time this job runs.
    """

    def __init__(
        self,
        job: JobFolder,
        job_id: str,
        emit: Callable[[events.Event], None],
        stop: StopRequest,
        cache: dict[str, Any],
        attempt: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder: Path = job.path
        self.result_folder: Path = job.result
        self.checkpoint_folder: Path = job.checkpoint
        self.checkpoints: CheckpointStore = job.checkpoints
        self.cache = cache
        self.attempt = attempt
        self._job = job
        self._job_id = job_id
        self._emit = emit
        self._stop = stop
        self._clock = clock
        self._remaining = RemainingTime(clock)
        self._held_metrics: dict[str, Any] = {}
        self._held_progress: tuple[float, float] | None = None
        self._last_report = self._last_preview = self._last_look = -math.inf

    def progress(self, done: float, total: float, metrics: Mapping[str, Any] | None = None) -> None:
        """Say that ``done`` of ``total`` steps are behind us, with numbers worth plotting.

        Cheap to call at each step: at most ten events a second go out, each with the newest value of every
        metric since the one before. The remaining time is worked out here.
        """
        if not (math.isfinite(done) and math.isfinite(total) and 0 <= done <= total):
            raise ValueError(f"progress {done} of {total}")
        self.note(metrics or {})
        self._held_progress = (float(done), float(total))
        if done >= total or self._clock() - self._last_report >= REPORT_INTERVAL_S:
            self.flush()

    def note(self, metrics: Mapping[str, Any]) -> None:
        """Numbers worth plotting that go out with the next progress."""
        self._held_metrics.update(metrics)

    def flush(self) -> None:
        """Send the progress that was held back, if any."""
        if self._held_progress is None:
            return
        done, total = self._held_progress
        metrics, self._held_metrics, self._held_progress = self._held_metrics, {}, None
        self._last_report = self._clock()
        self._emit(events.Progress(self._job_id, done, total, self._remaining.update(done, total), metrics))

    def preview(self, content: Any, name: str = f"{PREVIEW_STEM}.npy") -> bool:
        """Show a picture while the work goes on; returns False if it came too soon after the one before.

        ``content`` is bytes, a function that writes to the binary file it is given (called only if the
        preview is due), or a NumPy array, written as ``.npy``. At most ten a second are written.
        """
        if Path(name).stem != PREVIEW_STEM or Path(name).name != name:
            raise ValueError(f"a preview is named {PREVIEW_STEM}.*, not {name}")
        if self._clock() - self._last_preview < REPORT_INTERVAL_S:
            return False
        self._last_preview = self._clock()
        with contextlib.suppress(PermissionError):  # on Windows while the display reads the one before: skip it
            with atomic_file(self.folder / name, durable=False) as stream:
                if callable(content):
                    content(stream)
                elif isinstance(content, bytes | bytearray | memoryview):
                    stream.write(content)
                else:
                    _write_npy(stream, content)
            self._emit(events.Preview(self._job_id, name))
            return True
        return False

    def warning(self, text: str) -> None:
        """Tell the person something although the work goes on: one sentence."""
        self._emit(events.Warned(self._job_id, text))

    def cancelled(self) -> bool:
        """True once somebody wants the job to stop. Cheap: the stop file is looked for every 50 ms at most."""
        if not self._stop and self._clock() - self._last_look >= STOP_LOOK_INTERVAL_S:
            self._last_look = self._clock()
            if self._job.stop.exists():
                self._stop.request("stop file")
        return bool(self._stop)

    def raise_if_cancelled(self) -> None:
        """Raises ``errors.Cancelled`` if ``cancelled()``."""
        if self.cancelled():
            raise errors.Cancelled


def _write_npy(stream: BinaryIO, array: Any) -> None:
    """An array in the .npy format 1.0 (numpy.lib.format's documentation), without importing NumPy."""
    header = repr({"descr": array.dtype.str, "fortran_order": False, "shape": tuple(array.shape)}).encode("latin-1")
    prefix = b"\x93NUMPY\x01\x00"
    padding = -(len(prefix) + 2 + len(header) + 1) % 64
    header += b" " * padding + b"\n"
    stream.write(prefix + struct.pack("<H", len(header)) + header + array.tobytes(order="C"))
