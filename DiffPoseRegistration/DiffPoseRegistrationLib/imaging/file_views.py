"""Entries of JSON files, addressed as ``FILE`` or ``FILE:VIEW``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import existing_file

# What a file says once for all of its views.
_INHERITED = ("viewed_from", "landmarks_ras_mm", "lab")


def split_view(spec: str | Path) -> tuple[Path, str | None]:
    """``FILE`` or ``FILE:VIEW`` as (file, view); a drive letter (``C:\\x.json``) is no file of its own."""
    text = str(spec)
    if Path(text).exists():
        return Path(text), None
    file, colon, view = text.rpartition(":")
    is_drive_letter = len(file) == 1 and file.isalpha()
    if colon and file and view and not is_drive_letter:
        return Path(file), view
    return Path(text), None


def read_entry(spec: str | Path, what: str) -> tuple[dict[str, Any], str]:
    """The JSON object that ``spec`` (``FILE`` or ``FILE:VIEW``) addresses, and its name for messages.

    Raises
    ------
    InputError
        If the file is missing or no JSON, if the view is not in it, or if it has several and none was named.
    """
    path, view = split_view(spec)
    data = read_json(path, what)
    views = data.get("views")
    if views is None:
        if view is not None:
            raise InputError(f"{path} holds a single view without a name; leave out ':{view}'.")
        return data, path.name
    if not isinstance(views, dict) or not views or not all(isinstance(v, dict) for v in views.values()):
        raise InputError(f"{path}: 'views' must be a JSON object with one object for each view.")
    names = ", ".join(views)
    if view is None:
        if len(views) > 1:
            raise InputError(f"{path} holds several views ({names}); name one, as in {path.name}:{next(iter(views))}.")
        view = next(iter(views))
    if view not in views:
        raise InputError(f"{path} has no view '{view}'; it has {names}.")
    inherited = {key: data[key] for key in _INHERITED if key in data}
    return {**inherited, **views[view]}, f"{path.name}:{view}"


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file; ``what`` says in messages what was expected there. Raises InputError."""
    existing_file(path, what)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no readable JSON ({error}); give the {what} as a JSON file.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no JSON object; give the {what} as a JSON object.")
    return data
