"""Keep the event stream clean: whatever else is printed goes to ``worker.log``."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

REPLACEMENT = "<input>"


class Announcer:
    """The worker's real standard output, set aside for event lines before anything else can print to it."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._descriptor: int | None = os.dup(1)

    def write(self, content: bytes) -> None:
        """Write whole lines; when nobody listens any more that is no reason to stop the work."""
        try:
            while content and self._descriptor is not None:
                content = content[os.write(self._descriptor, content) :]
        except OSError:
            self._descriptor = None


class _Redacted:
    """A text stream that replaces private texts, such as a path with a patient's name in it."""

    def __init__(self, stream: TextIO, pattern: re.Pattern[str] | None) -> None:
        self._stream = stream
        self._pattern = pattern

    def write(self, text: str) -> int:
        self._stream.write(self._pattern.sub(REPLACEMENT, text) if self._pattern else text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def private_pattern(texts: Sequence[str]) -> re.Pattern[str] | None:
    """What finds ``texts``, the longest first, where they stand for themselves; None without any."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in ordered)) if ordered else None


@contextlib.contextmanager
def captured(log: Path, private: Sequence[str] = ()) -> Iterator[TextIO]:
    """Send standard output and error, also of native libraries, to ``log`` for the block; yields the log.

    ``private`` are texts that Python's own output must not carry into the log.
    """
    pattern = private_pattern(private)
    for printed in (sys.stdout, sys.stderr):
        printed.flush()
    kept = [os.dup(1), os.dup(2)]
    python_streams = sys.stdout, sys.stderr
    stream = log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    try:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.stdout = sys.stderr = cast(TextIO, _Redacted(stream, pattern))
        yield sys.stdout
    finally:
        sys.stdout, sys.stderr = python_streams
        for target, descriptor in zip((1, 2), kept):
            os.dup2(descriptor, target)
            os.close(descriptor)
        with contextlib.suppress(OSError):  # a full disk must not hide why the job ended
            stream.close()
