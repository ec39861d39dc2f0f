"""Checkpoints: the last complete states of a job, two kept, never a half one.

Each is a folder ``checkpoint/step-0000000120``, written under a temporary name, every file synced, then
renamed. A manifest with each file's size and SHA-256 tells a torn state (power cut, bad disk) from a whole one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .files import is_temporary, sync_folder, temporary_name

_NAME = re.compile(r"step-(\d{10})\Z")
_MANIFEST = "complete.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete state: the step after which it was taken, and the folder with its files."""

    step: int
    folder: Path


class CheckpointStore:
    """The checkpoints in ``folder``, of which the newest ``keep`` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, write: Callable[[Path], object]) -> Checkpoint:
        """Take a checkpoint after ``step``: ``write`` puts the files into the (temporary) folder it is given.

        Raises OSError if the disk is full; then the older checkpoints are still there.
        """
        target = self.folder / f"step-{step:010d}"
        temporary = temporary_name(target)
        temporary.mkdir(parents=True)
        try:
            write(temporary)
            manifest = {}
            for path in sorted(item for item in temporary.rglob("*") if item.is_file()):
                manifest[path.relative_to(temporary).as_posix()] = _sync_and_hash(path)
            with (temporary / _MANIFEST).open("x", encoding="utf-8") as stream:
                json.dump({"step": step, "files": manifest}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(temporary)
            if target.exists():  # the same step again, after resuming from an older state
                _remove(target)
            temporary.replace(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(self.folder)
        for _, old in self._named()[self.keep :]:
            _remove(old)
        return Checkpoint(step, target)

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint, passing over damaged ones; None if there is none."""
        for step, path in self._named():
            if _is_whole(path, step):
                return Checkpoint(step, path)
        return None

    def remove_temporary(self) -> None:
        """Remove what interrupted writes left behind."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if is_temporary(path):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _named(self) -> list[tuple[int, Path]]:
        """(step, folder) of everything with a checkpoint's name, newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                match = _NAME.match(path.name)
                if match and path.is_dir() and not path.is_symlink():
                    found.append((int(match[1]), path))
        return sorted(found, reverse=True)


def _remove(folder: Path) -> None:
    """Remove a checkpoint, giving up its name first: killed halfway, no half state keeps a whole one's name."""
    doomed = temporary_name(folder)
    folder.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sync_and_hash(path: Path) -> dict[str, int | str]:
    with path.open("r+b") as stream:
        digest = hashlib.sha256()
        while block := stream.read(2**20):
            digest.update(block)
        os.fsync(stream.fileno())
        return {"bytes": stream.tell(), "sha256": digest.hexdigest()}


def _is_whole(folder: Path, step: int) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["step"] != step:
            return False
        for name, expected in manifest["files"].items():
            with (folder / name).open("rb") as stream:
                digest = hashlib.sha256()
                while block := stream.read(2**20):
                    digest.update(block)
            if digest.hexdigest() != expected["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True
