"""Compile the marchers before they are needed: the first image of a fresh installation takes seconds otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .backends import march, small_scene


def warm_up(tell: Callable[[str], None] | None = None) -> float:
    """Compile, or load from the cache, what training and refinement render with; returns the seconds it took.

    ``tell`` gets a sentence beforehand if this will take seconds.
    """
    start = time.perf_counter()
    if tell is not None and not _is_cached():
        tell("Compiling the renderer for this computer, once: about 20 s.")
    grid, camera, pose = small_scene()
    for isocentre in (None, np.zeros(3)):
        march("cpu", grid, camera, pose, None, isocentre)
    return time.perf_counter() - start


def _is_cached() -> bool:
    """Whether the cache holds a compiled marcher; numba itself finds out whether it is a stale one."""
    return any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("march_cpu._images*.nbc"))
