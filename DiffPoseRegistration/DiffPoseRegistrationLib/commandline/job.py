"""A command as a job: the work is done by a worker in a folder, so that a kill or a power cut loses little."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError
from ..imaging.files import write_whole
from ..jobs import events
from ..jobs.command import run_job
from ..jobs.description import JobDescription
from ..jobs.folder import JobFolder
from ..jobs.launcher import State
from .progress import TerminalProgress


def add_job(parser: argparse.ArgumentParser) -> None:
    """The option ``--job``."""
    parser.add_argument(
        "--job",
        metavar="FOLDER",
        help="work as a background job in this folder, which keeps everything: stopped or killed, it goes on with the "
        "same command again or with 'diffpose jobs resume FOLDER' (results in FOLDER/result)",
    )


def run_as_job(
    folder: Path | str, kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any], title: str
) -> JobFolder:
    """Do the work in a worker, showing its progress; takes up the same job if the folder holds it already.

    Raises
    ------
    InputError
        If the folder holds something else, or the job failed for its input.
    Cancelled
        If it was stopped.
    RuntimeError
        If it failed for another reason; the sentence says what to do.
    """
    job = _job_in(Path(folder).absolute(), kind, inputs, settings)
    if job.status().state == "finished":
        print(f"The job in {folder} has finished before.")
        return job
    with TerminalProgress(title) as progress:

        def show(event: events.Event) -> None:
            if isinstance(event, events.Progress):
                share = event.done / event.total if event.total else 0.0
                progress(share, str(event.metrics.get("text") or ""), event.eta_s)
            elif isinstance(event, events.Warned):
                progress.close()
                print(f"Note: {event.text}", flush=True)

        state, last = run_job(job.path, on_event=show)
    if state is State.FINISHED:
        return job
    if state is State.FAILED and isinstance(last, events.Failed):
        sentence = f"{last.error} {last.hint}".strip()
        raise InputError(sentence) if last.of_input or last.refused else RuntimeError(sentence)
    print(f"Go on with: diffpose jobs resume {folder}")
    raise Cancelled


def copy_results(job: JobFolder, target: Path, names: Iterable[str] = ()) -> None:
    """Copy all result files, with the folders that they are in, or those of ``names``, into the folder ``target``."""
    for path in sorted(job.result.rglob("*")):
        if path.is_file() and (not names or path.name in names):
            copy = target / path.relative_to(job.result)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy_result(path, copy)


def copy_result(path: Path, target: Path) -> None:
    """Copy one file, whole or not at all."""
    write_whole(target, lambda made: shutil.copyfile(path, made))


def _job_in(folder: Path, kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> JobFolder:
    job = JobFolder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be a job's folder ({error.strerror}); choose another --job.") from None
    if is_empty:
        job.describe(kind, inputs, settings)
        return job
    there, wanted = JobDescription.read(folder), JobDescription.of(folder, kind, inputs, settings)
    for name in ("kind", "inputs", "settings"):
        if getattr(there, name) != getattr(wanted, name):
            raise InputError(f"{folder} holds a job with other {name}; choose a new folder for --job.")
    return job
