"""The installed extension as on a stranger's computer: PythonSlicer in between, a home folder in which nothing is yet,
paths in other letters than ASCII, and no source tree.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from installing import PACKAGING, Installation

# A launcher, as PythonSlicer is: it notes its call, starts the real Python as its child and waits for it.
_PYTHON_SLICER = """#!/bin/sh
echo "$@" >> "{log}"
"{python}" "$@"
exit $?
"""
_PASSED_ON = ("LD_LIBRARY_PATH", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def session(installation: Installation, folder: Path, steps: int, **variables: str) -> dict:
    """What ``slicer_session.py`` found with a model of so many training steps.

    ``folder`` is empty; ``variables`` are set in the environment beside the few that a computer needs. The files that
    lie in the home folder afterwards are added as ``"in home"``.
    """
    home, programs, temporary = folder / "Zuhause von Jörg", folder / "Programme Ä", folder / "temporär"
    for made in (home, programs, temporary):
        made.mkdir()
    launcher = programs / "PythonSlicer"
    launcher.write_text(_PYTHON_SLICER.format(log=folder / "starts.log", python=sys.executable), encoding="utf-8")
    launcher.chmod(0o755)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(programs), os.defpath]),
        "TMPDIR": str(temporary),
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONDONTWRITEBYTECODE": "1",  # Slicer's packages bring theirs along
        **variables,
    }
    # Isolated (-I): what the person has in PYTHONPATH and in the user's site folder is not seen.
    script = [sys.executable, "-I", "-B", PACKAGING / "slicer_session.py"]
    done = subprocess.run(
        [*script, installation.modules, PACKAGING.parent, str(steps)],
        env=environment,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    starts = (folder / "starts.log").read_text(encoding="utf-8").splitlines()
    assert starts and all("-m DiffPoseRegistrationLib.jobs" in line for line in starts)
    found = json.loads(done.stdout.splitlines()[-1])
    found["in home"] = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return found


def tre_mm(found: dict, start: str) -> float:
    """Target registration error of the pose that ``start`` led to, in the camera's frame."""
    points = np.c_[found["landmarks"], np.ones(len(found["landmarks"]))].T
    apart = (np.linalg.inv(found[start]["pose"]) - np.linalg.inv(found["truth"])) @ points
    return float(np.linalg.norm(apart[:3], axis=0).mean())
