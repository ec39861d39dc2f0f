"""Files that are whole or absent: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"


def temporary_name(target: Path) -> Path:
    """An unused hidden name beside ``target``, so that the later rename stays on one file system."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")


def is_temporary(path: Path) -> bool:
    """True for names that only an interrupted write leaves behind."""
    return path.name.endswith((TEMPORARY_SUFFIX, ".part", ".partial"))


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the rename itself has happened
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(target: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A binary file that appears at ``target`` only if the block ends without an error.

    ``durable`` also syncs it to the disk first, so that even a power cut leaves the old or the new file.
    """
    temporary = temporary_name(target)
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(target.parent)


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, whole or not at all; see ``plain`` for what is accepted."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_file(target) as stream:
        stream.write(text.encode("utf-8") + b"\n")


def plain(value: Any) -> Any:
    """``value`` as what JSON knows. Numbers and arrays with ``tolist`` are unpacked, paths become text,
    and numbers that are not finite become None, since JSON has no word for them."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no form in JSON")
