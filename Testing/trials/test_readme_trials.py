"""Trials of the README, minutes each: its commands in a fresh folder, its console example on Slicer's stand-in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONSOLE = """
import sys, tempfile
sys.path[:0] = {paths!r}
import doubles
application = doubles.install(tempfile.mkdtemp())
import slicer, slicer.util
from doubles.scripted_module import discover, show_module
from pathlib import Path
slicer.mrmlScene = slicer.vtkMRMLScene()
application.applicationLogic().SetMRMLScene(slicer.mrmlScene)
widget = show_module(discover(Path({module!r})))
slicer.util.getModuleLogic = lambda name: widget.logic
exec({block!r})
widget.cleanup()
"""


def _blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [block for named, block in fenced if named == language]


def _run(command: list, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DIFFPOSE_PYTHON": sys.executable, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def test_the_console_example(tmp_path):
    for needed in ("slicer", "PySide6"):
        pytest.importorskip(needed, reason="Slicer's stand-in needs the slicer-core wheel and PySide6-Essentials")
    (block,) = _blocks("python")
    module = REPOSITORY / "DiffPoseRegistration" / "DiffPoseRegistration.py"
    code = CONSOLE.format(paths=[str(REPOSITORY / "Testing")], module=str(module), block=block)
    judged, tre = _run(["-c", code], tmp_path).stdout.split("\n")[:2]
    verdict, predicted_mm = judged.split()
    assert verdict == "accept" and 0 < float(predicted_mm) < 2 and 0 < float(tre) < 1


def test_the_commands_in_a_fresh_folder(tmp_path):
    """A clone, the demonstration in it, and the two commands for one's own files on the files that it wrote."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this copy of the repository has no .git to clone")
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
    commands = [
        line.partition("#")[0].split() for block in _blocks("") for line in block.splitlines() if "scripts/" in line
    ]
    demo = next(command for command in commands if command[:2] == ["python", "scripts/demo"])
    _run(demo[1:], clone)
    made = clone / "demo-output"
    assert json.loads((made / "result.json").read_text(encoding="utf-8"))["tre_mm"] < 1
    own = tmp_path / "own data"
    own.mkdir()
    for name in ("ct.nrrd", "xray.dcm"):
        (own / name).write_bytes((made / name).read_bytes())
    for verb in ("prepare", "register"):
        command = next(c for c in commands if c[:2] == ["scripts/diffpose", verb] and "--initial" not in c)
        _run([clone / command[0], *command[1:]], own)
    result = json.loads((own / "result" / "result.json").read_text(encoding="utf-8"))
    assert result["verdict"] == "accept"
    assert {path.name for path in (own / "result").iterdir()} == {"pose.h5", "result.json", "overlay.png"}
