"""Small pictures: as PNG, and in labels of the panel."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import qt
import vtk
from vtk.util import numpy_support


def as_grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """``image`` [row, column] with ``low`` black and ``high`` white, uint8."""
    scaled = (image.astype(np.float64) - low) / max(high - low, 1e-9)
    return np.clip(scaled * 255, 0, 255).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A picture [row, column] (grey) or [row, column, 3] (RGB), uint8, as PNG."""
    with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
        return _write(picture, Path(folder) / "picture.png").read_bytes()


def show_in(label, picture: np.ndarray) -> None:
    """Show a picture [row, column] or [row, column, 3], uint8, in a label."""
    with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
        label.setPixmap(qt.QPixmap(str(_write(picture, Path(folder) / "picture.png"))))


def _write(picture: np.ndarray, path: Path) -> Path:
    rows, columns = picture.shape[:2]
    data = vtk.vtkImageData()
    data.SetDimensions(columns, rows, 1)
    # VTK's pictures begin at the bottom.
    values = np.ascontiguousarray(picture[::-1]).reshape(rows * columns, -1)
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    writer.Write()
    return path
