"""Landmarks in files: JSON of ours, and the markups that 3D Slicer saves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .file_views import read_entry, split_view
from .files import LPS_RAS, existing_file

KEY = "landmarks_ras_mm"


def read_landmarks(spec: str | Path) -> np.ndarray:
    """Points [n, 3] (RAS, mm) from JSON with ``landmarks_ras_mm`` (``FILE`` or ``FILE:VIEW``), or from a point list of
    3D Slicer (``.mrk.json``, ``.fcsv``), in the coordinates that it states.

    Raises
    ------
    InputError
        If the file is missing, holds no points, or they are no three finite numbers each.
    """
    path, view = split_view(spec)
    if view is None and path.suffix.lower() == ".fcsv":
        existing_file(path, "landmarks")
        return _fcsv(path)
    entry, name = read_entry(spec, "landmarks")
    if "markups" in entry:
        return _markups(entry["markups"], name)
    if entry.get(KEY) is None:
        raise InputError(f"{name} holds no landmarks; give '{KEY}', or a point list that 3D Slicer saved.")
    return points(entry[KEY], f"{KEY} of {name}")


def points(value: Any, name: str) -> np.ndarray:
    """``value`` as points [n, 3], n at least one. Raises InputError with ``name`` if it is none."""
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.ndim != 2 or found.shape[1] != 3 or len(found) == 0 or not np.isfinite(found).all():
        raise InputError(f"{name} must be a list of points of three numbers (RAS, mm) each.")
    return found


def _markups(markups: Any, name: str) -> np.ndarray:
    """Of all lists in a Slicer markups file (its JSON schema 1.0.3)."""
    found = []
    for one in markups if isinstance(markups, list) else []:
        if not isinstance(one, dict):
            continue
        if one.get("coordinateUnits", "mm") not in ("mm", ["mm"]):
            raise InputError(f"{name} is not in millimetres; save the markups again in 3D Slicer.")
        defined = [p for p in one.get("controlPoints", []) if p.get("positionStatus", "defined") == "defined"]
        if defined:
            placed = points([p.get("position") for p in defined], f"The markups in {name}")
            found.append(_to_ras(placed, str(one.get("coordinateSystem", "LPS"))))
    if not found:
        raise InputError(f"{name} holds no placed points; place the landmarks in 3D Slicer and save them again.")
    return np.concatenate(found)


def _fcsv(path: Path) -> np.ndarray:
    """The older point list of Slicer: comments with the coordinate system, then id, x, y, z, ..."""
    system, rows = "RAS", []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.reader(stream):
                if row and row[0].startswith("#"):
                    key, _, value = row[0].lstrip("# ").partition("=")
                    if key.strip() == "CoordinateSystem":
                        system = value.strip()
                elif len(row) >= 4:
                    rows.append([float(value) for value in row[1:4]])
    except (OSError, ValueError, csv.Error):
        raise InputError(f"{path} is no point list that can be read; save it again in 3D Slicer.") from None
    return _to_ras(points(rows, f"The points in {path.name}"), system)


def _to_ras(found: np.ndarray, system: str) -> np.ndarray:
    """Old files number the systems: 0 is RAS, 1 is LPS."""
    return found @ LPS_RAS[:3, :3] if system in ("LPS", "1") else found
