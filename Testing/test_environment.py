"""How the commands get their Python environment, tried on a small copy with packages made on the spot.

No network: pip takes its wheels from a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import _pythons
import _requirements
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = """
import os, sys
import _environment
if __name__ == "__main__":
    _environment.enter(*sys.argv[1].split("+"))
    import first
    print(first.VERSION, sys.prefix, os.environ.get("NUMBA_CACHE_DIR"), *sys.argv[2:])
"""


def _wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of one module that knows its version."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


class Copy:
    """A repository of the bootstrap, two requirement sets and one command, with an environment to be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.venv = folder / "a place" / "venv"
        for part in ("scripts", "requirements", "wheels"):
            (folder / part).mkdir()
        for name in ("_environment.py", "_pythons.py", "_requirements.py"):
            shutil.copy(REPOSITORY / "scripts" / name, folder / "scripts")
        (folder / "scripts/command").write_text(COMMAND, encoding="utf-8")
        self.pin("runtime", "# comment\ntorch==2.13.0\nfirst==1.0\n")
        self.pin("test", "second==1.0\n")
        for name, version in (("torch", "2.13.0+cpu"), ("first", "1.0"), ("first", "2.0"), ("second", "1.0")):
            _wheel(self.wheels, name, version)

    def pin(self, name: str, text: str) -> None:
        (self.folder / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "DIFFPOSE_"))}
        environment.pop("NUMBA_CACHE_DIR", None)
        environment.update(DIFFPOSE_VENV=str(self.venv), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(self.wheels))
        environment["PIP_CONFIG_FILE"] = os.devnull
        return subprocess.Popen(
            [sys.executable, str(self.folder / "scripts/command"), *arguments],
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        started = self.start(*arguments, **variables)
        out, err = started.communicate(timeout=300)
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)

    def stamp(self) -> dict:
        return json.loads((self.venv / "diffpose-environment.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Copy:
    """A copy whose environment exists, with the runtime set."""
    copy = Copy(tmp_path_factory.mktemp("made"))
    done = copy.run("runtime", "--some", "a b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == f"1.0 {copy.venv} {copy.venv / 'numba-cache'} --some a b"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"First start: making a Python environment in {copy.venv} with Python 3.")
    assert done.stderr.endswith("MB.\n"), "a CPU build of torch was offered, so no CUDA is counted"
    return copy


def test_the_second_start_is_quick_and_silent(made):
    start = time.perf_counter()
    done = made.run("runtime")
    assert done.returncode == 0 and done.stderr == ""
    assert time.perf_counter() - start < 5


def test_foreign_packages_on_the_python_path_are_not_seen(made, tmp_path):
    (tmp_path / "first.py").write_text("VERSION = 'foreign'\n", encoding="utf-8")
    assert made.run("runtime", PYTHONPATH=str(tmp_path)).stdout.startswith("1.0 ")


def test_what_is_lacking_is_added_and_a_failure_leaves_what_was_there(made):
    made.pin("runtime", "torch==2.13.0\nfirst==3.0\n")
    failed = made.run("runtime")
    assert failed.returncode == 2 and failed.stdout == ""
    assert "no wheel for this system" in failed.stderr and "first==3.0" in failed.stderr
    assert "Traceback" not in failed.stderr

    made.pin("runtime", "torch==2.13.0\nfirst==1.0\n")
    again = made.run("runtime")
    assert again.stdout.startswith("1.0 ") and again.stderr == ""

    made.pin("runtime", "torch==2.13.0\nfirst==2.0\n")
    newer = made.run("runtime+test")
    assert newer.stdout.startswith("2.0 ") and "lacks what requirements/ now asks for (runtime, test)" in newer.stderr
    assert made.stamp()["state"] == "whole" and set(made.stamp()["sets"]) == {"runtime", "test"}

    made.pin("runtime", "# another comment\n\ntorch==2.13.0\nfirst==2.0\n")
    assert made.run("runtime").stderr == "", "a comment is no other requirement"


def test_what_was_interrupted_is_made_anew_by_one_of_two_that_start_at_once(made):
    half = {**made.stamp(), "state": "changing"}
    (made.venv / "diffpose-environment.json").write_text(json.dumps(half), encoding="utf-8")
    (made.venv / "leftover").write_text("", encoding="utf-8")
    starts = [made.start("runtime"), made.start("runtime")]
    said = [start.communicate(timeout=300) for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    assert all(out.startswith("2.0 ") for out, _ in said)
    assert sorted(err.partition(" ")[0] for _, err in said) == ["First", "Waiting"]
    assert not (made.venv / "leftover").exists()


def test_a_foreign_folder_is_left_alone(tmp_path):
    copy = Copy(tmp_path)
    copy.venv.mkdir(parents=True)
    (copy.venv / "thesis.txt").write_text("dear", encoding="utf-8")
    done = copy.run("runtime")
    assert done.returncode == 2 and "was not made by DiffPose" in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path.name for path in copy.venv.iterdir()] == ["thesis.txt"]


def test_an_own_python_is_used_only_if_it_has_the_pins(tmp_path):
    copy = Copy(tmp_path)
    done = copy.run("runtime", DIFFPOSE_PYTHON=sys.executable)
    assert done.returncode == 2 and "first==1.0 (has nothing)" in done.stderr and not copy.venv.exists()
    import numpy

    copy.pin("runtime", f"numpy=={numpy.__version__}\n")
    (copy.folder / "scripts/first.py").write_text("VERSION = 'own'\n", encoding="utf-8")
    done = copy.run("runtime", DIFFPOSE_PYTHON=sys.executable)
    assert done.returncode == 0 and done.stdout.startswith(f"own {sys.prefix} "), done.stderr
    assert not copy.venv.exists()


def test_no_fitting_python(monkeypatch):
    monkeypatch.setattr(_pythons, "OLDEST", (3, 98))
    monkeypatch.setattr(_pythons, "NEWEST", (3, 99))
    with pytest.raises(_pythons.EnvironmentProblem) as caught:
        _pythons.find_python()
    assert "DiffPose needs Python 3.10 to 3.13" in str(caught.value) and "is too old" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["runtime", "datasets", "benchmark", "test", "develop"])
@pytest.mark.parametrize("python", [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_the_pins_name_each_package_once_for_each_python(name, python):
    pins = _requirements.pins(name, python, "linux")
    plain = [
        line.partition("==")[0]
        for line in _requirements.requirement_file(name).read_text(encoding="utf-8").splitlines()
        if "==" in line and ";" not in line and not line.startswith("#")
    ]
    assert set(plain) <= set(pins) and len(plain) == len(set(plain))
    if name == "runtime":
        assert {"torch", "numpy", "numba", "SimpleITK", "pydicom"} <= set(pins)
        assert pins["numpy"] == ("2.2.6" if python == (3, 10) else "2.4.6")
