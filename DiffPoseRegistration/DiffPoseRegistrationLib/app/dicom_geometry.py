"""X-ray geometry from a DICOM file's own tags, by the GDCM inside SimpleITK."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry.camera import Camera

_DISTANCE, _IMAGER_SPACING, _SPACING, _PRIMARY_ANGLE = "0018|1110", "0018|1164", "0028|0030", "0018|1510"


def file_of(node: slicer.vtkMRMLVolumeNode) -> Path | None:
    """The DICOM file that a volume was loaded from, by Slicer's DICOM database; None if unknown."""
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return None
    path = database.fileForInstance(uids[0])
    return Path(path) if path else None


def read_geometry(path: Path, rows: int, columns: int) -> tuple[Camera, dict[str, str]]:
    """The camera that a DICOM file states for its image of ``rows`` x ``columns``, and where each number
    came from.

    Raises
    ------
    InputError
        If the file is no DICOM image or lacks the distance or the pixel spacing.
    """
    tags = _tags(path)
    distance = _numbers(tags.get(_DISTANCE), 1)
    if distance is not None and distance[0] <= 0:
        distance = None
    spacing, provenance = _numbers(tags.get(_IMAGER_SPACING), 2), {}
    if spacing is not None:
        provenance["pixel_spacing_mm"] = _("Imager Pixel Spacing (0018,1164)")
    else:
        spacing = _numbers(tags.get(_SPACING), 2)
        provenance["pixel_spacing_mm"] = _("Pixel Spacing (0028,0030), which may be corrected for magnification")
    missing = [
        name
        for name, value in (
            (_("source-to-detector distance (0018,1110)"), distance),
            (_("pixel spacing on the detector (0018,1164)"), spacing),
        )
        if value is None
    ]
    if missing:
        raise InputError(
            _("{file} lacks the {missing}; type it in.").format(file=path.name, missing=_(" and the ").join(missing))
        )
    provenance["source_to_detector_mm"] = _("Distance Source to Detector (0018,1110)")
    # A C-arm's picture is shown as one faces the patient; at 0/0 its tube is behind the patient.
    viewed_from = "detector" if _numbers(tags.get(_PRIMARY_ANGLE), 1) is not None else "source"
    provenance["viewed_from"] = _("seen from the {side}, assumed").format(side=viewed_from)
    return Camera(distance[0], rows, columns, spacing, None, viewed_from), provenance


def _tags(path: Path) -> dict[str, str]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.LoadPrivateTagsOff()
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(_("{file} is no DICOM image that can be read; choose another.").format(file=path)) from None
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def _numbers(text: str | None, count: int) -> tuple[float, ...] | None:
    """``count`` numbers of a DICOM value; a spacing of zero means "not known"."""
    try:
        values = tuple(float(part) for part in (text or "").strip("\0 ").split("\\"))
    except ValueError:
        return None
    if len(values) != count or (count == 2 and min(values) <= 0):
        return None
    return values
