"""Compiled marchers are kept where they can be, and a place that cannot be written stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIBRARY_FOLDER = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
said = []
from DiffPoseRegistrationLib.rendering.warm_up import warm_up
warm_up(said.append)
import os
print(len(said), os.environ["NUMBA_CACHE_DIR"])
"""


def _warm(**environment: str) -> tuple[int, Path]:
    """Sentences said, and the cache folder used."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(LIBRARY_FOLDER)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said, folder = done.stdout.strip().split(" ", 1)
    return int(said), Path(folder)


def test_says_so_only_when_it_compiles(tmp_path):
    assert _warm(NUMBA_CACHE_DIR=str(tmp_path / "new")) == (1, tmp_path / "new")
    assert list((tmp_path / "new").rglob("*.nbc"))
    assert _warm(NUMBA_CACHE_DIR=str(tmp_path / "new")) == (0, tmp_path / "new")


def test_nowhere_to_write(tmp_path):
    """A file stands where the folders should be made, as on a full or read-only disk: a temporary folder serves, and
    is gone afterwards."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    nowhere = str(tmp_path / "file" / "cache")
    said, folder = _warm(NUMBA_CACHE_DIR=nowhere, XDG_CACHE_HOME=nowhere, HOME=nowhere, LOCALAPPDATA=nowhere)
    assert said == 1 and not folder.exists()
