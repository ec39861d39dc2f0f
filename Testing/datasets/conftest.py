"""The miniature data sets, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from miniatures import DeepFluoroPlan, LjubljanaPlan, write_deepfluoro, write_ljubljana


@dataclass(frozen=True)
class Miniature:
    """A file, what it holds, and by ``subject/frame`` the motions [4, 4] from its camera to LPS."""

    path: Path
    plan: DeepFluoroPlan | LjubljanaPlan
    truth: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def deepfluoro(tmp_path_factory):
    pytest.importorskip("h5py", reason="h5py is not installed; scripts/test brings it along")
    frames = {
        "17-1882": {
            "000": ((8, -6, 5), (6, -20, 8), False),
            "001": ((-15, 9, -4), (-10, 15, -6), True),
            "003": ((2, 1, 0), (0, 0, 0), False),  # one of the four that are left out
        },
        "18-2799": {"005": ((20, 3, 2), (0, 30, 5), False)},
    }
    path, plan = tmp_path_factory.mktemp("deepfluoro") / "ipcai_2020_full_res_data.h5", DeepFluoroPlan(frames)
    return Miniature(path, plan, write_deepfluoro(path, plan))


@pytest.fixture(scope="session")
def ljubljana(tmp_path_factory):
    pytest.importorskip("h5py", reason="h5py is not installed; scripts/test brings it along")
    frames = {
        "subject01": {"ap": ((-8, 4, 3), (5, 10, -4)), "lat": ((86, -3, 2), (-4, 6, 8))},
        "subject02": {"ap": ((10, -5, 0), (0, 0, 3)), "lat": ((93, 2, -3), (3, -9, 0))},
    }
    path, plan = tmp_path_factory.mktemp("ljubljana") / "ljubljana.h5", LjubljanaPlan(frames)
    return Miniature(path, plan, write_ljubljana(path, plan))
