"""What a large image with its Jacobian takes beside volume and result, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY_FOLDER = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"
LIMIT_MB = 150

_RENDER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.rendering import backends
def peak_mb():  # of this process alone; what getrusage says can be its parent's
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
grid, camera, pose = backends.small_scene()
step_mm = float(sys.argv[2]) or None
backends.march("cpu", grid, camera, pose, step_mm, np.zeros(3))  # compiled now
large = Camera(100.0, 1024, 1024, (16 / 1024, 16 / 1024))
before = peak_mb()
image, jacobian = backends.march("cpu", grid, large, pose, step_mm, np.zeros(3))
after = peak_mb()
assert image.max() > 0.01 and np.abs(jacobian).max() > 0
print(after - before, (image.nbytes + jacobian.nbytes) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("step_mm", [0.0, 1.0, 0.05], ids=["joseph", "coarse", "fine"])
def test_image_and_jacobian_of_1024_pixels(step_mm):
    """Few samples a ray or many: no buffer grows with them."""
    command = [sys.executable, "-c", _RENDER, str(LIBRARY_FOLDER), str(step_mm)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    grown, result = (float(word) for word in done.stdout.split())
    assert result == pytest.approx(29.4, abs=0.1)
    assert result - 5 < grown < result + LIMIT_MB
    print(f"{grown - result:.1f} MB beside the result")
