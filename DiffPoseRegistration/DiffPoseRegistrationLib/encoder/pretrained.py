"""A pretrained network: what it learned from many patients, to begin a patient's own training with.

One safetensors file as for a patient's model (see :mod:`.model_file`), with the mean of the patients as a thumbnail:
what a new patient's CT is aligned with, so that the network's poses mean the same in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.values import CTVolume
from .frame import PoseFrame
from .model_file import (
    DAMAGED,
    PRETRAINED_FORMAT,
    built_network,
    damaged,
    described_network,
    read_tensors,
    write_tensors,
)
from .network import PoseEncoder
from .settings import TrainingSettings

_TEMPLATE = "template"
_BEYOND_DEG = 20.0  # of the range that was learned from, a finetuning may begin


@dataclass(frozen=True)
class PretrainedEncoder:
    """A network that knows patients in general.

    network, frame, settings
        The weights, what their poses are relative to (in the template's space), and how they were trained.
    camera, pose_range
        Of the X-rays learned from.
    template
        The mean of the patients, 8 mm voxels.
    training
        The training's record, with ``volumes``: how many there were.
    """

    network: PoseEncoder
    frame: PoseFrame
    settings: TrainingSettings
    camera: Camera
    pose_range: PoseRange
    template: CTVolume
    training: dict[str, Any]

    def require_range(self, pose_range: PoseRange, motion: np.ndarray) -> None:
        """Raises InputError if a patient's range, the template lying at ``motion`` [4, 4] in the patient's space, has
        its middle far from what was learned from."""
        moved = self.frame.moved(motion)
        turn = moved.centre[:3, :3].T @ pose_range.centre[:3, :3]
        apart = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0)))
        most = max(self.pose_range.half_ranges()[0]) + _BEYOND_DEG
        if apart > most:
            raise InputError(
                f"The pretrained network knows views up to {most - _BEYOND_DEG:.0f} degrees from another one, "
                f"{apart:.0f} degrees away from the middle of the range asked for; pretrain for this view, or prepare "
                "without --from."
            )


def save_pretrained(pretrained: PretrainedEncoder, path: str | Path) -> None:
    """Writes ``pretrained`` to ``path``, whole or not at all. Raises InputError if the file cannot be written."""
    template = pretrained.template
    description = {
        **described_network(pretrained.network, pretrained.frame, pretrained.settings, pretrained.camera),
        "pose_range": pretrained.pose_range.to_json(),
        "template_ijk_to_ras": template.ijk_to_ras.tolist(),
        "training": pretrained.training,
    }
    tensors = {**pretrained.network.state_dict(), _TEMPLATE: torch.from_numpy(np.round(template.hounsfield)).short()}
    write_tensors(path, PRETRAINED_FORMAT, description, tensors)


def load_pretrained(path: str | Path) -> PretrainedEncoder:
    """Reads a pretrained network.

    Raises
    ------
    InputError
        If the file is missing, damaged, no pretrained network or from another version.
    """
    description, tensors = read_tensors(path, PRETRAINED_FORMAT)
    try:
        voxels = tensors.pop(_TEMPLATE).float().numpy()
        network, frame, settings, camera = built_network(description, tensors)
        return PretrainedEncoder(
            network,
            frame,
            settings,
            camera,
            PoseRange.from_json(description["pose_range"]),
            CTVolume(voxels, np.array(description["template_ijk_to_ras"]), "the pretrained network's template"),
            description["training"],
        )
    except DAMAGED as error:
        raise damaged(path, error) from error
