"""What the worker's Python can do, in sentences."""

from __future__ import annotations

import json
import subprocess

from slicer.i18n import tr as _

from ..jobs.stream import PACKAGE, environment_for_worker
from .job_control import worker_environment, worker_python

_TIMEOUT_S = 120


def worker_command() -> tuple[list[str], dict[str, str]]:
    """(command, environment) that asks the worker about itself; to be made in the main thread."""
    return [*worker_python(), "-m", PACKAGE, "--diagnose", "--json"], environment_for_worker(worker_environment())


def diagnose(command: list[str], environment: dict[str, str]) -> list[str]:
    """Run the worker once and return what it says about itself; takes seconds, so call it in a thread."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=False,
        )
        return list(json.loads(done.stdout.decode("utf-8", "replace").strip().splitlines()[-1])["words"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, IndexError) as error:
        return [_("The worker does not answer ({error}).").format(error=error)]
