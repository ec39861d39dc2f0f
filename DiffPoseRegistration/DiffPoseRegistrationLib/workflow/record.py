"""What a measurement's file says of its circumstances, so that it can be published and repeated.

A record is a JSON object with ``name`` (the kind of measurement), ``command``, ``date`` (UTC), ``revision`` (``commit``
and whether tracked files were ``modified``; both None in an installed copy), ``machine``, ``versions``, and what was
measured.
"""

from __future__ import annotations

import datetime
import itertools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .machine import command_output, machine
from .result_file import versions

_REPOSITORY = Path(__file__).resolve().parents[3]


def circumstances(kind: str, command: str) -> dict[str, Any]:
    """The beginning of a record, all but what was measured; to be called before a long run, while the source tree is
    what was loaded."""
    return {
        "name": kind,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "versions": versions(),
    }


def revision(repository: Path = _REPOSITORY) -> dict[str, Any]:
    """The commit of the source tree, and whether tracked files differ from it; None where git does not say."""
    # An installed copy may lie inside some other repository.
    commit = command_output(["git", "-C", str(repository), "rev-parse", "HEAD"]) if _is_work_tree(repository) else None
    if commit is None:
        return {"commit": None, "modified": None}
    changes = command_output(["git", "-C", str(repository), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def _is_work_tree(repository: Path) -> bool:
    return (repository / ".git").exists()  # a file in a linked work tree


def published_command(program: str, argv: Sequence[str]) -> str:
    """The command line of ``program`` with ``argv``, without ``--out`` and its folder, and without this machine's
    folders (see :func:`published`); all that a folder holds is its name with an asterisk again."""
    kept: list[str] = []
    words = iter(_folded(argv))
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out="):
            kept.append(published(word))
    return " ".join([program, *(word if word.endswith("/*") else shlex.quote(word) for word in kept)])


def _folded(argv: Sequence[str]) -> list[str]:
    """``argv`` as it was typed, where a shell has put the entries of a folder for ``folder/*``."""
    folded: list[str] = []
    for folder, words in itertools.groupby(argv, os.path.dirname):
        group = list(words)
        everything = sorted(entry.name for entry in Path(folder).glob("[!.]*")) if folder else []
        folded += [f"{folder}/*"] if len(group) > 1 and [Path(word).name for word in group] == everything else group
    return folded


def published(value: Any) -> Any:
    """``value`` with every absolute path in it (a Path, or a text that is one) replaced by its last part."""
    if isinstance(value, list | tuple):
        return [published(item) for item in value]
    if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_absolute()):
        return Path(value).name if Path(value).is_absolute() else str(value)
    return value
