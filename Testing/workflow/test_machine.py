"""The description of a machine tells what computes, and nothing about whose it is."""

import json
import os
import platform
import sys
from pathlib import Path

from DiffPoseRegistrationLib.workflow.machine import command_output, machine


def test_what_computes():
    found = machine()
    assert found["processor"] and found["cores"] == os.cpu_count() >= found["usable_cores"] >= 1
    assert found["memory_gb"] is None or found["memory_gb"] > 0.5
    assert found["python"] == platform.python_version()


def test_not_whose_it_is():
    text = json.dumps({key: value for key, value in machine().items() if key != "processor"})
    secrets = [platform.node(), str(Path.home())]
    assert not [secret for secret in secrets if len(secret) > 5 and secret in text]


def test_commands_that_fail_say_nothing():
    assert command_output([sys.executable, "-c", "print(' 7 ')"]) == "7"
    assert command_output([sys.executable, "-c", "raise SystemExit(3)"]) is None
    assert command_output(["no-such-program-here"]) is None
