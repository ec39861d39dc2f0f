"""The worker's ear: order lines on its standard input, and whether its parent still lives.

One JSON object a line, ASCII: ``{"order": "run", "folder": "..."}``, ``{"order": "cancel"}``,
``{"order": "end"}``. The end of the input means that the parent is gone: a launcher keeps it open as long as
it lives, however it dies. The parent's process id is watched too, for a launcher in between (PythonSlicer)
that outlives its own parent.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import process

_MAX_LINE_BYTES = 2**16
_PARENT_LOOK_S = 0.5
_WINDOWS_POLL_S = 0.01


@dataclass(frozen=True)
class Order:
    """What the parent wants: ``run`` (with ``folder``), ``cancel`` or ``end``."""

    name: str
    folder: str = ""


def line(order: Order) -> bytes:
    """The order as one ASCII line with its newline."""
    return json.dumps({"order": order.name, "folder": order.folder}).encode("ascii") + b"\n"


def parse(text: bytes) -> Order | None:
    """The order in a line; None for anything else."""
    try:
        data = json.loads(text)
        order = Order(data["order"], data.get("folder", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if order.name not in ("run", "cancel", "end") or not isinstance(order.folder, str):
        return None
    return order if (order.name == "run") == bool(order.folder) else None


class OrderReader:
    """Reads orders in a thread of its own; ``on_gone`` is called once when the parent is gone."""

    def __init__(
        self, on_order: Callable[[Order], None], on_gone: Callable[[], None], parent: int | None = None
    ) -> None:
        self._on_order = on_order
        self._on_gone = on_gone
        self._parent = parent
        self._parent_start = process.start_time(parent) if parent else ""
        # Set aside, so that no library and no child process reads the orders or keeps the pipe open.
        self._descriptor = os.dup(0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def has_unread(self) -> bool:
        """True if something waits on the input that was not read yet, be it its end."""
        try:
            if sys.platform == "win32":
                return _windows_available(self._descriptor) != 0
            return bool(select.select([self._descriptor], [], [], 0)[0])
        except OSError:
            return False

    def _read(self) -> None:
        buffer = b""
        looked = time.monotonic()
        while True:
            block = self._wait_and_read()
            if block == b"":
                break
            if time.monotonic() - looked > _PARENT_LOOK_S:
                looked = time.monotonic()
                if self._parent_is_gone():
                    break
            *lines, buffer = (buffer + (block or b"")).split(b"\n")
            if len(buffer) > _MAX_LINE_BYTES:
                buffer = b""
            for text in lines:
                order = parse(text)
                if order is not None:
                    self._on_order(order)
        self._on_gone()

    def _wait_and_read(self) -> bytes | None:
        """What has arrived, None if nothing has for a while, b"" at the end of the input."""
        try:
            if sys.platform == "win32":
                # A blocking read would make any library that asks what standard input is wait for it as well.
                available = _windows_available(self._descriptor)
                if available == 0:
                    time.sleep(_WINDOWS_POLL_S)
                    return None
                return os.read(self._descriptor, available) if available else b""
            if not select.select([self._descriptor], [], [], _PARENT_LOOK_S)[0]:
                return None
            return os.read(self._descriptor, 2**16)
        except OSError:
            return b""

    def _parent_is_gone(self) -> bool:
        if not self._parent:
            return False
        return not process.is_alive(self._parent) or process.start_time(self._parent) != self._parent_start


if sys.platform == "win32":

    def _windows_available(descriptor: int) -> int | None:
        """Bytes that wait in a pipe, None if its other end is closed."""
        import ctypes
        import msvcrt

        available = ctypes.c_ulong(0)
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
        found = ctypes.windll.kernel32.PeekNamedPipe(handle, None, 0, None, ctypes.byref(available), None)
        return available.value if found else None
