"""Reading poses from X-rays with a trained network: once as they are, then from cameras aimed at the patient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import Camera
from . import aim
from .frame import PoseFrame
from .network import Outputs, PoseEncoder
from .network_input import network_input
from .parameterisation import Parameterisation

_AT_ONCE = 64  # images through the network
_EXACT_LOOKS = 2  # before those around: each starts from a better aim than the one before


class XRayStack:
    """X-rays of one camera, as another camera at the same source, aimed at will, would have seen them.

    Every pixel of the other camera looks along a ray, and so does every pixel of the X-rays' own: matching rays, not
    pixels, serves X-rays with another pixel size, distance, crop or display side. Averaging comes before sampling, so
    that nothing aliases.

    Parameters
    ----------
    images, masks
        Attenuation [n, rows, columns] and where it may be used.
    camera
        Of the X-rays.
    seen_by
        The other camera, such as the network's.
    """

    def __init__(self, images: Tensor, masks: Tensor, camera: Camera, seen_by: Camera) -> None:
        self._camera, self._seen_by = camera, seen_by
        pixels = aim.seen_pixels(camera, seen_by, aim.straight(1))[0]
        # How many X-ray pixels one pixel of the other camera spans decides how far to average first.
        span = np.linalg.norm(pixels[0, 1] - pixels[0, 0]) if seen_by.columns > 1 else 1.0
        factor = max(1, round(float(span)))
        size = (max(1, camera.rows // factor), max(1, camera.columns // factor))
        mask = masks.float()[:, None]
        weight = torch.nn.functional.interpolate(mask, size=size, mode="area")
        image = torch.nn.functional.interpolate(images.float()[:, None] * mask, size=size, mode="area")
        self._image, self._weight = image / weight.clamp_min(1e-6), weight

    def __len__(self) -> int:
        return len(self._image)

    def seen(self, which: Sequence[int] | np.ndarray, aims: aim.Aim) -> tuple[Tensor, Tensor]:
        """Images and masks [m, 1, rows, columns] of the X-rays ``which`` [m] in cameras with ``aims`` of as many."""
        pixels = aim.seen_pixels(self._camera, self._seen_by, aims)
        # grid_sample's coordinates with align_corners=False: -1 and 1 are the outer edges of the image.
        grid = (pixels + 0.5) / np.array([self._camera.columns, self._camera.rows]) * 2 - 1
        where = torch.from_numpy(np.nan_to_num(grid, nan=9.0).astype(np.float32))
        chosen = torch.as_tensor(np.asarray(which))
        sample = torch.nn.functional.grid_sample
        mask = sample(self._weight[chosen], where, align_corners=False, padding_mode="zeros") > 0.5
        image = sample(self._image[chosen], where, align_corners=False, padding_mode="border")
        return image, mask.float()


@dataclass(frozen=True)
class Readings:
    """What was read from n X-rays.

    poses, weights
        Poses [n, h, 4, 4] and how likely each is [n, h], adding up to one.
    looks
        The poses [n, h, k, 4, 4] that aimed cameras gave, of which ``poses`` are the means; k may be 0.
    """

    poses: np.ndarray
    weights: np.ndarray
    looks: np.ndarray


class PoseReader:
    """Reads poses with a network.

    Parameters
    ----------
    looks
        From how many aimed cameras each pose is read again; 0: the first reading stands.
    """

    def __init__(
        self,
        network: PoseEncoder,
        parameterisation: Parameterisation,
        frame: PoseFrame,
        looks: int,
        device: str = "cpu",
    ) -> None:
        self._network, self._parameterisation, self._frame = network, parameterisation, frame
        self._looks, self._device = looks, device

    def read(self, xrays: XRayStack, count: int | None = None) -> Readings:
        """The poses of the first ``count`` (default: all) of ``xrays``; the same X-ray always gives the same."""
        with torch.no_grad():
            return self._read(xrays, len(xrays) if count is None else count)

    def _read(self, xrays: XRayStack, count: int) -> Readings:
        hypotheses = self._network.shape.hypotheses
        which = np.repeat(np.arange(count), hypotheses)
        rotations, positions, weights = self._predict(xrays, np.arange(count), aim.straight(count))
        rotations, positions = rotations.reshape(-1, 3, 3), positions.reshape(-1, 3)  # [n h]
        weight, looks = weights.reshape(-1), np.empty((len(which), 0, 4, 4))
        if self._looks:
            for _ in range(_EXACT_LOOKS):
                exact = self._aim(rotations, positions)
                rotations, positions, _ = self._look(xrays, which, exact, rotations, positions)
            exact = self._aim(rotations, positions)
            random = np.random.default_rng(0)
            found = []
            for _ in range(self._looks):
                aims = exact.then(aim.spread(random, 1))  # the same for every X-ray, whoever is read beside it
                found.append(self._look(xrays, which, aims, rotations, positions))
            looks = np.stack([self._frame.poses(r, p) for r, p, _ in found], axis=1)
            rotations = _mean_rotation(np.stack([r for r, _, _ in found]))
            positions = np.mean([p for _, p, _ in found], axis=0)
            weight = weight * np.mean([w for _, _, w in found], axis=0)
        likely = weight.reshape(count, hypotheses)
        return Readings(
            self._frame.poses(rotations, positions).reshape(count, hypotheses, 4, 4),
            likely / likely.sum(1, keepdims=True),
            looks.reshape(count, hypotheses, looks.shape[1], 4, 4),
        )

    def _aim(self, rotations: np.ndarray, positions: np.ndarray) -> aim.Aim:
        return aim.towards(rotations, positions, self._frame.position[2])

    def _look(
        self, xrays: XRayStack, which: np.ndarray, aims: aim.Aim, rotations: np.ndarray, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotations, positions and weights that aimed cameras give, in the camera as it was: of each camera's
        hypotheses the one nearest to what is believed so far."""
        turned, seen_at, weights = self._predict(xrays, which, aims)  # [m, h, ...]
        back = turned @ np.swapaxes(aims.turns, 1, 2)[:, None]
        seen_at = np.einsum("mij,mhj->mhi", aims.turns, seen_at)
        angle = np.arccos(np.clip((np.einsum("mhij,mij->mh", back, rotations) - 1) / 2, -1, 1))
        apart = np.linalg.norm(seen_at - positions[:, None], axis=-1)
        nearest = (angle / self._frame.rotation_rad.max() + apart / self._frame.translation_mm.max()).argmin(1)
        every = np.arange(len(which))
        return back[every, nearest], seen_at[every, nearest], weights[every, nearest]

    def _predict(self, xrays: XRayStack, which: np.ndarray, aims: aim.Aim) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the aimed cameras the rotations [m, h, 3, 3], positions [m, h, 3] and weights [m, h] that the network
        gives."""
        parts = []
        for start in range(0, len(which), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            there = aims.of(part)
            shown = network_input(*xrays.seen(which[part], there), self._network.shape.contrast_boxes_px)
            outputs = apply(self._network, shown.to(self._device))
            zooms = torch.from_numpy(there.zooms).to(outputs.poses)
            seen = self._parameterisation(outputs.poses).through(zooms[:, None])
            parts.append((seen.rotation, seen.position, outputs.weights.softmax(1)))
        rotations, positions, weights = (torch.cat(tensors).double().cpu().numpy() for tensors in zip(*parts))
        return _orthonormal(rotations), positions, weights


def apply(network: PoseEncoder, image: Tensor, learning: bool = False) -> Outputs:
    """The network's outputs, float32; inside, bfloat16 on GPUs that have it and, when learning, on processors that
    have it. So a model reads the same on every processor."""
    if image.is_cuda:
        reduced = torch.cuda.is_bf16_supported()
    else:
        # Processors without these instructions would be slower. torch has no public name for the question.
        reduced = learning and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    with torch.autocast(image.device.type, torch.bfloat16, enabled=reduced):
        outputs = network(image.contiguous(memory_format=torch.channels_last))
    coordinates, votes = (None if part is None else part.float() for part in outputs[2:])
    return Outputs(outputs.poses.float(), outputs.weights.float(), coordinates, votes)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A few small images are done in milliseconds by one thread; several wait for one another on a busy machine, for
    half a second in our trials."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _mean_rotation(rotations: np.ndarray) -> np.ndarray:
    """Mean [n, 3, 3] of rotations [k, n, 3, 3], the one of least squared chordal distance."""
    return _orthonormal(rotations.mean(axis=0))


def _orthonormal(matrices: np.ndarray) -> np.ndarray:
    """Nearest rotations [..., 3, 3]."""
    u, _, vt = np.linalg.svd(matrices)
    u[..., :, 2] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt
