"""Poses in the words and angles a clinician reads."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .pose_range import VIEWS, view_pose


def positioner_angles(pose: np.ndarray) -> tuple[float, float, float]:
    """DICOM's angles of a pose [4, 4] for a supine patient whose body axes are the CT's: primary
    (0018,1510; detector towards the patient's left, LAO, positive), secondary (0018,1511; cranial positive)
    and the roll of the detector about the beam, in degrees.

    0, 0, 0: detector in front of the patient, source behind, image rows towards the feet.
    """
    beam, rows = pose[:3, 2], pose[:3, 1]
    primary = np.arctan2(-beam[0], beam[1])
    secondary = np.arcsin(np.clip(beam[2], -1, 1))
    towards_feet = np.array([0.0, 0.0, -1.0])
    towards_feet = towards_feet - (towards_feet @ beam) * beam
    length = np.linalg.norm(towards_feet)
    if length < 1e-9:  # the beam runs along the body: there is no direction to measure the roll from
        return float(np.rad2deg(primary)), float(np.rad2deg(secondary)), 0.0
    towards_feet /= length
    roll = np.arctan2(np.cross(towards_feet, rows) @ beam, towards_feet @ rows)
    return float(np.rad2deg(primary)), float(np.rad2deg(secondary)), float(np.rad2deg(roll))


def pose_at_angles(
    primary_deg: float, secondary_deg: float, isocentre: np.ndarray, source_to_isocentre_mm: float
) -> np.ndarray:
    """The pose [4, 4] that has these positioner angles, without roll, and whose beam passes ``isocentre`` [3] (RAS).

    Raises
    ------
    InputError
        If the beam would run along the body, where the image has no upright.
    """
    if abs(abs(secondary_deg) - 90.0) < 1e-3:
        raise InputError("At a secondary angle of 90 degrees the beam runs along the body; place the X-ray by hand.")
    primary, secondary = np.deg2rad([primary_deg, secondary_deg])
    beam = np.array([-np.sin(primary) * np.cos(secondary), np.cos(primary) * np.cos(secondary), np.sin(secondary)])
    rows = np.array([0.0, 0.0, -1.0]) + beam[2] * beam
    rows /= np.linalg.norm(rows)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = np.cross(rows, beam), rows, beam
    pose[:3, 3] = np.asarray(isocentre, dtype=np.float64) - source_to_isocentre_mm * beam
    return pose


def pose_in_words(pose: np.ndarray, isocentre: np.ndarray) -> str:
    """A sentence such as "beam AP, source turned 12.3 deg to the patient's left and 4.0 deg towards the head,
    image rolled 1.2 deg, isocentre 702 mm from the source and 14 mm beside the beam"."""
    source_direction = -pose[:3, 2]
    view = max(VIEWS, key=lambda name: float(-view_pose(name, np.zeros(3), 1.0)[:3, 2] @ source_direction))
    nominal = -view_pose(view, np.zeros(3), 1.0)[:3, 2]
    # Along this horizontal direction the source leaves the nominal view.
    sideways = np.cross(nominal, [0.0, 0.0, 1.0])
    turn = np.rad2deg(np.arctan2(source_direction @ sideways, source_direction @ nominal))
    tilt = np.rad2deg(np.arcsin(np.clip(source_direction[2], -1, 1)))
    leaving = sideways * np.sign(turn or 1.0)
    if abs(leaving[0]) > 0.5:
        side = "to the patient's right" if leaving[0] > 0 else "to the patient's left"
    else:
        side = "to the front" if leaving[1] > 0 else "to the back"
    end = "towards the head" if tilt >= 0 else "towards the feet"
    roll = positioner_angles(pose)[2]
    in_camera = pose[:3, :3].T @ (np.asarray(isocentre, dtype=np.float64) - pose[:3, 3])
    return (
        f"beam {view}, source turned {abs(turn):.1f} deg {side} and {abs(tilt):.1f} deg {end}, "
        f"image rolled {roll:.1f} deg, isocentre {in_camera[2]:.0f} mm from the source and "
        f"{np.hypot(in_camera[0], in_camera[1]):.0f} mm beside the beam"
    )
