"""Processes: whether one lives, who its descendants are, and how to end a whole tree.

PythonSlicer is only a launcher: ending it leaves the real Python running. Therefore a worker is started in
its own session (POSIX), and ended together with everything that descends from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_WINDOWS_SYNCHRONIZE = 0x00100000
_WINDOWS_WAIT_TIMEOUT = 0x102


def spawn(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process with pipes to its standard input and output (errors join the output), ready to be ended
    as a tree, without a console window on Windows. Raises OSError."""
    platform: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        platform = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        list(arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        **platform,
    )


def is_alive(pid: int) -> bool:
    """True if the process runs; one that has ended but was not waited for (a zombie) does not."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(_WINDOWS_SYNCHRONIZE, False, pid)
        if not handle:
            return False
        try:
            return kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == _WINDOWS_WAIT_TIMEOUT
        finally:
            kernel.CloseHandle(ctypes.c_void_p(handle))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _linux_stat(pid)[:1] not in (["Z"], ["X"]) or _has_other_threads(pid)


def _has_other_threads(pid: int) -> bool:
    """True while threads of a process live whose first thread has ended already: in that moment the process shows
    as a zombie but still holds its files and locks."""
    try:
        return any(name != str(pid) for name in os.listdir(_PROC / str(pid) / "task"))  # noqa: PTH208 - names only
    except OSError:
        return False


def start_time(pid: int) -> str:
    """Something that differs between two processes that had the same id one after the other, "" if unknown."""
    return "".join(_linux_stat(pid)[19:20])


def descendants(pid: int) -> list[int]:
    """The processes that descend from ``pid`` (POSIX), nearest first."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    queue = [pid]
    while queue:
        queue = [child for parent in queue for child in children.get(parent, ()) if child not in found]
        found += queue
    return found


def kill_tree(pid: int) -> None:
    """End ``pid``, its descendants and its session at once. Takes up to a second on Windows; nothing is raised."""
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
            check=False,
        )
        return
    victims = [pid, *descendants(pid)]
    kill_group(pid)
    for victim in victims:
        with contextlib.suppress(OSError):
            os.kill(victim, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """End what is left of the process group that the (perhaps ended) process ``pid`` led; POSIX only."""
    if sys.platform != "win32" and pid != os.getpgrp():
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def _parents() -> list[tuple[int, int]]:
    """(process id, parent's id) of every process of this machine."""
    if _PROC.is_dir() and sys.platform.startswith("linux"):
        rows = []
        for entry in os.listdir(_PROC):  # noqa: PTH208 - names only, a thousand of them
            if entry.isdigit():
                stat = _linux_stat(int(entry))
                if stat:
                    rows.append((int(entry), int(stat[1])))
        return rows
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    return [(int(a), int(b)) for a, b in (row.split() for row in listing.splitlines() if len(row.split()) == 2)]


def _linux_stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state (the third, see proc(5)) on; empty elsewhere or if gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
