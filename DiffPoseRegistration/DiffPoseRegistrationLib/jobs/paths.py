"""Paths as they come out of a job file: contained, or refused with a sentence.

A job file may have been written on another computer, or by somebody with bad intentions. A relative path
lies inside the job folder; an absolute one is an input that is only read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath

from ..errors import InputError

_WINDOWS_ABSOLUTE = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_CHARACTERS = 4096
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}


def is_windows_path(text: str) -> bool:
    """True for ``C:\\...`` and ``\\\\server\\...``, which only Windows can open."""
    return bool(_WINDOWS_ABSOLUTE.match(text))


def contained(folder: Path, text: str, what: str) -> Path:
    """The path ``text`` inside ``folder``. Both slashes separate; whatever leads outside is refused.

    ``what`` names the value in the error. Raises InputError for absolute paths, ``..``, drive letters and
    streams, Windows device names, control characters, and links that point out of the folder.
    """
    parts = _text(text, what).replace("\\", "/").split("/")
    for part in parts:
        stem = part.split(".")[0].strip().lower()
        if part in ("", ".", "..") or ":" in part or part != part.rstrip(". ") or stem in _WINDOWS_DEVICES:
            raise InputError(f"{what} must be a plain path inside the job folder, not {text!r}; describe the job anew.")
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{what} leads out of the job folder through a link ({text!r}); remove the link.")
    return path


def input_path(folder: Path, text: str, what: str, *, windows: bool = os.name == "nt") -> Path:
    """The file or folder that an input names: absolute as this system writes it, or inside ``folder``.

    ``windows`` is whether this system reads Windows paths. Raises InputError with what to do.
    """
    text = _text(text, what)
    if windows:
        if text.startswith(("\\\\.\\", "//./")):
            raise InputError(f"{what} is a device ({text!r}), not a file; choose a file or folder.")
        if text.startswith("/") and not text.startswith("//"):
            raise InputError(f"{what} was chosen on another system ({text!r}); choose it again on this computer.")
        if is_windows_path(text) or text.startswith("//"):
            return Path(text)
    else:
        if is_windows_path(text):
            raise InputError(f"{what} was chosen on Windows ({text!r}); choose it again on this computer.")
        if text.startswith("/"):
            return Path(text)
    return contained(folder, text, what)


def readable_input(path: Path, what: str) -> Path:
    """``path`` if it is an existing file or folder; devices and pipes, which never end, are refused."""
    try:
        if path.is_file() or path.is_dir():
            return path
        found = path.exists()
    except OSError as error:
        raise InputError(f"{what} cannot be reached ({path}: {error.strerror}); choose it again.") from error
    if found:
        raise InputError(f"{what} is neither a file nor a folder ({path}); choose a file or folder.")
    raise InputError(f"{what} is missing ({path}); put it back or choose another.")


def portable(path: Path, folder: Path) -> str:
    """How ``path`` is written into a job: with forward slashes if inside ``folder``, else absolute."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would replace the links a person chose
    if path.is_relative_to(Path(os.path.abspath(folder))):  # noqa: PTH100
        return path.relative_to(os.path.abspath(folder)).as_posix()  # noqa: PTH100
    return str(path)


def file_name(text: str) -> str:
    """The last part of a path in either system's form."""
    return PureWindowsPath(text).name


def _text(text: object, what: str) -> str:
    if not isinstance(text, str) or not text or len(text) > _MAX_CHARACTERS or _CONTROL.search(text):
        shown = repr(text)[:80]
        raise InputError(f"{what} must be a path without control characters, not {shown}; describe the job anew.")
    return text
