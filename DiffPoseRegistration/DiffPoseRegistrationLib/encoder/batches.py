"""Making the next batches while the network learns from this one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import numba
import torch

T = TypeVar("T")
_LOOK_SECONDS = 0.05


class BatchStream(Generic[T]):
    """Batches ``first``, ``first + 1``, ... made ahead by a thread.

    On two cores one makes batches and the other learns. Each is a single thread then: many small parallel loops, each
    of which waits for its slowest thread, were no faster, and on a busy machine much slower.

    Parameters
    ----------
    make
        The batch of a number; it must not depend on the batches before it.
    threads
        Of the renderer.
    ahead
        How many batches may wait.
    """

    def __init__(self, make: Callable[[int], T], first: int, threads: int, ahead: int = 2) -> None:
        self._made: queue.Queue[tuple[int, T | BaseException]] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._make, self._threads = make, threads
        self.making_seconds = 0.0
        self._thread = threading.Thread(target=self._run, args=(first,), name="batches", daemon=True)
        self._thread.start()

    def get(self, number: int, cancelled: Callable[[], bool]) -> T | None:
        """The batch ``number``, which is the next one. None: cancelled while waiting.

        Raises whatever making it raised.
        """
        while not cancelled():
            try:
                found, batch = self._made.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(batch, BaseException):
                raise batch
            if found != number:
                raise ValueError(f"batch {number} was asked for and batch {found} is next")
            return batch
        return None

    def close(self) -> None:
        """Stop making batches, and wait for the one that is being made."""
        self._closed.set()
        self._thread.join()

    def _run(self, number: int) -> None:
        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # made at run time
        numba.set_num_threads(min(self._threads, most))  # of this thread alone
        torch.set_num_threads(1)
        while not self._closed.is_set():
            started = time.perf_counter()
            try:
                made: T | BaseException = self._make(number)
            except BaseException as error:
                made = error
            self.making_seconds += time.perf_counter() - started
            while not self._closed.is_set():
                try:
                    self._made.put((number, made), timeout=_LOOK_SECONDS)
                    break
                except queue.Full:
                    continue
            if isinstance(made, BaseException):
                return
            number += 1
