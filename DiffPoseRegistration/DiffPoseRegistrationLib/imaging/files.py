"""Files at the boundary: existence, whole-or-nothing writing."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError

# RAS <-> LPS: both patient axes of the table plane change sign. Its own inverse.
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def existing_file(path: str | Path, what: str) -> Path:
    """``path`` as a Path, if it is a readable, non-empty file.

    Raises
    ------
    InputError
        Naming the path; ``what`` (such as "CT") says what was expected there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name one {what} file.")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path of the {what}.")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the file's permissions.") from None
    if empty:
        raise InputError(f"{path} is empty; copy or export the {what} again.")
    return path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file in the temporary folder and move it to ``path`` when it is complete.

    Raises
    ------
    InputError
        If the folder is missing or cannot be written; nothing is then left at ``path``.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
        made = Path(folder) / f"file{path.suffix}"
        write(made)
        try:
            shutil.copyfile(made, beside)
            beside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # what cannot be written may not even be looked for
                beside.unlink(missing_ok=True)
            raise InputError(
                f"{path} cannot be written ({error.strerror or error}); choose a folder that exists and is writable."
            ) from None
