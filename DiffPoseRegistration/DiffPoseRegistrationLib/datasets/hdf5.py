"""HDF5 files: opened, and read with sentences that name the place in the file where something is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..imaging.files import existing_file


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """The file's root group, for reading (an ``h5py.File``).

    Raises
    ------
    InputError
        If h5py is not installed, or the file is missing, damaged or no HDF5.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            "Reading HDF5 data sets needs the package h5py, which is not installed here; start "
            "scripts/diffpose dataset, which brings it along, or install it with: python -m pip install h5py"
        ) from None
    path = existing_file(path, "data set")
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise InputError(
            f"{path} cannot be opened as HDF5: it is incomplete or another file; download the data set again (an "
            "archive has to be unpacked first)."
        ) from None
    with file:
        yield file


def child(group: Any, name: str) -> Any:
    """The group or dataset ``name`` below ``group``. Raises InputError if there is none."""
    try:
        return group[name]
    except KeyError:
        raise InputError(
            f"{group.file.filename} lacks {group.name.rstrip('/')}/{name}; it is another data set, or another version "
            "of it, than this reader knows."
        ) from None


def array(group: Any, name: str, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """A dataset as an array of numbers; ``shape`` is what it must have, None for any length, after dimensions of
    length 1 that the file has too many are left out.

    Raises
    ------
    InputError
        If it is missing, holds no finite numbers, or has another shape.
    """
    found = child(group, name)
    try:
        values = np.asarray(found[()])
        finite = bool(np.isfinite(values).all())
    except (OSError, TypeError, AttributeError):
        raise _unreadable(group, name, "cannot be read as numbers") from None
    if not finite:
        raise _unreadable(group, name, "holds numbers that are not finite")
    if shape is None:
        return values
    if values.ndim > len(shape):
        values = values.reshape([length for length in values.shape if length != 1] or [1])
    fits = values.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, values.shape))
    if not fits:
        wanted = " x ".join("n" if length is None else str(length) for length in shape)
        raise _unreadable(group, name, f"has shape {values.shape} where {wanted} is expected")
    return values


def number(group: Any, name: str) -> float:
    """A dataset of one number. Raises InputError as :func:`array`."""
    values = array(group, name)
    if values.size != 1:
        raise _unreadable(group, name, f"has shape {values.shape} where one number is expected")
    return float(values.reshape(()))


def rigid_matrix(group: Any, name: str) -> np.ndarray:
    """A dataset of a rigid motion [4, 4]. Raises InputError as :func:`array`, and if it is not rigid."""
    return rigid.validated_pose(array(group, name, (4, 4)), f"{group.name}/{name} of {group.file.filename}")


def _unreadable(group: Any, name: str, problem: str) -> InputError:
    return InputError(f"{group.file.filename}: {group.name.rstrip('/')}/{name} {problem}; download the data set again.")
