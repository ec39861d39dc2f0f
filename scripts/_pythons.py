"""Finding a Python that DiffPose runs on.

Standard library only, in a grammar that Python 3.8 reads.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 10), (3, 13)
NEEDED = "DiffPose needs Python 3.10 to 3.13 (64-bit CPython)"

# Run in a candidate Python: its version, whether its build has wheels, whether it can make environments.
PROBE = """
import importlib.util, json, platform, sys, sysconfig
print(json.dumps({
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "version": list(sys.version_info[:3]),
    "wheels": platform.python_implementation() == "CPython" and sys.maxsize > 2**32
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "venv": all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
    "machine": platform.machine(),
}))
"""


class EnvironmentProblem(Exception):
    """The environment cannot be had; the message says why and what to do."""


def clean_environment() -> dict[str, str]:
    """This process's environment without what would make another Python load foreign packages."""
    environment = dict(os.environ)
    for name in ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"):
        environment.pop(name, None)
    environment.setdefault("PYTHONUTF8", "1")
    return environment


def find_python() -> dict:
    """What PROBE prints of the running Python if it serves, else of the newest on the path that does.

    Raises EnvironmentProblem, with what was found instead, when none does.
    """
    unfit = []
    candidates = [[sys.executable]]
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        candidates.append([f"python3.{minor}"])
        if os.name == "nt":
            candidates.append(["py", f"-3.{minor}"])
    candidates += [["python3"], ["python"]]
    for command in candidates:
        found = _probe(command)
        if found is None:
            continue
        version = tuple(found["version"])
        name = f"{found['executable']} ({'.'.join(map(str, version))})"
        if not OLDEST <= version[:2] <= NEWEST:
            unfit.append(f"{name} is too {'old' if version < OLDEST else 'new'}")
        elif not found["wheels"]:
            unfit.append(f"{name} is not a 64-bit CPython with its global lock")
        elif not found["venv"]:
            unfit.append(f"{name} has no venv module (on Debian and Ubuntu install python3-venv)")
        elif platform.system() == "Darwin" and found["machine"] == "x86_64":
            unfit.append(f"{name} is for Intel processors, for which torch and numba are no longer built")
        else:
            return found
    unfit = list(dict.fromkeys(unfit))
    raise EnvironmentProblem(f"{NEEDED}; found here: {'; '.join(unfit[:4])}. Install one and start again.")


def _probe(command: list[str]) -> dict | None:
    """What PROBE prints under ``command``; None where that is no Python (a launcher without its version, say)."""
    executable = shutil.which(command[0])
    if executable is None:
        return None
    try:
        done = subprocess.run(
            [executable, *command[1:], "-c", PROBE],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
