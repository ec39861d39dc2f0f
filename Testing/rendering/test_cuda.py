"""The CUDA marcher: in numba's simulator, which runs kernels in Python, and on a GPU if there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.rendering import backends

LIBRARY_FOLDER = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"

_IN_THE_SIMULATOR = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from DiffPoseRegistrationLib.rendering import backends, march_cpu, march_cuda, single_ray
from DiffPoseRegistrationLib.rendering.rays import ray_bundle

grid, camera, poses = backends.small_scene()
rays = ray_bundle(camera, poses, grid.ras_to_grid)
chosen = np.array([[1.0, 2.0], [3.5, 4.25]])
for method in (single_ray.JOSEPH, single_ray.TRILINEAR):
    for pixels in (None, chosen):
        for isocentre in (None, np.array([1.0, 2.0, 3.0])):
            how = (grid.for_kernels, rays, (8, 8), method, 0.7, isocentre, pixels)
            mine, cpu = march_cuda.march_images(*how), march_cpu.march_images(*how)
            for a, b in zip(mine, cpu):
                if b is None:
                    assert a is None
                    continue
                assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, b.shape)
                assert b.any() and np.quantile(np.abs(a - b), 0.95) < 1e-4 * np.abs(b).max()
assert backends.cuda_trouble() is None, backends.cuda_trouble()
print("equal")
"""


def test_cuda_kernels_in_the_simulator(tmp_path):
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _IN_THE_SIMULATOR, str(LIBRARY_FOLDER)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr[-2000:]


def test_without_a_gpu_the_cpu_renders():
    trouble = backends.cuda_trouble()
    if trouble is None:
        assert backends.chosen_backend("auto") == "cuda"
        return
    assert backends.chosen_backend("auto") == "cpu"
    with pytest.raises(InputError, match="choose the cpu backend"):
        backends.chosen_backend("cuda")


def test_a_broken_cuda_does_not_break_the_cpu(monkeypatch):
    """Whatever a driver does when it is asked, rendering goes on."""
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    backends.cuda_trouble.cache_clear()
    try:
        assert backends.chosen_backend("auto") == "cpu"
        image, _ = backends.march("cpu", *backends.small_scene(), None)
        assert image.any()
    finally:
        backends.cuda_trouble.cache_clear()


def test_on_the_gpu():
    if backends.cuda_trouble() is not None:
        pytest.skip(f"no GPU to test on: {backends.cuda_trouble()}")
    mine, cpu = (backends.march(name, *backends.small_scene(), 0.7, np.zeros(3)) for name in ("cuda", "cpu"))
    assert np.abs(mine[0] - cpu[0]).max() < 1e-4 * cpu[0].max()
