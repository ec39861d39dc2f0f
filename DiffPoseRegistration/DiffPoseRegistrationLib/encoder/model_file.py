"""A prepared model: the trained network with everything it was trained for, in one safetensors file.

No pickle: tensors and a JSON text in the file's metadata, so that opening a model runs no code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .. import __version__
from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.files import write_whole
from ..imaging.values import CTVolume, XRay
from ..imaging.volume_mapping import VolumeMapping
from ..refinement.starts import Hypotheses
from . import aim, hypotheses
from .frame import PoseFrame
from .network import PoseEncoder
from .reading import PoseReader, XRayStack, one_thread
from .settings import TrainingSettings
from .simulator import network_camera

FORMAT, PRETRAINED_FORMAT = "diffpose-model", "diffpose-pretrained"
FORMAT_VERSION = 4
DAMAGED = (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, InputError)
_LEAST_SEEN = 0.2  # of the network's image


@dataclass(frozen=True)
class PreparedModel:
    """A network that knows one CT.

    network, frame, settings
        The weights, what their poses are relative to, and how they were trained and are read.
    camera
        The X-ray camera that it was trained for. pose_range: the poses it was trained on.
    ct_fingerprint, ct_name
        The CT that it was trained on.
    mapping
        How its values became Hounsfield units; to be read by it again.
    training
        The training's record: time, images, errors on unseen simulated X-rays.
    """

    network: PoseEncoder
    frame: PoseFrame
    settings: TrainingSettings
    camera: Camera
    pose_range: PoseRange
    ct_fingerprint: str
    ct_name: str
    mapping: VolumeMapping
    training: dict[str, Any]

    def require_ct(self, ct: CTVolume) -> None:
        """Raises InputError if ``ct`` is not the CT of this model."""
        if ct.fingerprint != self.ct_fingerprint:
            raise InputError(
                f"The model was made for another CT ({self.ct_name}) than {ct.name}; prepare a model for this CT."
            )

    def hypotheses(self, xray: XRay) -> Hypotheses:
        """The poses that the network reads from an X-ray, with weights, the likeliest first.

        An X-ray of another detector, with another pixel size, distance, crop or display side, is resampled along its
        rays.

        Raises
        ------
        InputError
            If the X-ray shows too little of what the network was trained to see.
        """
        seen_by = network_camera(self.camera, self.settings.image_side)
        stack = XRayStack(
            torch.from_numpy(xray.attenuation)[None], torch.from_numpy(xray.mask)[None], xray.camera, seen_by
        )
        seen = float(stack.seen([0], aim.straight(1))[1].mean())
        if seen < _LEAST_SEEN:
            raise InputError(
                f"{xray.name} shows only {seen:.0%} of the field of view that the model was made for (detector of "
                f"{_size_in_words(self.camera)}, the X-ray's {_size_in_words(xray.camera)}); prepare a model with "
                "this X-ray's geometry."
            )
        with one_thread():
            parameterisation = self.settings.parameterisation(self.frame)
            readings = PoseReader(self.network, parameterisation, self.frame, self.settings.looks).read(stack)
        return hypotheses.weighed(readings, self.pose_range)

    def predict(self, xray: XRay) -> np.ndarray:
        """The likeliest pose [4, 4] that the network reads from an X-ray."""
        return self.hypotheses(xray).poses[0]


def _size_in_words(camera: Camera) -> str:
    height, width = np.array(camera.pixel_spacing_mm) * (camera.rows, camera.columns)
    return f"{width:.0f} x {height:.0f} mm at {camera.source_to_detector_mm:.0f} mm"


def save_model(model: PreparedModel, path: str | Path) -> None:
    """Writes ``model`` to ``path``, whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    description = {
        **described_network(model.network, model.frame, model.settings, model.camera),
        "pose_range": model.pose_range.to_json(),
        "ct": {"fingerprint": model.ct_fingerprint, "name": model.ct_name, "mapping": model.mapping.to_json()},
        "training": model.training,
    }
    write_tensors(path, FORMAT, description, model.network.state_dict())


def load_model(path: str | Path) -> PreparedModel:
    """Reads a model.

    Raises
    ------
    InputError
        If the file is missing, damaged, no DiffPose model or from another version.
    """
    description, tensors = read_tensors(path, FORMAT)
    try:
        network, frame, settings, camera = built_network(description, tensors)
        return PreparedModel(
            network,
            frame,
            settings,
            camera,
            PoseRange.from_json(description["pose_range"]),
            description["ct"]["fingerprint"],
            description["ct"]["name"],
            VolumeMapping.from_json(description["ct"]["mapping"]),
            description["training"],
        )
    except DAMAGED as error:
        raise damaged(path, error) from error


def described_network(
    network: PoseEncoder, frame: PoseFrame, settings: TrainingSettings, camera: Camera
) -> dict[str, Any]:
    """What :func:`built_network` reads."""
    return {
        "hypotheses": network.shape.hypotheses,
        "frame": frame.to_json(),
        "settings": settings.to_json(),
        "camera": camera.to_json(),
    }


def built_network(
    description: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[PoseEncoder, PoseFrame, TrainingSettings, Camera]:
    """The network of a file with its weights, frame, settings and camera. Raises what a damaged file may raise."""
    settings = TrainingSettings.from_json(description["settings"])
    frame = PoseFrame.from_json(description["frame"])
    network = PoseEncoder(settings.network_shape(frame))
    network.load_state_dict(tensors)
    return network.eval(), frame, settings, Camera.from_json(description["camera"])


def write_tensors(path: str | Path, form: str, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Writes tensors with a description, whole or not at all. Raises InputError if it cannot be written."""
    described = {"format_version": FORMAT_VERSION, "diffpose": __version__, **description}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = save(tensors, {"format": form, "description": json.dumps(described)})

    def write(target: Path) -> None:
        target.write_bytes(content)

    write_whole(path, write)


def read_tensors(path: str | Path, form: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a file of the format ``form``.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another format or version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; make a model with 'diffpose prepare'.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        description = json.loads(metadata.get("description", "{}"))
        version = int(description.get("format_version", 0))
    except DAMAGED as error:
        raise damaged(path, error) from error
    found = metadata.get("format")
    if found != form and {found, form} == {FORMAT, PRETRAINED_FORMAT}:
        raise InputError(
            f"{path} is a {'pretrained network' if form == FORMAT else 'model of one CT'}; "
            + (
                "make a model of your CT from it with 'diffpose prepare --from'."
                if form == FORMAT
                else "give one that 'diffpose pretrain' made."
            )
        )
    if found != form:
        raise InputError(f"{path} is not a DiffPose model; make one with 'diffpose prepare'.")
    if version > FORMAT_VERSION:
        raise InputError(f"{path} was made by a newer DiffPose ({description.get('diffpose')}); update this one.")
    if 0 < version < FORMAT_VERSION:
        raise InputError(f"{path} was made by an older DiffPose ({description.get('diffpose')}); prepare it again.")
    return description, tensors


def damaged(path: str | Path, error: BaseException) -> InputError:
    """What to say of a file that cannot be what it claims to be."""
    return InputError(f"{path} is damaged ({type(error).__name__}); prepare the model again.")
