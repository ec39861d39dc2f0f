"""The job folder: where things lie, how the job stands, making and removing it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import description, events, lock
from .checkpoint import CheckpointStore
from .description import JobDescription
from .files import is_temporary

_log = logging.getLogger(__name__)

# How a job stands. "waiting": never begun; "interrupted": a worker died without a word.
STATES = ("waiting", "running", "cancelling", "interrupted", "finished", "failed", "cancelled", "damaged")

PREVIEW_STEM = "preview"
TEMPORARY_PREFIX = "diffpose-"
_FOLDERS = ("checkpoint", "input", "result")
_FILES = (description.FILE_NAME, events.FILE_NAME, lock.FILE_NAME, "stop", "worker.log")


@dataclass(frozen=True)
class Status:
    """How a job stands, as far as its folder tells."""

    state: str
    attempts: int = 0
    progress: events.Progress | None = None
    last: events.Event | None = None
    problem: str = ""

    @property
    def resumable(self) -> bool:
        """True if starting a worker on the folder makes sense."""
        return self.state in ("waiting", "interrupted", "failed", "cancelled")


@dataclass(frozen=True)
class JobFolder:
    """Names inside one job folder. Making the value neither makes nor checks the folder."""

    path: Path

    @property
    def stop(self) -> Path:
        return self.path / "stop"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def input(self) -> Path:
        return self.path / "input"

    @property
    def result(self) -> Path:
        return self.path / "result"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def checkpoints(self) -> CheckpointStore:
        return CheckpointStore(self.checkpoint)

    @property
    def is_private(self) -> bool:
        """True if nobody but the owner may look into the folder."""
        return os.name != "nt" and self.path.stat().st_mode & 0o077 == 0

    def describe(self, kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> JobDescription:
        """Write ``job.json``: see ``JobDescription.of``. Raises InputError if there is a job already."""
        if (self.path / description.FILE_NAME).exists():
            raise InputError(f"{self.path} holds a job already; choose a new folder.")
        made = JobDescription.of(self.path, kind, inputs, settings, _id_from(self.path.name, kind))
        made.write(self.path)
        return made

    def request_stop(self) -> None:
        """Ask the worker to stop at its next step. Raises InputError if the folder cannot be written."""
        try:
            self.stop.touch()
        except OSError as error:
            raise InputError(
                f"The stop file cannot be made in {self.path} ({error.strerror}); end the worker process instead."
            ) from error

    def status(self) -> Status:
        """How the job stands now, from its description, its events and its lock."""
        history = events.read(self.path)
        starts = [index for index, event in enumerate(history) if isinstance(event, events.Started)]
        recent = history[starts[-1] :] if starts else history
        progress = next((event for event in reversed(recent) if isinstance(event, events.Progress)), None)
        ending = next((event for event in reversed(recent) if isinstance(event, events.TERMINAL)), None)
        problem = ""
        try:
            JobDescription.read(self.path)
        except InputError as error:
            problem = str(error)
        if ending is None and lock.is_held(self.path):
            state = "cancelling" if self.stop.exists() else "running"
        elif isinstance(ending, events.Finished):
            state = "finished"
        elif problem:
            state = "damaged"
        elif ending is not None:
            state = ending.name
        else:
            state = "interrupted" if starts else "waiting"
        if isinstance(ending, events.Failed) and not problem:
            problem = " ".join(text for text in (ending.error, ending.hint) if text)
        return Status(state, len(starts), progress, recent[-1] if recent else None, problem)

    def record_ending(self, event: events.Event) -> None:
        """Append what a worker could not say any more, unless one is at work or the last attempt has an ending."""
        try:
            with lock.locked(self.path):
                self.stop.unlink(missing_ok=True)
                history = events.read(self.path)
                if history and not isinstance(history[-1], events.TERMINAL):
                    file = events.EventFile(self.path)
                    try:
                        file.append(event, durable=True)
                    finally:
                        file.close()
        except (OSError, InputError) as error:
            _log.warning("How the job ended could not be written into its folder (%s).", error)

    def remove_temporary(self) -> None:
        """Remove what interrupted writes left behind; only for the holder of the lock."""
        self.checkpoints.remove_temporary()
        for folder in (self.path, *(path for path in (self.result,) if path.is_dir() and not path.is_symlink())):
            for path in folder.iterdir():
                if is_temporary(path):
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def clean(self) -> list[Path]:
        """Remove the job and everything it made; returns what was left because no job made it.

        Links are removed, never followed. Raises InputError if this is no job, a worker has it, or something
        cannot be removed.
        """
        if self.path.is_symlink() or not self.path.is_dir():
            raise InputError(f"{self.path} is not a job folder; choose one that 'jobs list' shows.")
        if not (self.path / description.FILE_NAME).exists():
            raise InputError(f"{self.path} is not a job: it has no {description.FILE_NAME}; remove it by hand.")
        try:
            with lock.locked(self.path):
                for name in _FOLDERS:
                    _remove(self.path / name)
                for path in list(self.path.iterdir()):
                    ours = path.name in _FILES or path.stem == PREVIEW_STEM or is_temporary(path)
                    # The description goes last: removed halfway, the rest is still known as a job.
                    if ours and path.name not in (lock.FILE_NAME, description.FILE_NAME):
                        _remove(path)
                _remove(self.path / description.FILE_NAME)
            _remove(self.path / lock.FILE_NAME)
            left = sorted(self.path.iterdir())
            if not left:
                self.path.rmdir()
        except lock.Held:
            raise
        except OSError as error:
            raise InputError(
                f"{error.filename or self.path} cannot be removed ({error.strerror}); close it."
            ) from error
        return left


def make_job_folder(kind: str, place: Path | None = None) -> JobFolder:
    """A new, empty job folder: in ``place``, or else in a private temporary folder of its own.

    In a temporary place only the owner may look inside; elsewhere the place's own rules hold. The name says
    nothing about the patient. Raises InputError if it cannot be made.
    """
    name = description.new_id(kind)
    temporary = Path(tempfile.gettempdir()).resolve()
    try:
        if place is None:
            folder = temporary / f"{TEMPORARY_PREFIX}{name}"
            private = True
        else:
            place.mkdir(parents=True, exist_ok=True)
            folder = place / name
            private = place.resolve().is_relative_to(temporary)
        folder.mkdir(mode=0o700 if private else 0o777)  # fails if somebody else made it first
    except OSError as error:
        raise InputError(
            f"No job folder can be made in {place or temporary} ({error.strerror}); choose a folder you can write to."
        ) from error
    return JobFolder(folder)


def create_job(
    kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any], place: Path | None = None
) -> JobFolder:
    """Make a job folder and describe the job in it: ``make_job_folder`` and ``JobFolder.describe``."""
    folder = make_job_folder(kind, place)
    try:
        folder.describe(kind, inputs, settings)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.path.rmdir()
        raise
    return folder


def find_jobs(place: Path) -> list[JobFolder]:
    """The job at ``place`` itself, or the jobs directly inside it, oldest first by name."""
    if (place / description.FILE_NAME).is_file():
        return [JobFolder(place)]
    if not place.is_dir():
        raise InputError(f"{place} is not a folder; choose a folder with jobs.")
    return [JobFolder(path.parent) for path in sorted(place.glob(f"*/{description.FILE_NAME}"))]


def _id_from(name: str, kind: str) -> str:
    """The folder's own name if it is one that we gave, so that folder and id agree."""
    name = name.removeprefix(TEMPORARY_PREFIX)
    return name if name.startswith(f"{kind}-") and name.replace("-", "").isalnum() and name.islower() else ""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
