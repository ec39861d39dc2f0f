"""What a job was asked to do: ``job.json``, typed, versioned and checked.

::

    {"format": "DiffPose job", "version": 1, "id": "register-20260801-101500-3fa9c1", "kind": "register",
     "created": "2026-08-01T10:15:00+00:00", "program": "0.1.0",
     "inputs": {"ct": "/data/ct.nrrd", "xrays": ["input/xray.dcm"]},
     "settings": {"quality": "fast"},
     "fingerprints": {"ct": "...", "xrays/0": "..."}}

``inputs`` are paths only: each a path, a list of paths, a mapping of names to paths, or null. Everything
else is a setting.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from . import paths
from .files import plain, write_json

FORMAT = "DiffPose job"
VERSION = 1
KINDS = ("prepare", "register", "evaluate", "simulate", "pretrain", "explain")
FILE_NAME = "job.json"

_MAX_BYTES = 16 * 2**20
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_SAMPLE_BYTES = 2**20

InputValue = str | list[str] | dict[str, str] | None


def new_id(kind: str) -> str:
    """A name for a job and its folder: kind, time and six random digits, nothing about a patient."""
    return f"{kind}-{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class JobDescription:
    """What a job was asked to do. Raises InputError when made with anything that cannot be run."""

    kind: str
    inputs: Mapping[str, InputValue]
    settings: Mapping[str, Any]
    id: str = ""
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    program: str = __version__
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"A job of kind {self.kind!r} is not known; choose one of {', '.join(KINDS)}.")
        if not self.id:
            object.__setattr__(self, "id", new_id(self.kind))
        if not isinstance(self.id, str) or not _ID.match(self.id):
            raise InputError(f"The job's id {self.id!r} must be lower-case letters, digits and '-'.")
        for name in ("inputs", "settings", "fingerprints"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"The job's {name} must be a table of names and values; describe the job anew.")
        for name, value in self.inputs.items():
            if not isinstance(name, str) or not _NAME.match(name):
                raise InputError(f"The input name {name!r} must be a plain word.")
            inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
            if value is not None and not all(isinstance(item, str) for item in inner):
                raise InputError(f"Input {name!r} must be a path or several paths; anything else is a setting.")
        for name in ("created", "program"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"The job's {name!r} must be text; describe the job anew.")

    @classmethod
    def of(
        cls, folder: Path, kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any], job_id: str = ""
    ) -> JobDescription:
        """Describe a job in ``folder``: checks that the inputs exist and remembers what they hold."""
        written = {name: _written(value, folder) for name, value in inputs.items()}
        description = cls(kind, written, plain(dict(settings)), job_id)
        prints = {
            label: fingerprint(paths.readable_input(paths.input_path(folder, text, label), label))
            for label, text in _labelled(description.inputs)
        }
        return cls(kind, written, description.settings, description.id, description.created, fingerprints=prints)

    def resolved_inputs(self, folder: Path) -> dict[str, Any]:
        """The inputs with each path text replaced by a Path that exists. Raises InputError."""
        found = {
            label: paths.readable_input(paths.input_path(folder, text, f"Input {label}"), f"Input {label}")
            for label, text in _labelled(self.inputs)
        }
        resolved: dict[str, Any] = {}
        for name, value in self.inputs.items():
            if isinstance(value, list):
                resolved[name] = [found[f"{name}/{index}"] for index in range(len(value))]
            elif isinstance(value, Mapping):
                resolved[name] = {key: found[f"{name}/{key}"] for key in value}
            else:
                resolved[name] = None if value is None else found[name]
        return resolved

    def check_unchanged(self, folder: Path) -> None:
        """Raises InputError if an input no longer holds what it held when the job was described."""
        for label, text in _labelled(self.inputs):
            path = paths.input_path(folder, text, f"Input {label}")
            if label in self.fingerprints and fingerprint(path) != self.fingerprints[label]:
                raise InputError(
                    f"Input {label} has changed since this job was described ({path}); "
                    "a result would belong to neither version, so start a new job."
                )

    def write(self, folder: Path) -> None:
        """Write ``job.json`` into ``folder``, whole or not at all."""
        values = {name: getattr(self, name) for name in ("id", "kind", "created", "program", "inputs", "settings")}
        write_json(
            folder / FILE_NAME,
            {"format": FORMAT, "version": VERSION, **values, "fingerprints": dict(self.fingerprints)},
        )

    @classmethod
    def read(cls, folder: Path) -> JobDescription:
        """Read ``job.json`` from ``folder``. Raises InputError: missing, damaged, newer, or not allowed."""
        path = folder / FILE_NAME
        try:
            with path.open("rb") as stream:
                content = stream.read(_MAX_BYTES + 1)
        except FileNotFoundError as error:
            raise InputError(f"{folder} is not a job: it has no {FILE_NAME}; choose a job folder.") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
        if len(content) > _MAX_BYTES:
            raise InputError(f"{path} is larger than any job description; describe the job anew.")
        try:
            data = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is damaged (no complete JSON); describe the job anew.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"{path} does not describe a DiffPose job; choose another folder.")
        version = data.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise InputError(f"{path} has no version number; describe the job anew.")
        if version > VERSION:
            raise InputError(
                f"{path} was written by a newer DiffPose (format {version}, this one reads up to {VERSION}); "
                "update DiffPose, or describe the job anew here."
            )
        missing = [name for name in ("id", "kind", "inputs", "settings") if name not in data]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}; describe the job anew.")
        optional = {name: data[name] for name in ("created", "program", "fingerprints") if name in data}
        return cls(data["kind"], data["inputs"], data["settings"], data["id"], **optional)

    def private_texts(self) -> list[str]:
        """Texts that may name a patient, longest first: the inputs' paths, names, and the folders they lie in."""
        texts = set()
        for _, text in _labelled(self.inputs):
            texts |= {text, paths.file_name(text)}
            if len(Path(text).parent.parts) > 2:
                texts.add(str(Path(text).parent))
        return sorted((text for text in texts if len(text) > 2), key=len, reverse=True)


def fingerprint(path: Path) -> str:
    """A short hash of what ``path`` holds, in milliseconds even for a CT of gigabytes.

    SHA-256 of the size and the first, middle and last MiB of a file (all of it, up to 3 MiB); of the
    names and sizes directly inside a folder.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in sorted(os.scandir(path), key=lambda item: item.name):
            size = entry.stat().st_size if entry.is_file() else -1
            digest.update(f"{entry.name}\0{size}\n".encode("utf-8", "surrogatepass"))
    else:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            starts: Sequence[int] = (0, (size - _SAMPLE_BYTES) // 2, size - _SAMPLE_BYTES)
            if size <= 3 * _SAMPLE_BYTES:
                starts = range(0, size, _SAMPLE_BYTES)
            for start in starts:
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:32]


def _labelled(inputs: Mapping[str, InputValue]) -> Iterator[tuple[str, str]]:
    """(label, path text) for every path among the inputs."""
    for name, value in inputs.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, list):
            yield from ((f"{name}/{index}", text) for index, text in enumerate(value))
        elif isinstance(value, Mapping):
            yield from ((f"{name}/{key}", text) for key, text in value.items())


def _written(value: Any, folder: Path) -> InputValue:
    """An input as it is written: every path absolute, or relative to the job folder if inside it."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {str(key): _written_path(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written_path(item, folder) for item in value]
    return _written_path(value, folder)


def _written_path(value: Any, folder: Path) -> str:
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if paths.is_windows_path(text) or (not Path(text).is_absolute() and (folder / text).exists()):
            return text  # another system's form, judged when read; or a file that was put into the job folder
        return paths.portable(Path(text), folder)
    raise InputError(f"An input must be a path, not {type(value).__name__}.")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
