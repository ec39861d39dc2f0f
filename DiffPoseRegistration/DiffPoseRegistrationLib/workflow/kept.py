"""What a warm worker keeps between jobs: whatever was made from a file, as long as the file stays the same."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class KeptFiles:
    """Values made from files, in a mapping that outlives the job.

    For each role (``"ct"``, ``"model"``, ...) the newest value is kept, so that the next patient's CT takes the
    place of the one before instead of filling the memory.
    """

    def __init__(self, cache: MutableMapping[str, Any]) -> None:
        self._cache = cache

    def of(self, role: str, path: Path, make: Callable[[Path], T]) -> T:
        """``make(path)``, or what it gave before if the file is still the same."""
        key = file_state(path)
        kept = self._cache.get(role)
        if kept is None or kept[0] != key:
            self._cache.pop(role, None)  # first, so that two of them need not fit into the memory
            kept = self._cache[role] = (key, make(path))
        return kept[1]


def file_state(path: Path) -> tuple[Any, ...]:
    """What changes when a file, or one directly inside a folder, is changed or replaced.

    A file is known by its number on the disk rather than by its folder: a hard link to it, as in another
    job's input, is the same file.
    """
    if path.is_dir():
        entries = sorted((e for e in os.scandir(path) if e.is_file()), key=lambda e: e.name)
        return (str(path), *((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries))
    state = path.stat()
    where = (state.st_dev, state.st_ino) if state.st_ino else str(path)  # some file systems have no numbers
    return (path.name, where, state.st_size, state.st_mtime_ns)
