"""What happened to a job: typed, versioned events, one JSON object a line, ASCII only.

The worker appends each event to ``events.jsonl`` and prints it on its standard output. A reader meets
half lines (a crash in the middle of a write) and lines that are no events at all (a library that prints
to the terminal): ``parse`` answers None for those and never raises.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from ..errors import InputError
from . import paths
from .files import plain

VERSION = 1
FILE_NAME = "events.jsonl"
MAX_LINE_BYTES = 2**20
_BEGINNING = b'{"event": "'


@dataclass(frozen=True)
class Event:
    """Something that happened. ``job`` is the job's id, ``time`` seconds since 1970."""

    name: ClassVar[str] = ""
    job: str
    time: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class Started(Event):
    """A worker took the job. ``attempt`` counts from 1; ``resumed_step`` is the checkpoint it found, if any."""

    name: ClassVar[str] = "started"
    attempt: int
    pid: int
    resumed_step: int | None = None


@dataclass(frozen=True)
class Progress(Event):
    """``done`` of ``total`` steps; ``eta_s`` is the remaining time in seconds, None while it is not known."""

    name: ClassVar[str] = "progress"
    done: float
    total: float
    eta_s: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview(Event):
    """A new picture lies whole in ``file`` (relative to the job folder)."""

    name: ClassVar[str] = "preview"
    file: str


@dataclass(frozen=True)
class Warned(Event):
    """Something the person should know although the work goes on."""

    name: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Result(Event):
    """A result lies whole in ``file`` (relative to the job folder)."""

    name: ClassVar[str] = "result"
    file: str


@dataclass(frozen=True)
class Failed(Event):
    """The attempt ended with an error: what is wrong, and what to do. ``refused``: it did not even begin.
    ``of_input``: the person's input is at fault, not the program or the computer."""

    name: ClassVar[str] = "failed"
    error: str
    hint: str = ""
    refused: bool = False
    of_input: bool = False


@dataclass(frozen=True)
class Cancelled(Event):
    """The attempt was stopped; ``forced`` if the process had to be ended from outside."""

    name: ClassVar[str] = "cancelled"
    reason: str = ""
    forced: bool = False


@dataclass(frozen=True)
class Finished(Event):
    """The work is done and every result is in place."""

    name: ClassVar[str] = "finished"
    seconds: float


@dataclass(frozen=True)
class Ready(Event):
    """A warm worker waits for its next job (on the stream only; ``job`` is empty)."""

    name: ClassVar[str] = "ready"
    pid: int


@dataclass(frozen=True)
class Ended(Event):
    """A warm worker ends: idle, on request, or because its parent is gone (on the stream only)."""

    name: ClassVar[str] = "ended"
    reason: str


TYPES: dict[str, type[Event]] = {
    kind.name: kind for kind in (Started, Progress, Preview, Warned, Result, Failed, Cancelled, Finished, Ready, Ended)
}
TERMINAL = (Failed, Cancelled, Finished)

# What a field may hold, by its annotation. A bool is no number here, though Python thinks so.
_ACCEPTS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
    "bool": lambda value: isinstance(value, bool),
    "dict[str, Any]": lambda value: isinstance(value, dict),
}
_ACCEPTS["int | None"] = lambda value: value is None or _ACCEPTS["int"](value)
_ACCEPTS["float | None"] = lambda value: value is None or _ACCEPTS["float"](value)


def line(event: Event) -> bytes:
    """The event as one ASCII line with its newline."""
    values = {item.name: getattr(event, item.name) for item in fields(event)}
    text = json.dumps(plain({"event": event.name, "version": VERSION, **values}), allow_nan=False)
    return text.encode("ascii") + b"\n"


def parse(text: bytes) -> Event | None:
    """The event in a line, or None if the line does not end in a whole event of a version that we know.

    Something else may stand before the event: a print without a newline, or a half event.
    """
    start = text.rfind(_BEGINNING)
    if start < 0 or len(text) > MAX_LINE_BYTES:
        return None
    try:
        data = json.loads(text[start:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("event"), str):
        return None
    kind = TYPES.get(data["event"])
    if kind is None:
        return None
    values = {item.name: data[item.name] for item in fields(kind) if item.name in data}
    if not all(_ACCEPTS[str(item.type)](values[item.name]) for item in fields(kind) if item.name in values):
        return None
    try:
        if "file" in values:
            paths.contained(Path(), values["file"], "A file in an event")
        return kind(**values)
    except (TypeError, InputError):
        return None


def read(folder: Path) -> list[Event]:
    """All whole events of the job in ``folder``, in order; an absent file means none."""
    try:
        content = (folder / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return []
    return [event for event in map(parse, content.splitlines()) if event is not None]


class EventFile:
    """Appends events to ``events.jsonl``; a half line that a crash left behind is closed off first."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE_NAME
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        size = os.fstat(self._descriptor).st_size
        self._at_line_start = size == 0
        if size:
            os.lseek(self._descriptor, size - 1, os.SEEK_SET)
            self._at_line_start = os.read(self._descriptor, 1) == b"\n"

    def append(self, event: Event, *, durable: bool = False) -> None:
        """Write one event; ``durable`` also syncs it to the disk. Raises OSError (disk full, ...)."""
        content = line(event) if self._at_line_start else b"\n" + line(event)
        self._at_line_start = False
        while content:
            content = content[os.write(self._descriptor, content) :]
        self._at_line_start = True
        if durable:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; appending afterwards is an error."""
        os.close(self._descriptor)
