"""What must be true of the files that git keeps."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LARGEST_BYTES = 2_000_000
COMMANDS = ["scripts/demo", "scripts/test", "scripts/diffpose", "scripts/benchmark", ".ci/run"]
# Read by whichever Python a person has, which then says what it lacks.
READ_BY_OLD_PYTHONS = {
    "scripts/_environment.py",
    "scripts/_pythons.py",
    "scripts/_requirements.py",
    *(command for command in COMMANDS if command.startswith("scripts/")),
}
# Folders that exist on somebody's machine only; a letter before the slash makes it part of a longer, relative path.
MACHINE_PATH = re.compile(r"(?<![\w.:>)}\]-])/(?:root|work|tmp|opt|mnt|var)/\w")
# A home folder: in tests an invented person's, as an example of a path.
HOME_PATH = re.compile(r"(?<![\w.:>)}\]-])/(?:home|Users)/\w|[A-Z]:\\+Users\\")


@pytest.fixture(scope="module")
def tracked() -> dict[str, str]:
    """Git's mode (``100644``, ``100755``) by path; skips where this is no git checkout."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this copy of the repository has no .git, which knows what belongs to it")
    listing = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "--stage", "-z"], capture_output=True, check=True
    ).stdout.decode()
    entries = (entry.split("\t", 1) for entry in listing.split("\0") if entry)
    modes = {path: about.split()[0] for about, path in entries}
    return {path: mode for path, mode in modes.items() if (REPOSITORY / path).is_file()}


def _text(path: str) -> str | None:
    """A file's text; None for binaries."""
    content = (REPOSITORY / path).read_bytes()
    return None if b"\0" in content else content.decode("utf-8")


def _is_python(path: str) -> bool:
    if path.endswith(".py"):
        return True
    first = (REPOSITORY / path).open("rb").readline()
    return first.startswith(b"#!") and b"python" in first


def test_no_file_names_a_folder_of_somebodys_machine(tracked):
    wrong = []
    for path in sorted(tracked.keys() - {"Testing/test_repository.py"}):
        for number, line in enumerate((_text(path) or "").splitlines(), 1):
            if MACHINE_PATH.search(line) or (HOME_PATH.search(line) and not path.startswith("Testing/")):
                wrong.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("line", ["open('/home/ann/ct.nrrd')", r"C:\Users\ann\ct.nrrd", "see /tmp/out"])
def test_machine_paths_are_recognised(line):
    assert MACHINE_PATH.search(line) or HOME_PATH.search(line)


@pytest.mark.parametrize("line", ["#!/usr/bin/env python3", "DIR/tmp/a", "https://a.org/work/b", "either/var/or"])
def test_other_paths_are_not_taken_for_machine_paths(line):
    assert not MACHINE_PATH.search(line) and not HOME_PATH.search(line)


def test_what_starts_with_an_interpreter_can_be_run(tracked):
    starts = {path for path in tracked if (REPOSITORY / path).open("rb").read(2) == b"#!"}
    runnable = {path for path, mode in tracked.items() if mode == "100755"}
    assert starts == runnable, f"git update-index --chmod=+x or -x: {sorted(starts ^ runnable)}"


def test_the_commands_exist(tracked):
    assert set(COMMANDS) <= set(tracked)


def test_no_file_is_large(tracked):
    sizes = {path: (REPOSITORY / path).stat().st_size for path in tracked}
    assert not {path: size for path, size in sizes.items() if size > LARGEST_BYTES}


def test_lines_end_in_line_feeds(tracked):
    wrong = [path for path in tracked if b"\r\n" in (REPOSITORY / path).read_bytes() and _text(path) is not None]
    assert not wrong


def test_every_python_file_is_read_by_the_oldest_python(tracked):
    wrong = []
    for path in filter(_is_python, tracked):
        version = (3, 8) if path in READ_BY_OLD_PYTHONS else (3, 10)
        try:
            ast.parse(_text(path), path, feature_version=version)
        except SyntaxError as error:
            wrong.append(f"{path}:{error.lineno} needs a newer Python than {version}: {error.msg}")
    assert not wrong, "\n".join(wrong)
