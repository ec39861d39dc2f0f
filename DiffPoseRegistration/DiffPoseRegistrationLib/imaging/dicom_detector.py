"""Where the beam's axis meets the image, by what a DICOM file tells of its detector and field of view.

Sources: DICOM PS3.3 C.8.11.4 (digital detector), C.8.19.5 (isocentre's projection), C.8.8.2 (RT Image); PS3.17
FFF.2.1.5 (plain XA takes the isocentre to lie in the middle of the field of view).
"""

from __future__ import annotations

from ..errors import InputError
from .dicom_file import DicomFile, tag_words


def principal_point(
    file: DicomFile, frame: int, spacing: tuple[float, float]
) -> tuple[tuple[float, float] | None, str]:
    """(column, row) of the beam's axis, None for the image centre, and where this is from.

    Raises
    ------
    InputError
        If the field of view is turned by no quarter turn, or the image plane is oblique to the beam.
    """
    if file.is_rt_image:
        return _of_rt_image(file, frame, spacing)
    element = file.positive_pair("DetectorElementSpacing", frame)
    origin = file.numbers("FieldOfViewOrigin", 2, frame)
    if origin is None:
        return None, "image centre, assumed"
    if element is None:
        binning = file.positive_pair("DetectorBinning", frame) or (1.0, 1.0)
        element = (spacing[0] / binning[0], spacing[1] / binning[1])
    axis = _axis_on_detector(file, frame, element)
    if axis is None:
        return None, "image centre, assumed, since the file does not tell the detector's size"
    (row, column), words = axis
    rotation = file.number("FieldOfViewRotation", frame) or 0.0
    if rotation % 90:
        raise InputError(
            f"{file.path} states a Field of View Rotation (0018,7032) of {rotation:g}, which is no quarter turn; "
            "export it again or give the geometry with --camera."
        )
    is_flipped = file.text("FieldOfViewHorizontalFlip", frame).upper().startswith("Y")
    # From detector elements to pixels as they lay before turning and flipping; both count centres from 0.
    quarter_turns = int(rotation // 90) % 4
    spacing_before = spacing if quarter_turns % 2 == 0 else (spacing[1], spacing[0])
    row = (row + 0.5 - origin[0]) * element[0] / spacing_before[0] - 0.5
    column = (column + 0.5 - origin[1]) * element[1] / spacing_before[1] - 0.5
    rows, columns = (file.rows, file.columns) if quarter_turns % 2 == 0 else (file.columns, file.rows)
    for _ in range(quarter_turns):  # clockwise
        row, column, rows, columns = column, rows - 1 - row, columns, rows
    if is_flipped:
        column = columns - 1 - column
    turned = f", turned by {rotation:g} degrees" if quarter_turns else ""
    return (column, row), f"{words}, in the field of view at (0018,7030){turned}{', flipped' if is_flipped else ''}"


def _axis_on_detector(
    file: DicomFile, frame: int, element: tuple[float, float]
) -> tuple[tuple[float, float], str] | None:
    """Where the beam's axis meets the physical detector: (row, column) in its elements, centres from 0."""
    isocentre = file.numbers("PositionOfIsocenterProjection", 2, frame)
    if isocentre is not None:
        return (isocentre[0], isocentre[1]), tag_words("PositionOfIsocenterProjection")
    size = file.positive_pair("PhysicalDetectorSize", frame)
    if size is not None:
        middle = (size[0] / element[0] / 2 - 0.5, size[1] / element[1] / 2 - 0.5)
        return middle, f"middle of the detector, assumed, by {tag_words('PhysicalDetectorSize')}"
    active = file.positive_pair("DetectorActiveDimensions", frame)
    if active is not None:
        first = file.numbers("DetectorActiveOrigin", 2, frame) or (0.0, 0.0)
        middle = (first[0] + active[0] / element[0] / 2 - 0.5, first[1] + active[1] / element[1] / 2 - 0.5)
        return middle, f"middle of the active detector, assumed, by {tag_words('DetectorActiveDimensions')}"
    return None


def _of_rt_image(file: DicomFile, frame: int, spacing: tuple[float, float]) -> tuple[tuple[float, float] | None, str]:
    if file.text("RTImagePlane", frame) == "NON_NORMAL":
        raise InputError(
            f"{file.path} has an image plane oblique to the beam (RT Image Plane (3002,000C)); give an image taken "
            "perpendicular to the beam."
        )
    position = file.numbers("RTImagePosition", 2, frame)
    if position is None:
        return None, "image centre, assumed"
    # Of the first pixel's centre from the receptor's origin, y upwards, which is itself shifted from the beam's axis.
    shift = file.numbers("XRayImageReceptorTranslation", 3, frame) or (0.0, 0.0, 0.0)
    words = tag_words("RTImagePosition")
    if any(shift[:2]):
        words += f" and {tag_words('XRayImageReceptorTranslation')}"
    return (-(position[0] + shift[0]) / spacing[1], (position[1] + shift[1]) / spacing[0]), words
