"""A time budget: work that is broken off when it is spent."""

from __future__ import annotations

import time


class TimeUp(Exception):
    """The time budget is spent; whoever set it takes what was found by then."""


class Deadline:
    """Raises :class:`TimeUp` from :meth:`check` once ``seconds`` (None: never) have passed since it was made."""

    def __init__(self, seconds: float | None) -> None:
        self._end = float("inf") if seconds is None else time.perf_counter() + seconds

    def check(self) -> None:
        if time.perf_counter() >= self._end:
            raise TimeUp

    @property
    def seconds_left(self) -> float | None:
        """None if there is no limit."""
        return None if self._end == float("inf") else max(self._end - time.perf_counter(), 0.0)
