"""Parallel loops, one at a time, and on one thread where waking another costs more than it helps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from numba import get_num_threads, set_num_threads

# Nanoseconds of work on one core. Waking the other threads and waiting for the last takes some 0.1 ms on an idle
# machine and milliseconds on a busy one: shorter loops are done before.
_WORTH_THREADS_NS = 1e6

# numba's simplest threading layer ends the process when two threads launch a parallel loop at once.
_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def launching(work_ns: float = float("inf")) -> Iterator[int]:
    """For the block that calls a parallel loop of about ``work_ns`` on one core; gives the number of its threads."""
    with _one_at_a_time:
        threads = get_num_threads()
        if threads == 1 or work_ns >= _WORTH_THREADS_NS:
            yield threads
            return
        set_num_threads(1)
        try:
            yield 1
        finally:
            set_num_threads(threads)
