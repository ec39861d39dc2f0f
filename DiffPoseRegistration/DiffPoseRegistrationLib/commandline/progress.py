"""Progress on the terminal: a bar with the remaining time, or plain lines where nobody looks at a bar."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

_BAR = 24
_MIN_INTERVAL_S = 0.1
_LINE_INTERVAL_S = 10.0


class TerminalProgress:
    """A callable ``progress(done, text, remaining_seconds)`` with ``done`` from 0 to 1.

    On a terminal, one line that is redrawn; elsewhere (a file, a pipe) a line every ten seconds and at the
    end. Use as a context manager, so that the line is closed also when the task fails.
    """

    def __init__(self, title: str = "", stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self._last = float("-inf")
        self._open = False
        # A Windows console of an old code page cannot show block characters.
        encoding = (getattr(self._stream, "encoding", None) or "ascii").lower()
        self._full, self._empty = ("█", "░") if "utf" in encoding else ("#", ".")

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, done: float, text: str = "", remaining_seconds: float | None = None) -> None:
        now = time.monotonic()
        interval = _MIN_INTERVAL_S if self._is_terminal else _LINE_INTERVAL_S
        if now - self._last < interval and done < 1:
            return
        self._last = now
        done = min(max(done, 0.0), 1.0)
        left = "" if remaining_seconds is None or done >= 1 else f", {duration(remaining_seconds)} left"
        if not self._is_terminal:
            print(f"{self._title} {done:4.0%}{left}  {text}".strip(), file=self._stream, flush=True)
            return
        bar = self._full * round(done * _BAR) + self._empty * (_BAR - round(done * _BAR))
        line = f"{self._title} {bar} {done:4.0%}{left}  {text}".strip()
        width = shutil.get_terminal_size().columns - 1
        print("\r" + line[:width].ljust(width), end="", file=self._stream, flush=True)
        self._open = True

    def close(self) -> None:
        """End the line, so that what follows starts on its own."""
        if self._open:
            print(file=self._stream, flush=True)
            self._open = False


def compile_renderer() -> None:
    """Compile the renderer now, if this computer has not done so yet, and say so: later it would be a silent wait."""
    from ..rendering.warm_up import warm_up

    warm_up(lambda sentence: print(sentence, file=sys.stderr, flush=True))


def duration(seconds: float) -> str:
    """``75`` as "1 min 15 s"."""
    seconds = max(round(seconds), 0)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
