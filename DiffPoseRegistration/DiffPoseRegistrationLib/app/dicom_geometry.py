"""X-ray geometry from the DICOM file that a volume was loaded from; the rules are those of ``imaging``."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry.camera import Camera
from ..imaging import dicom_geometry
from ..imaging.pixel_meaning import PixelMeaning


def file_of(node: slicer.vtkMRMLVolumeNode) -> Path | None:
    """The DICOM file that a volume was loaded from, by Slicer's DICOM database; None if unknown."""
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return None
    path = database.fileForInstance(uids[0])
    return Path(path) if path else None


def meaning_of(node: slicer.vtkMRMLVolumeNode) -> PixelMeaning | None:
    """What the pixels of a volume mean, by the DICOM file that it was loaded from; None if that is unknown."""
    from ..imaging.dicom_intensity import meaning_in_slicer  # brings pydicom, which the panel need not wait for

    path = file_of(node)
    if path is None or not path.is_file():
        return None
    try:
        return meaning_in_slicer(path)
    except InputError:  # then the picture alone must tell
        return None


def read_geometry(path: Path, rows: int, columns: int) -> tuple[Camera, dict[str, str]]:
    """The camera that a DICOM file states for its image of ``rows`` x ``columns``, and where each number
    came from.

    Raises
    ------
    InputError
        If the file is no DICOM image, is of another size, or lacks the distance or the pixel spacing.
    """
    try:
        stated = dicom_geometry.read_geometry(path)
    except dicom_geometry.MissingGeometry as error:
        raise InputError(
            _("{file} lacks the {missing}; type it in.").format(
                file=error.file_name, missing=_(" and the ").join(error.missing)
            )
        ) from None
    camera = stated.camera
    if (camera.rows, camera.columns) != (rows, columns):
        raise InputError(
            _("{file} is {r} x {c} pixels but the X-ray {rows} x {columns}; choose the X-ray's own file.").format(
                file=path.name, r=camera.rows, c=camera.columns, rows=rows, columns=columns
            )
        )
    return camera, stated.provenance
