"""Compiled marchers are kept where they can be, and a place that cannot be written stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from DiffPoseRegistrationLib.rendering import compiled_cache

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


def test_every_compiled_function_of_the_library_is_kept_there(tmp_path):
    """Whichever room is imported first, numba must know the place before a function is defined."""
    kept = [
        path.relative_to(LIBRARY_FOLDER).with_suffix("").parts
        for path in LIBRARY_FOLDER.rglob("*.py")
        if "cache=True" in path.read_text(encoding="utf-8")
    ]
    rooms = {parts[1] for parts in kept}
    assert rooms == {"rendering", "refinement"}
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    for room in rooms:
        names = [".".join(parts) for parts in kept if parts[1] == room]
        program = (
            f"import importlib, sys; sys.path.insert(0, {str(LIBRARY_FOLDER)!r}); "
            f"defined = [f for name in {names!r} for f in vars(importlib.import_module(name)).values()]; "
            "stats = [f.stats for f in defined if hasattr(f, 'stats')]; "
            "print(*{s.cache_path for s in stats if s.cache_path}, sep='\\n')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        places = {Path(line) for line in done.stdout.split("\n") if line}
        assert places and all(tmp_path / "diffpose" / "numba" in place.parents for place in places)


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


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for the profile, not for HOME")
def test_a_home_that_is_set_to_nothing_is_not_the_root_of_the_file_system(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for home in ("", "/"):
        monkeypatch.setenv("HOME", home)
        assert compiled_cache._user_folder() == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform.startswith("linux"):
        assert compiled_cache._user_folder() == [tmp_path / "diffpose" / "numba"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))  # the control
    (folder,) = compiled_cache._user_folder()
    assert folder.is_relative_to(tmp_path)
