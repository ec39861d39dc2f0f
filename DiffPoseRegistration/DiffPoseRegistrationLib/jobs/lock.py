"""One worker a job folder: a lock that the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FILE_NAME = "lock"

# A worker retries this long, since another one may just be leaving, and since somebody who only looks at the lock
# holds it for an instant.
_PATIENCE_S = 1.0
# Windows locks make the locked bytes unreadable for others: lock a byte far behind the holder's note.
_WINDOWS_LOCK_OFFSET = 2**30
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}


class Held(InputError):
    """Another worker has the folder."""


class FolderLock:
    """The exclusive right to work in a job folder, until ``release`` or the end of the process."""

    def __init__(self, folder: Path, patience_s: float = _PATIENCE_S) -> None:
        """Take the lock. Raises Held if another process has it, OSError if the folder cannot be written."""
        descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor, folder, patience_s)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor
        note = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode("ascii")
        os.lseek(descriptor, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):  # the note only makes a message clearer, the disk may be full
            os.ftruncate(descriptor, 0)
            os.write(descriptor, note)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor is not None:
            if sys.platform == "win32":
                os.lseek(self._descriptor, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
                with contextlib.suppress(OSError):
                    msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, 1)
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def locked(folder: Path, patience_s: float = _PATIENCE_S) -> Iterator[FolderLock]:
    """Hold the folder's lock for the block."""
    lock = FolderLock(folder, patience_s)
    try:
        yield lock
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """True while a worker has the folder."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDWR)
    except OSError:
        return False  # no lock file: nobody ever worked here, or nobody can
    try:
        return not _try_lock(descriptor, exclusive=False, folder=folder)
    finally:
        os.close(descriptor)


def holder(folder: Path) -> tuple[int, str] | None:
    """(process id, computer) of the worker that has the folder, None if nobody has."""
    if not is_held(folder):
        return None
    try:
        note = json.loads((folder / FILE_NAME).read_text(encoding="ascii"))
        return int(note["pid"]), str(note["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holder_text(folder: Path) -> str:
    found = holder(folder)
    return "" if found is None else f" (process {found[0]} on {found[1]})"


def _take(descriptor: int, folder: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not _try_lock(descriptor, exclusive=True, folder=folder):
        if _only_looked_at(descriptor, folder):  # however slowly the machine lets them go on
            deadline = time.monotonic() + patience_s
        elif time.monotonic() > deadline:
            raise Held(
                f"Another process is already working on this job{_holder_text(folder)}; "
                f"wait for it or cancel it first ({folder})."
            )
        time.sleep(0.02)


def _only_looked_at(descriptor: int, folder: Path) -> bool:
    """True if those who have the lock only look at it; Windows, where all locks are exclusive, cannot tell."""
    if sys.platform == "win32" or not _try_lock(descriptor, exclusive=False, folder=folder):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _try_lock(descriptor: int, *, exclusive: bool, folder: Path) -> bool:
    """One attempt. Looking at the lock takes a shared one, so that two onlookers do not disturb each other."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            if not exclusive:
                os.lseek(descriptor, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise InputError(
            f"{folder} is on a disk that cannot lock files ({error.strerror}); put the job on a local disk."
        ) from error
    return True
