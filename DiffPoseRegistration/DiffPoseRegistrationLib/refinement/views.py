"""One or several X-rays of one patient position, and their common objective.

Calibrated views (a biplane system, or a C-arm whose moves are tracked) are rigid to one another:
``pose of view k = pose of view 0 @ from_first[k]``. A twist about the isocentre in world axes then moves all
cameras alike, so gradients and normal matrices of the views simply add up.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.masks import saturation
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .levenberg_marquardt import Objective
from .pyramid import XRayLevel, cropped_to_projection, reduced
from .schedule import Stage
from .similarity import WindowedNCC

_MIDDLING_SIDE = 256
_CLIPPED_WEIGHT = 0.01
_GLARE_RIM = 0.02  # of the image's longest side


@dataclass(frozen=True)
class View:
    """An X-ray and where its camera stands relative to the first view's.

    from_first
        ``pose = pose of the first view @ from_first`` [4, 4]; the identity for the first view itself.
    """

    xray: XRay
    from_first: np.ndarray
    _levels: dict[int, XRayLevel] = field(default_factory=dict, repr=False, compare=False)

    def level(self, side: int) -> XRayLevel:
        """The X-ray at most ``side`` pixels a side; kept, as a search passes the same scales more than once."""
        if side not in self._levels:
            # Small images come from a middling one: to average all pixels of the X-ray anew for each takes longest.
            source = self.level(_MIDDLING_SIDE) if side <= _MIDDLING_SIDE / 2 else self.xray
            self._levels[side] = reduced(source, side)
        return self._levels[side]

    @classmethod
    def single(cls, xray: XRay) -> View:
        return cls(xray, np.eye(4))

    @classmethod
    def calibrated(cls, xrays: list[XRay], poses: list[np.ndarray]) -> list[View]:
        """Views whose cameras stand to one another as ``poses`` (camera to any common frame) do."""
        return [cls(x, rigid.inverse(poses[0]) @ p) for x, p in zip(xrays, poses, strict=True)]

    def with_camera(self, camera: Camera) -> View:
        """The same X-ray with another camera of the same size."""
        xray = self.xray
        other = XRay(xray.attenuation, camera, xray.mask, xray.name, xray.provenance, xray.warnings)
        return View(other, self.from_first)

    def cropped(self, renderer: Renderer, poses: np.ndarray, margin_mm: float) -> View:
        """This view cut to where the CT projects from ``poses`` [n, 4, 4] of the first view."""
        part = cropped_to_projection(self.xray, renderer.grids[0], poses @ self.from_first, margin_mm)
        return View(part, self.from_first)


@dataclass(frozen=True)
class PosePrior:
    """A quadratic cost of leaving the nearest of ``poses`` [m, 4, 4]: ``weight`` for each coordinate of the twist
    about ``isocentre`` that is off by its ``half_range`` [6] (rad, mm)."""

    poses: np.ndarray
    isocentre: np.ndarray
    half_range: np.ndarray
    weight: float

    def __call__(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost [n], gradient [n, 6] and normal matrix [n, 6, 6] at poses [n, 4, 4]."""
        # To first order in the rotation, which is small within the range, the twist's own change is the update.
        motion = rigid.about_point(poses[:, None] @ rigid.inverse(self.poses), -self.isocentre)
        ratios = rigid.se3_log(motion) / self.half_range
        nearest = (ratios**2).sum(axis=-1).argmin(axis=1)
        ratio = ratios[np.arange(len(poses)), nearest]
        gradient = 2 * self.weight * ratio / self.half_range
        normal = np.broadcast_to(np.diag(2 * self.weight / self.half_range**2), (len(poses), 6, 6))
        return self.weight * (ratio**2).sum(axis=1), gradient, normal


class StageObjective:
    """The cost of poses [n, 4, 4] of the first view at one stage, summed over the views.

    Parameters
    ----------
    clutter
        Per view an array of pixel weights of any size (resized to the stage), or None.
    prior
        What is known of the pose beside the images, or None.
    """

    def __init__(
        self,
        renderer: Renderer,
        views: list[View],
        stage: Stage,
        isocentre: np.ndarray,
        distance_mm: float,
        clutter: list[np.ndarray] | None = None,
        prior: PosePrior | None = None,
    ) -> None:
        self.renderer, self.isocentre = renderer, isocentre
        self.prior: Objective | None = prior
        self.views = views
        self.levels: list[XRayLevel] = []
        self.similarities: list[WindowedNCC] = []
        self.grid_levels: list[int] = []
        self._rendered: dict[int, tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]] = {}
        for n, view in enumerate(views):
            level = view.level(stage.side)
            weight = level.weight if clutter is None else level.weight * resized(clutter[n], level.weight.shape)
            self.levels.append(level)
            self.similarities.append(
                WindowedNCC(
                    level.image,
                    weight,
                    stage.windows,
                    stage.shares,
                    stage.robust_scale,
                    stage.image_filter,
                    stage.sigma_px,
                )
            )
            self.grid_levels.append(renderer.level_for(level.camera, distance_mm))

    def with_views(self, views: list[View]) -> StageObjective:
        """The same stage for the same X-rays with other cameras."""
        other = copy.copy(self)
        other.views, other._rendered = views, {}
        other.levels = [
            replace(level, camera=view.xray.camera.resampled(level.camera.rows, level.camera.columns))
            for view, level in zip(views, self.levels)
        ]
        return other

    def __call__(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost [n], gradient [n, 6] and Gauss-Newton matrix [n, 6, 6]: means over the views, plus the prior."""
        parts = [similarity(*self.render(n, poses)) for n, similarity in enumerate(self.similarities)]
        terms = [np.asarray(sum(part[k] for part in parts)) / len(parts) for k in range(3)]
        if self.prior is not None:
            terms = [term + more for term, more in zip(terms, self.prior(poses), strict=True)]
        cost, gradient, normal = terms
        return cost, gradient, normal

    def of_view(self, view: int) -> Objective:
        """The cost of one view alone, of poses of the first view."""
        return lambda poses: self.similarities[view](*self.render(view, poses))

    def render(self, view: int, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Simulated X-rays of one view and their Jacobians, for poses [n, 4, 4] of the first view; the last are kept,
        as who judges a pose asks again for what the search ended with."""
        if view in self._rendered and np.array_equal(self._rendered[view][0], poses):
            return self._rendered[view][1]
        camera = self.levels[view].camera
        placed = poses @ self.views[view].from_first
        images = self.renderer.render_with_jacobian(camera, placed, self.isocentre, self.grid_levels[view])
        self._rendered[view] = (poses.copy(), images)
        return images


def resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``image`` [rows, columns] at another size, by the nearest pixel."""
    rows = np.minimum((np.arange(shape[0]) + 0.5) * image.shape[0] / shape[0], image.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(shape[1]) + 0.5) * image.shape[1] / shape[1], image.shape[1] - 1).astype(int)
    return image[rows[:, None], columns[None, :]]


def weights_without_glare(xray: XRay) -> np.ndarray:
    """Weights [rows, columns] for a search that has failed: little where the picture is clipped white.

    That is open field, which shows the patient's outline, or glare, which shows nothing; once there are candidates
    :func:`clutter_weights` tells.
    """
    clipped = saturation(xray.attenuation, xray.mask, at_largest=False)
    if clipped.any():
        clipped = ndimage.distance_transform_edt(~clipped) <= _GLARE_RIM * max(clipped.shape)
    return np.where(clipped, _CLIPPED_WEIGHT, 1.0).astype(np.float32)


def clutter_weights(level: XRayLevel, drrs: np.ndarray, tolerance: float = 3.0) -> np.ndarray:
    """Weights [rows, columns] that spare the search what no candidate pose explains.

    ``drrs`` [n, rows, columns] are simulated at the best poses so far. Each is fitted to the X-ray by a
    line; a pixel's residual is the smallest over the candidates (the benefit of the doubt), measured in
    robust deviations, and weighted as by Geman and McClure: a label, a rod or a saturated corner disagrees
    everywhere and by much, a wrong pose here and there.
    """
    used = level.weight > 0.5
    x = level.image
    residuals = []
    for drr in drrs:
        weight = np.where(used, 1.0, 0.0)
        for _ in range(3):  # a line that the clutter itself does not bend
            total = max(weight.sum(), 1e-9)
            mx, md = (weight * x).sum() / total, (weight * drr).sum() / total
            slope = (weight * (drr - md) * (x - mx)).sum() / max((weight * (drr - md) ** 2).sum(), 1e-9)
            residual = np.abs(x - mx - slope * (drr - md))
            scale = 1.4826 * np.median(residual[used]) + 1e-9
            weight = np.where(used, 1 / (1 + (residual / (tolerance * scale)) ** 2) ** 2, 0.0)
        residuals.append(residual / scale)
    smallest = np.min(residuals, axis=0)
    return (1 / (1 + (smallest / tolerance) ** 2) ** 2).astype(np.float32)
