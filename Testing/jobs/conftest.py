"""Job folders with odd names, a launcher that uses the pretended work, and a look for orphans."""

import os
import subprocess
import sys
from pathlib import Path

import pretend_tasks
import pytest
from DiffPoseRegistrationLib.jobs import process
from DiffPoseRegistrationLib.jobs.folder import create_job
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher
from DiffPoseRegistrationLib.jobs.stream import environment_for_worker
from waiting import PATIENCE_S, until_gone

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
def start_python():
    """Start Python with arguments, as a process that is ended with the test, however the test ends."""
    made = []

    def start(*arguments, **options):
        options = {"env": environment_for_worker(), "stdout": subprocess.DEVNULL, **options}
        made.append(subprocess.Popen([sys.executable, *map(str, arguments)], **options))
        return made[-1]

    yield start
    for started in made:
        started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start_worker(start_python):
    """Start a worker on a job, with nobody who follows it."""

    def start(job, *arguments, **options):
        command = ["-m", "DiffPoseRegistrationLib.jobs", "run", job.path, *arguments, "--tasks", TASKS]
        return start_python(*command, **options)

    return start


@pytest.fixture
def launch():
    """Make launchers that are closed at the end, with all processes they started gone by then.

    Their workers have all the time they need to stop cleanly, unless a test wants them to be ended.
    """
    made = []
    children_before = set(process.descendants(os.getpid()))

    def make(**options):
        options.setdefault("tasks", TASKS)
        options.setdefault("grace_s", PATIENCE_S)
        made.append(JobLauncher(options.pop("python", [sys.executable]), **options))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()
    until_gone(*set(process.descendants(os.getpid())) - children_before)
