"""What is known of an X-ray besides its geometry, kept as attributes of its node, so that a saved scene brings it back.

All frames of a sequence have it in common, but for what a registration found.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import slicer

from .frames import frames_of, keep, with_frames

POLARITY_ATTRIBUTE = "DiffPose.Polarity"
INTENSITY_ATTRIBUTE = "DiffPose.Intensity"
ANGLES_ATTRIBUTE = "DiffPose.PositionerAngles"
TOGETHER_ATTRIBUTE = "DiffPose.Together"
OUTCOME_ATTRIBUTE = "DiffPose.Outcome"

# As ``imaging.intensity`` names them.
POLARITIES = ("auto", "bright-is-air", "bright-is-bone")
INTENSITIES = ("auto", "transmission", "logarithmic")


def polarity_of(xray: slicer.vtkMRMLScalarVolumeNode) -> str:
    """What the person says about bright pixels: one of POLARITIES."""
    return xray.GetAttribute(POLARITY_ATTRIBUTE) or "auto"


def set_polarity(xray: slicer.vtkMRMLScalarVolumeNode, polarity: str) -> None:
    """Keep what bright pixels of the X-ray mean. Raises ValueError unless it is one of POLARITIES."""
    if polarity not in POLARITIES:
        raise ValueError(polarity)
    keep(xray, POLARITY_ATTRIBUTE, polarity)


def intensity_of(xray: slicer.vtkMRMLScalarVolumeNode) -> str:
    """What the person says about the scale of the pixels: one of INTENSITIES."""
    return xray.GetAttribute(INTENSITY_ATTRIBUTE) or "auto"


def set_intensity(xray: slicer.vtkMRMLScalarVolumeNode, intensity: str) -> None:
    """Keep whether pixels are proportional to radiation or to its logarithm. Raises ValueError unless it is one of
    INTENSITIES."""
    if intensity not in INTENSITIES:
        raise ValueError(intensity)
    keep(xray, INTENSITY_ATTRIBUTE, intensity)


def angles_of(xray: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float] | None:
    """DICOM's positioner angles (primary, secondary) in degrees; None if they are not known."""
    text = xray.GetAttribute(ANGLES_ATTRIBUTE)
    return tuple(json.loads(text)) if text else None


def set_angles(xray: slicer.vtkMRMLScalarVolumeNode, angles: tuple[float, float] | None) -> None:
    """Keep the positioner angles (primary, secondary) in degrees."""
    keep(xray, ANGLES_ATTRIBUTE, json.dumps(angles) if angles is not None else None)


def is_ticked(xray: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the X-ray is one of those to be registered together."""
    return xray.GetAttribute(TOGETHER_ATTRIBUTE) is not None


def tick(xray: slicer.vtkMRMLScalarVolumeNode, ticked: bool) -> None:
    """Make the X-ray one of those to be registered together, or not."""
    keep(xray, TOGETHER_ATTRIBUTE, "yes" if ticked else None)


def outcome_of(xray: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any] | None:
    """What a registration found of the X-ray, or of the frame that is shown (its ``result.json``); None before."""
    return json.loads(xray.GetAttribute(OUTCOME_ATTRIBUTE) or "null")


def set_outcome(xray: slicer.vtkMRMLScalarVolumeNode, outcome: dict[str, Any], frame: int | None = None) -> None:
    """Keep what a registration found of the X-ray, or of its frame of that number (default: the one shown)."""
    text, frames = json.dumps(outcome), frames_of(xray)
    if frames is None or frame is None or frame == frames.current:
        xray.SetAttribute(OUTCOME_ATTRIBUTE, text)
    if frames is not None:
        frames.data_node(frames.current if frame is None else frame).SetAttribute(OUTCOME_ATTRIBUTE, text)


def change_outcomes(xray: slicer.vtkMRMLScalarVolumeNode, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change what was found of the X-ray and of each of its frames, where there is something."""
    for one in with_frames(xray):
        outcome = outcome_of(one)
        if outcome is not None:
            one.SetAttribute(OUTCOME_ATTRIBUTE, json.dumps(change(outcome)))
