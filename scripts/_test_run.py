"""What scripts/test does once it is inside the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import _lint_run

REPOSITORY = Path(__file__).resolve().parents[1]


def main(argv: list[str]) -> int:
    """Run scripts/lint, then pytest with ``argv``; returns pytest's exit code, or lint's where only that complains."""
    lint = _lint_run.main([])
    arguments = [_absolute(argument) for argument in argv if argument != "--slow"]
    if "--slow" not in argv and "-m" not in argv:
        arguments = ["-m", "not slow", *arguments]
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # pytest reads its settings and its default folder where it is started.
    tests = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY, check=False).returncode
    return tests or lint


def _absolute(argument: str) -> str:
    """A test file or folder as typed, made independent of the folder that it was typed in."""
    path, separator, test = argument.partition("::")
    looks_like_one = separator or path.endswith(".py") or "/" in path or os.sep in path
    return f"{Path(path).absolute()}{separator}{test}" if looks_like_one and Path(path).exists() else argument
