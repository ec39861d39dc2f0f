"""The part of an image that its DICOM file calls exposed: display shutter and X-ray collimator (PS3.3 C.7.6.11,
C.8.7.3)."""

from __future__ import annotations

import numpy as np

from .dicom_file import DicomFile

_LEAST_FIELD = 0.1  # of the image; machines that measure their edges from elsewhere leave less, or nothing
_EDGES = ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge", "LowerHorizontalEdge")


def stated_field(file: DicomFile, frame: int = 0) -> np.ndarray | None:
    """Pixels [row, column], bool, inside the shutter and the collimator; None if the file states neither, or an edge
    that leaves next to nothing of the image."""
    field = np.ones((file.rows, file.columns), bool)
    for stem in ("Shutter", "Collimator"):
        shapes = file.value(f"{stem}Shape", frame) or ()
        for shape in (shapes,) if isinstance(shapes, str) else shapes:
            inside = _inside(file, stem, str(shape).upper(), frame)
            if inside is not None and (field & inside).mean() >= _LEAST_FIELD:
                field &= inside
    return None if field.all() else field


def _inside(file: DicomFile, stem: str, shape: str, frame: int) -> np.ndarray | None:
    # The file counts rows and columns from 1, up to the edge's own pixels.
    rows, columns = np.ogrid[1 : file.rows + 1, 1 : file.columns + 1]
    if shape == "RECTANGULAR":
        edges = [file.number(f"{stem}{edge}", frame) for edge in _EDGES]
        if None in edges:
            return None
        left, right, upper, lower = edges
        return (columns >= left) & (columns <= right) & (rows >= upper) & (rows <= lower)
    if shape == "CIRCULAR":
        name = "CenterOfCircularShutter" if stem == "Shutter" else "CenterOfCircularCollimator"
        centre, radius = file.numbers(name, 2, frame), file.positive(f"RadiusOfCircular{stem}", frame)
        if centre is None or radius is None:
            return None
        return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    if shape == "POLYGONAL":
        return _polygon(file, f"VerticesOfThePolygonal{stem}", frame)
    return None


def _polygon(file: DicomFile, keyword: str, frame: int) -> np.ndarray | None:
    """Inside a polygon of (row, column) vertices, its edges included."""
    from PIL import Image, ImageDraw

    found = file.value(keyword, frame)
    vertices = file.numbers(keyword, len(found), frame) if hasattr(found, "__len__") else None
    if vertices is None or len(vertices) < 6 or len(vertices) % 2:
        return None
    drawn = Image.new("1", (file.columns, file.rows))
    corners = [(column - 1, row - 1) for row, column in zip(vertices[::2], vertices[1::2])]
    ImageDraw.Draw(drawn).polygon(corners, fill=1, outline=1)
    return np.array(drawn)
