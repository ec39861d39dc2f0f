"""Where compiled marchers are kept between processes: a folder of the user's own that can be written.

numba looks for such a folder when a function is defined, and refuses to define it where it finds none: beside a
read-only installation, without a home folder. Standard library only, so that this can come first.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path


def use_writable_cache() -> Path:
    """Point numba's cache at a folder that can be written, and return it.

    ``NUMBA_CACHE_DIR`` if that is set, else the system's place for a user's caches, else a private temporary folder
    that this process removes at its end.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    candidates = [Path(named)] if named else []
    folder = next((place for place in [*candidates, *_user_folder()] if _is_writable(place)), None)
    if folder is None:
        # Compiled functions are pickled: never a folder in which others could have put them.
        folder = Path(tempfile.mkdtemp(prefix="diffpose-numba-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    return folder


def _user_folder() -> list[Path]:
    """Where this system keeps a user's caches; empty if the user has no such place."""
    if sys.platform == "win32":
        named, in_home = os.environ.get("LOCALAPPDATA"), "AppData/Local"
    elif sys.platform == "darwin":
        named, in_home = None, "Library/Caches"
    else:
        named, in_home = os.environ.get("XDG_CACHE_HOME"), ".cache"
    home = _home()
    base = Path(named) if named else home and home / in_home
    return [base / "diffpose" / "numba"] if base is not None and base.is_absolute() else []


def _home() -> Path | None:
    """The user's home folder. With HOME set to nothing Python says "/", which is nobody's home."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return None if home == Path(home.anchor) else home


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
