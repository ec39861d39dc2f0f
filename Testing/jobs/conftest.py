"""Job folders with odd names, a launcher that uses the pretended work, and a look for orphans."""

import os
import sys
import time
from pathlib import Path

import pretend_tasks
import pytest
from DiffPoseRegistrationLib.jobs import process
from DiffPoseRegistrationLib.jobs.folder import create_job
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher

HERE = Path(__file__).parent
TASKS = pretend_tasks.__name__


@pytest.fixture(autouse=True)
def importable_tasks(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def place(tmp_path):
    """Where the jobs of a test lie: blanks, umlauts and another script in the path."""
    folder = tmp_path / "Jobs für Ärzte 骨盤"
    folder.mkdir()
    return folder


@pytest.fixture
def ct(tmp_path):
    """A file that stands for a CT, read-only, with a patient's name in its folder and its own name."""
    folder = tmp_path / "Müller^Jörg"
    folder.mkdir()
    path = folder / "Müller Jörg CT.nrrd"
    path.write_bytes(b"NRRD")
    path.chmod(0o444)
    return path


@pytest.fixture
def make_job(place, ct):
    def make(kind="register", **settings):
        return create_job(kind, {"ct": ct}, settings, place)

    return make


@pytest.fixture
def launch():
    """Make launchers that are closed at the end, with all processes they started gone by then."""
    made = []
    children_before = set(process.descendants(os.getpid()))

    def make(**options):
        options.setdefault("tasks", TASKS)
        made.append(JobLauncher(options.pop("python", [sys.executable]), **options))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()
    deadline = time.monotonic() + 8
    while left := [pid for pid in set(process.descendants(os.getpid())) - children_before if process.is_alive(pid)]:
        assert time.monotonic() < deadline, f"orphans: {left}"
        time.sleep(0.02)
