"""Freed memory is kept: arrays of some megabytes, made again and again, need no new pages."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"
PAGES = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from DiffPoseRegistrationLib.encoder.memory import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(1 << 20) for _ in range(4)]
        del arrays
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

if sys.argv[2] == "kept":
    keep_freed_memory()
pages()
print(pages())
"""


def _new_pages(how):
    command = [sys.executable, "-c", PAGES, str(LIBRARY), how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left as they are")
def test_arrays_made_again_need_no_new_pages():
    assert _new_pages("kept") < 100 < _new_pages("given back")
