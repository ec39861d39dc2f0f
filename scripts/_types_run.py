"""What scripts/types does once it is inside the environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main(argv: list[str]) -> int:
    """Run mypy with the settings of pyproject.toml; returns its exit code."""
    return subprocess.run([sys.executable, "-m", "mypy", *argv], cwd=REPOSITORY, check=False).returncode
