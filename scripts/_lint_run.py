"""What scripts/lint does once it is inside the environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main(argv: list[str]) -> int:
    """Run ruff's linter and formatter; with ``--fix`` they write. Returns 0 if nothing was found."""
    fix = "--fix" in argv
    steps = (["check", *(["--fix"] if fix else [])], ["format", *([] if fix else ["--check"])])
    codes = [
        subprocess.run([sys.executable, "-m", "ruff", *step, str(REPOSITORY)], check=False).returncode for step in steps
    ]
    return max(codes)
