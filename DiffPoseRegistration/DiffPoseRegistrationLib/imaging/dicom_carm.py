"""Where a C-arm says it stood, and from which side its image is seen.

Sources: DICOM PS3.3 C.8.7.5 (positioner angles), C.8.19.6.13 (isocentre reference system), C.7.6.1.1.1 (Patient
Orientation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dicom_file import DicomFile

# Unit vectors (LPS) of the letters of Patient Orientation (0020,0020).
_LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
# Direction of the beam (LPS) by View Position (0018,5101), which names where it enters and leaves; lateral views are
# named by the side at the detector by some and by the side where the beam enters by others.
_BEAMS = {"AP": (0, 1, 0), "PA": (0, -1, 0)}
_SURELY_ALONG = 0.5  # cosine


@dataclass(frozen=True)
class CArmPosition:
    """Where a C-arm says it stood, relative to the patient on the table: a prior, never the truth.

    primary_deg, secondary_deg
        DICOM's positioner angles (LAO and cranial positive).
    source_to_isocentre_mm
        None if the file does not say. words: from which tags.
    """

    primary_deg: float
    secondary_deg: float
    source_to_isocentre_mm: float | None
    words: str


def c_arm_position(file: DicomFile, frame: int = 0) -> CArmPosition | None:
    """Where the C-arm stood when ``frame`` was taken; None if the file has no angles."""
    for stem, words in (
        ("Positioner", "Positioner Primary and Secondary Angle (0018,1510), (0018,1511)"),
        ("PositionerIsocenter", "Positioner Isocenter Angles (0018,9463), (0018,9464), for a patient on the back"),
    ):
        primary, secondary = (file.number(f"{stem}{axis}Angle", frame) for axis in ("Primary", "Secondary"))
        if primary is not None and secondary is not None:
            return CArmPosition(
                primary + _increment(file, "Primary", frame),
                secondary + _increment(file, "Secondary", frame),
                file.positive("DistanceSourceToIsocenter", frame) or file.positive("DistanceSourceToPatient", frame),
                words,
            )
    return None


def _increment(file: DicomFile, axis: str, frame: int) -> float:
    """How much a frame of a rotating run is away from the first one's angle."""
    increments = file.numbers(f"Positioner{axis}AngleIncrement", file.frames, frame)
    return 0.0 if increments is None else increments[frame]


def viewed_from(file: DicomFile, frame: int) -> tuple[str, str]:
    """The side from which the stored image is seen, and why."""
    if file.is_rt_image:
        return "source", "source, as defined for RT images (beam's eye view)"
    by_orientation = _side_by_orientation(file, frame)
    if by_orientation is not None:
        return by_orientation
    if file.number("PositionerIsocenterPrimaryAngle", frame) is not None:
        # The detector's rows and columns are defined as one looks towards the source; a flip mirrors them.
        if file.text("FieldOfViewHorizontalFlip", frame).upper().startswith("Y"):
            return "source", "source, since the isocentre system looks towards it and the field is flipped (0018,7034)"
        return "detector", "detector, as defined for the isocentre reference system (0018,9462)"
    # A C-arm's picture is shown as one faces the patient; at 0/0 its tube is behind the patient.
    if file.number("PositionerPrimaryAngle", frame) is not None:
        return "detector", "detector, assumed, since the file has C-arm angles (0018,1510)"
    return "source", "source, assumed, since the file has no C-arm angles (0018,1510)"


def _side_by_orientation(file: DicomFile, frame: int) -> tuple[str, str] | None:
    """From which way rows and columns run in the patient, and which way the beam does."""
    letters = file.value("PatientOrientation", frame)
    beam, beam_words = _beam(file, frame)
    if beam is None or letters is None or isinstance(letters, str) or len(letters) != 2:
        return None
    # Of a direction such as "LA" the first letter is the main one; the others only lean.
    along = [_LETTERS.get(str(word).strip()[:1].upper()) for word in letters]
    rows, columns = along
    if rows is None or columns is None:
        return None
    looking = np.cross(rows, columns)  # the way one looks at the picture
    cosine = float(looking @ beam)
    if abs(cosine) < _SURELY_ALONG:
        return None
    side = "source" if cosine > 0 else "detector"
    return side, f"{side}, by Patient Orientation (0020,0020) and {beam_words}"


def _beam(file: DicomFile, frame: int) -> tuple[np.ndarray | None, str]:
    """Direction of the beam in the patient (LPS)."""
    position = c_arm_position(file, frame)
    if position is not None:
        primary, secondary = np.deg2rad([position.primary_deg, position.secondary_deg])
        direction = (np.sin(primary) * np.cos(secondary), -np.cos(primary) * np.cos(secondary), np.sin(secondary))
        return np.array(direction), "the C-arm's angles"
    view = file.text("ViewPosition", frame).upper()
    return (
        (np.array(_BEAMS[view], dtype=float), f"View Position (0018,5101) = {view}") if view in _BEAMS else (None, "")
    )
