"""Makes the module's library importable and names the folder of real data, if there is one."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "DiffPoseRegistration"))
sys.path.append(str(REPOSITORY / "scripts"))  # what the commands share: the environment, the benchmarks

# Before torch or numba is imported. Two threads, as tests' tensors are small and numbers then vary less between
# machines; compiled kernels are kept out of the source tree.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NUMBA_CACHE_DIR", str(REPOSITORY / ".pytest_cache" / "numba"))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository (``data/`` and ``cases/``); skips where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"real data are not here: {folder}")
    return folder
