"""Other people's renderers, driven with our rays: each is a function of a scene that returns what to time.

A peer gets the volume as attenuation, so that no conversion of its own is timed, and the number of samples that makes
its step as long as ours (nanodrr and DiffDRR place a fixed number between the volume's faces).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.rendering import reference

INSTALL = {
    "nanodrr": "pip install nanodrr==0.1.7",
    "diffdrr": "pip install diffdrr==0.6.1",
    "itk-rtk": "pip install itk-rtk",
    "itk-twoprojectionregistration": "pip install itk-twoprojectionregistration",
}


@dataclass(frozen=True)
class Scene:
    """One volume [k, j, i] (1/mm, float32), its affine, a camera, and poses [n, 4, 4]; ``step_mm`` is the step of the
    trilinear marchers."""

    attenuation: np.ndarray
    ijk_to_ras: np.ndarray
    camera: Camera
    poses: np.ndarray
    step_mm: float

    @property
    def ras_to_ijk(self) -> np.ndarray:
        return np.linalg.inv(self.ijk_to_ras)

    @property
    def isocentre(self) -> np.ndarray:
        return np.zeros(3)

    def crossings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every ray of the first pose: where it enters and leaves the volume's box, as shares of its length, and
        its length in mm; each [rows * columns]. A ray that misses leaves where it enters."""
        import torch

        rays = reference.rays_of(self.camera, self.poses[0], torch.zeros(6).double(), self.isocentre)
        source, directions = (part.numpy() for part in rays)
        matrix, size = self.ras_to_ijk, np.array(self.attenuation.shape[::-1])
        origin, along = matrix[:3, :3] @ source + matrix[:3, 3], directions @ matrix[:3, :3].T
        with np.errstate(divide="ignore"):
            a, b = (-0.5 - origin) / along, (size - 0.5 - origin) / along
        enter = np.clip(np.minimum(a, b).max(axis=1), 0, 1)
        leave = np.maximum(np.clip(np.maximum(a, b).min(axis=1), 0, 1), enter)
        return enter, leave, np.linalg.norm(directions, axis=1)


Call = Callable[[], Any]


def nanodrr(scene: Scene, samples: int | None, gradient: bool) -> Call:
    """nanodrr's torch renderer; ``samples`` None: as many on the longest ray as our step makes there."""
    import torch
    from nanodrr.data import Subject
    from nanodrr.drr.backends import render_torch

    if samples is None:
        enter, leave, length = scene.crossings()
        samples = max(2, round(float(((leave - enter) * length).max()) / scene.step_mm))
    image = torch.from_numpy(scene.attenuation)[None, None]
    affine = torch.from_numpy(scene.ijk_to_ras).float()
    subject = Subject(
        image,
        torch.zeros_like(image),
        affine,
        torch.linalg.inv(affine),
        Subject._make_voxel_to_grid(image.shape),
        torch.zeros(3),
        max_label=0,
        convert_to_mu=False,
    )
    camera = scene.camera
    row, column = np.mgrid[: camera.rows, : camera.columns]
    points = camera.pixels_to_camera(np.stack([column.ravel(), row.ravel()], axis=1))
    target = torch.from_numpy(points).float()[None].expand(len(scene.poses), -1, -1)
    source = torch.zeros(len(scene.poses), 1, 3)
    poses = torch.from_numpy(scene.poses).float()
    step = (target - source).norm(dim=-1) / samples

    def run() -> np.ndarray:
        twists = torch.zeros(len(poses), 4, 4, requires_grad=gradient)
        with torch.set_grad_enabled(gradient):
            moved = poses + twists @ poses  # first order is all that a derivative at zero needs
            made = render_torch(subject, moved, source, target, step, samples, camera.rows, camera.columns)
        if gradient:
            made.sum().backward()
        return made.detach()[:, 0].numpy()

    return run


def diffdrr(scene: Scene, samples: int | None, gradient: bool, siddon: bool = False) -> Call:
    """DiffDRR's renderers, with sources and targets in voxels, as its own DRR module hands them on."""
    import torch
    from diffdrr.renderers import Siddon, Trilinear

    # Its volumes are indexed [i, j, k]; voxel centres at integers is what voxel_shift 0.5 means.
    volume = torch.from_numpy(np.ascontiguousarray(scene.attenuation.transpose(2, 1, 0)))
    affine = torch.from_numpy(scene.ras_to_ijk).float()
    renderer = Siddon() if siddon else Trilinear()
    how = {} if siddon else {"n_points": samples or max(2, round(_sampled_interval_mm(scene) / scene.step_mm))}
    camera = scene.camera

    def run() -> np.ndarray:
        images = []
        for pose in scene.poses:
            twist = torch.zeros(6, requires_grad=gradient)
            with torch.set_grad_enabled(gradient):
                source, directions = reference.rays_of(camera, pose, twist, scene.isocentre)
                start = (affine[:3, :3] @ source + affine[:3, 3])[None, None]
                end = start + (directions @ affine[:3, :3].T)[None]
                length = directions.norm(dim=-1)[None, None]
                made = renderer(volume, start.expand_as(end), end, length, **how)
            if gradient:
                made.sum().backward()
            images.append(made.detach().reshape(camera.rows, camera.columns).numpy())
        return np.stack(images)

    return run


def _sampled_interval_mm(scene: Scene) -> float:
    """Length of the part of the rays that DiffDRR samples: from the first entry to the last exit of any ray."""
    enter, leave, length = scene.crossings()
    hits = leave > enter
    return float((leave[hits].max() - enter[hits].min()) * np.median(length))


def rtk_joseph(scene: Scene) -> Call:
    """itk-rtk's Joseph forward projection (C++, multi-threaded)."""
    import itk
    from itk import RTK as rtk

    kind = itk.Image[itk.F, 3]
    volume = itk.image_from_array(scene.attenuation)
    spacing = np.linalg.norm(scene.ijk_to_ras[:3, :3], axis=0)
    volume.SetSpacing(spacing.tolist())
    volume.SetOrigin(scene.ijk_to_ras[:3, 3].tolist())
    volume.SetDirection(itk.matrix_from_array(scene.ijk_to_ras[:3, :3] / spacing))
    camera = scene.camera
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    corner, right, below = (
        camera.pixels_to_camera(np.array(at, dtype=float)) for at in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    for pose in scene.poses:
        rotation, source = pose[:3, :3], pose[:3, 3]
        u, v = rotation @ (right - corner), rotation @ (below - corner)
        place = rotation @ corner + source
        accepted = geometry.AddProjection(
            itk.Point[itk.D, 3](source.tolist()),
            itk.Point[itk.D, 3](place.tolist()),
            itk.Vector[itk.D, 3]((u / np.linalg.norm(u)).tolist()),
            itk.Vector[itk.D, 3]((v / np.linalg.norm(v)).tolist()),
        )
        if not accepted:
            raise ValueError("RTK refused the geometry")
    blank = itk.image_from_array(np.zeros((len(scene.poses), camera.rows, camera.columns), np.float32))
    blank.SetSpacing([camera.pixel_spacing_mm[1], camera.pixel_spacing_mm[0], 1.0])
    projector = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
    projector.InPlaceOff()  # else the second run finds its input gone
    projector.SetInput(0, blank)
    projector.SetInput(1, volume)
    projector.SetGeometry(geometry)

    def run() -> np.ndarray:
        projector.Modified()
        projector.Update()
        return itk.array_view_from_image(projector.GetOutput())

    return run
