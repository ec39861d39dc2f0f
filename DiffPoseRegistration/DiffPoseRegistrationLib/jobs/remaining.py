"""How long it will still take, said only when it is known."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

# The rate is that of the newer half of the time so far, so that it follows a change of pace (another
# image size, another program on the machine) without jumping at each step.
_SHARE = 0.5
_MIN_S = 1.0
_MIN_REPORTS = 3


class RemainingTime:
    """Remaining seconds from what was done since this attempt began.

    The first report by which something was done only starts the clock: the time before it went into imports,
    compilation and reading, and the steps before it may come from an earlier attempt; neither says how fast the work
    goes now.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reports: deque[tuple[float, float]] = deque()
        self._total = self._first = self._latest = math.nan
        self._began = 0.0
        self._count = 0

    def update(self, done: float, total: float) -> float | None:
        """Report that ``done`` of ``total`` is behind us; returns the remaining seconds, or None: not known yet."""
        now = self._clock()
        if total != self._total or done < self._latest:  # another phase with its own pace
            self._total, self._first = total, done
        self._latest = done
        if done >= total:
            return 0.0
        if done == self._first:
            self._reports.clear()
            return None
        if not self._reports:
            self._began, self._count = now, 0
        self._reports.append((now, done))
        self._count += 1
        horizon = now - max((now - self._began) * _SHARE, _MIN_S)
        while len(self._reports) > _MIN_REPORTS and self._reports[1][0] <= horizon:
            self._reports.popleft()
        then, before = self._reports[0]
        if self._count < _MIN_REPORTS or now - self._began < _MIN_S or done <= before:
            return None
        return (total - done) * (now - then) / (done - before)
