"""A prepared model: the trained network with everything it was trained for, in one safetensors file.

No pickle: tensors and a JSON text in the file's metadata, so that opening a model runs no code.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .. import __version__
from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..imaging.files import write_whole
from ..imaging.values import CTVolume, XRay
from .augmentation import normalised
from .coordinates import coordinates_to_poses
from .network import PoseEncoder
from .simulator import network_camera

FORMAT = "diffpose-model"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class PreparedModel:
    """A network that knows one CT.

    camera
        The X-ray camera that it was trained for. pose_range: the poses it was trained on.
    ct_fingerprint, ct_name
        The CT that it was trained on.
    training
        The training's record: settings, time, images, errors on unseen simulated X-rays.
    """

    network: PoseEncoder
    camera: Camera
    pose_range: PoseRange
    ct_fingerprint: str
    ct_name: str
    training: dict[str, Any]

    def require_ct(self, ct: CTVolume) -> None:
        """Raises InputError if ``ct`` is not the CT of this model."""
        if ct.fingerprint != self.ct_fingerprint:
            raise InputError(
                f"The model was made for another CT ({self.ct_name}) than {ct.name}; prepare a model for this CT."
            )

    def predict(self, xray: XRay) -> np.ndarray:
        """The pose [4, 4] that the network reads from an X-ray."""
        image, mask = network_input(xray, network_camera(self.camera))
        with torch.no_grad(), _one_thread():
            coordinates = self.network.eval()(normalised(image, mask)).double().numpy()
        return rigid.validated_pose(coordinates_to_poses(coordinates, self.pose_range)[0], "The predicted pose")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One small image is done in milliseconds by one thread; several wait for one another on a busy machine, for
    half a second in our trials."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def network_input(xray: XRay, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Attenuation and mask [1, 1, rows, columns] of ``xray`` as ``camera`` would have seen it.

    Every pixel of ``camera`` looks along a ray, and so does every pixel of the X-ray's own camera: matching
    rays, not pixels, serves X-rays with another pixel size, distance, crop or display side. Averaging
    comes before sampling, so that nothing aliases.
    """
    columns, rows = np.meshgrid(np.arange(camera.columns), np.arange(camera.rows))
    rays = camera.pixels_to_camera(np.stack([columns, rows], axis=-1).astype(np.float64))
    pixels = xray.camera.project(rays)
    # How many X-ray pixels one network pixel spans decides how far to average first.
    span = np.linalg.norm(pixels[0, 1] - pixels[0, 0]) if camera.columns > 1 else 1.0
    factor = max(1, round(float(span)))
    size = (max(1, xray.camera.rows // factor), max(1, xray.camera.columns // factor))
    mask = torch.from_numpy(xray.mask.astype(np.float32))[None, None]
    image = torch.from_numpy(xray.attenuation)[None, None] * mask
    reduce = torch.nn.functional.interpolate
    image, weight = reduce(image, size=size, mode="area"), reduce(mask, size=size, mode="area")
    image = image / weight.clamp_min(1e-6)
    # grid_sample's coordinates with align_corners=False: -1 and 1 are the outer edges of the image.
    grid = (pixels + 0.5) / np.array([xray.camera.columns, xray.camera.rows]) * 2 - 1
    where = torch.from_numpy(grid.astype(np.float32))[None]
    sample = torch.nn.functional.grid_sample
    seen = sample(weight, where, align_corners=False, padding_mode="zeros") > 0.5
    return sample(image, where, align_corners=False, padding_mode="border"), seen.float()


def save_model(model: PreparedModel, path: str | Path) -> None:
    """Writes ``model`` to ``path``, whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "diffpose": __version__,
        "widths": list(model.network.widths),
        "camera": model.camera.to_json(),
        "pose_range": model.pose_range.to_json(),
        "ct": {"fingerprint": model.ct_fingerprint, "name": model.ct_name},
        "training": model.training,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.network.state_dict().items()}
    content = save(tensors, {"format": FORMAT, "description": json.dumps(description)})
    write_whole(path, lambda target: target.write_bytes(content))


def load_model(path: str | Path) -> PreparedModel:
    """Reads a model.

    Raises
    ------
    InputError
        If the file is missing, damaged, no DiffPose model or from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; make a model with 'diffpose prepare'.")
    damaged = (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        description = json.loads(metadata.get("description", "{}"))
        is_newer = description.get("format_version", 0) > FORMAT_VERSION
    except damaged as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); prepare the model again.") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is not a DiffPose model; make one with 'diffpose prepare'.")
    if is_newer:
        raise InputError(f"{path} was made by a newer DiffPose ({description.get('diffpose')}); update this one.")
    try:
        network = PoseEncoder(tuple(description["widths"]))
        network.load_state_dict(tensors)
        return PreparedModel(
            network.eval(),
            Camera.from_json(description["camera"]),
            PoseRange.from_json(description["pose_range"]),
            description["ct"]["fingerprint"],
            description["ct"]["name"],
            description["training"],
        )
    except (*damaged, InputError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); prepare the model again.") from error
