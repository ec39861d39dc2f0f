"""Waiting for what must come, however busy the machine: nothing here says how long it took."""

import time

from DiffPoseRegistrationLib.jobs import process

# Long past anything that is still alive: reaching it means that something hangs.
PATIENCE_S = 300.0


def until(condition, meanwhile=lambda: None):
    """Wait until ``condition()`` is true and return it, calling ``meanwhile`` between the looks."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        meanwhile()
        time.sleep(0.01)
    return found


def until_gone(*pids):
    """Wait until none of the processes is alive."""
    deadline = time.monotonic() + PATIENCE_S
    while left := [pid for pid in pids if process.is_alive(pid)]:
        assert time.monotonic() < deadline, f"orphans: {left}"
        time.sleep(0.01)
