"""The installed tree alone runs the thread, and writes nothing beside itself."""

import os
import stat
from pathlib import Path

import pytest
from strangers_computer import session, tre_mm

for _needed in ("slicer", "PySide6"):
    pytest.importorskip(_needed, reason="Slicer's stand-in needs the slicer-core wheel and PySide6-Essentials")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="PythonSlicer's stand-in is a shell script")


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file and folder below ``folder``."""
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def _allow_writing(folder: Path, allowed: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR if allowed else mode & ~0o222)


@pytest.fixture
def read_only(installation):
    """The installed tree without the right to write; root may all the same, so the test also looks for changes."""
    _allow_writing(installation.prefix, False)
    yield installation
    _allow_writing(installation.prefix, True)


def test_the_thread_from_the_installed_tree_alone(read_only, tmp_path):
    before = _state(read_only.prefix)
    found = session(read_only, tmp_path, steps=4)
    assert Path(found["library"]).is_relative_to(read_only.modules)
    assert found["prepared"] == ["finished", ""]
    assert tre_mm(found, "from pose") < 2
    assert found["from model"]["verdict"] in ("accept", "check", "reject")  # four steps teach little
    assert found["heavy"] == [], "loaded in Slicer's own process"
    assert found["in home"] and all("/diffpose/numba/" in name for name in found["in home"]), found["in home"]
    assert _state(read_only.prefix) == before


def test_a_missing_file_is_not_taken_from_elsewhere(installation, tmp_path):
    missing = installation.modules / "DiffPoseRegistrationLib/workflow/tasks.py"
    aside = missing.rename(tmp_path / missing.name)
    try:
        state, problem = session(installation, tmp_path, steps=4)["prepared"]
    finally:
        aside.rename(missing)
    assert state == "failed" and "tasks" in problem
