"""Source distance and principal point as nuisances: refined with the pose, each within its tolerance.

Moving a pixel's place on the detector, or the detector, turns the ray from the source to it. With the ray's direction d
(source to pixel) and its change e by a parameter, that is the turn ``omega = d x e / |d|^2`` about the source (what e
has along d only moves the ray's end, behind the patient), and the pose's Jacobian knows what a turn about the source
does to the pixel. So the derivative by every parameter is exact and costs no further render.

A parameter's prior is Gaussian, its standard deviation half the tolerance, and it does not leave the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..geometry import rigid
from ..geometry.camera import Camera
from .descent import Descent
from .judgement import evidence
from .levenberg_marquardt import LEVER_ARM_MM, minimise
from .optimiser import OnStep
from .schedule import IntrinsicsTolerance, Schedule
from .uncertainty import CALIBRATION, sandwich_covariance
from .views import PosePrior, StageObjective

PARAMETERS = ("principal_point_column_px", "principal_point_row_px", "source_to_detector_mm")
_DAMPING = 1e-4  # the valley of depth and source distance is long and narrow
_ITERATIONS = 25


@dataclass(frozen=True)
class RefinedIntrinsics:
    """Of one view: what was added to :data:`PARAMETERS` [3], and how uncertain that is (standard deviations [3])."""

    offsets: np.ndarray
    deviations: np.ndarray

    def applied_to(self, camera: Camera) -> Camera:
        """The refined camera; ``camera`` is that of the whole X-ray or of a part of it, at its full resolution."""
        return _shifted(camera, self.offsets)


@dataclass(frozen=True)
class IntrinsicsFit:
    """Pose [4, 4] of the first view, what was found of the views' cameras, the last stage's objective with these
    cameras, and the covariance [6, 6] of the pose's twist, to which the doubt about the cameras has been added."""

    pose: np.ndarray
    refined: tuple[RefinedIntrinsics, ...]
    objective: StageObjective
    covariance: np.ndarray


def fit_intrinsics(
    descent: Descent, schedule: Schedule, pose: np.ndarray, tolerance: IntrinsicsTolerance, on_step: OnStep | None
) -> IntrinsicsFit:
    """Refines the cameras of all of the descent's views together with the ``pose`` [4, 4] found, at its two finest
    scales."""
    state = np.concatenate([pose, np.zeros((4, len(descent.views)))], axis=1)
    for stage in (schedule.search + schedule.refinement)[-2:]:
        base = descent.objective_at(stage, pose[None])
        objective = IntrinsicsObjective(base, tolerance, state)

        def step(states: np.ndarray, cost: np.ndarray, name: str = f"{stage.side} px, intrinsics") -> None:
            if on_step is not None:
                on_step(name, states[0, :, :4], float(cost[0]))

        found = minimise(
            objective,
            state[None],
            descent.isocentre,
            iterations=_ITERATIONS,
            tolerance_mm=stage.tolerance_mm / 10,
            damping=_DAMPING,
            on_step=step,
            move=objective.move,
            scale=objective.scale,
        )
        state = found.poses[0]
    covariance = objective.covariance(state)
    deviations = objective.spread(np.sqrt(np.maximum(np.diag(covariance)[6:], 0.0)))
    refined = tuple(RefinedIntrinsics(offset.copy(), sigma) for offset, sigma in zip(state[:3, 4:].T, deviations))
    views = [v.with_camera(one.applied_to(v.xray.camera)) for v, one in zip(descent.views, refined)]
    return IntrinsicsFit(state[:, :4], refined, base.with_views(views), covariance[:6, :6])


class IntrinsicsObjective(StageObjective):
    """A stage's objective of the pose and of every view's free parameters: cost [n], gradient [n, p] and normal matrix
    [n, p, p] at states [n, 4, 4 + views], a pose and beside it one column for each view, what is added to
    :data:`PARAMETERS` (its fourth entry is nothing).

    ``base`` is the same stage's objective of the pose alone, ``state`` [4, 4 + views] where the search begins.
    """

    def __init__(self, base: StageObjective, tolerance: IntrinsicsTolerance, state: np.ndarray) -> None:
        self.__dict__.update(vars(base))  # its images and measures, as they are
        limits = np.array([tolerance.principal_point_px] * 2 + [tolerance.source_to_detector_mm])
        self._limits, self._free = limits, np.flatnonzero(limits > 0)
        self._pose_prior, self.prior = base.prior, None
        size = 6 + len(self.views) * len(self._free)
        self._unit = 0.0
        self._precision = np.zeros(size)
        here = evidence(self, state)
        # The cost of a residual of one standard deviation, by how the images' pieces scatter: what the prior has to
        # be measured in to count as much as the images do.
        unit = CALIBRATION**2 * float(np.trace(np.linalg.lstsq(here.normal[:6, :6], here.scatter[:6, :6])[0])) / 6
        self._unit = unit
        self._precision[6:] = np.tile(unit * (2 / limits[self._free]) ** 2, len(self.views))
        self.prior = self._priors

    @property
    def scale(self) -> np.ndarray:
        """What a change of each parameter [p] moves at the patient, mm."""
        of_view = []
        for view in self.views:
            camera = view.xray.camera
            distance = 0.7 * camera.source_to_detector_mm  # roughly; it only conditions the equations
            row_mm, column_mm = (s * distance / camera.source_to_detector_mm for s in camera.pixel_spacing_mm)
            of_view.append(np.array([column_mm, row_mm, LEVER_ARM_MM / camera.source_to_detector_mm])[self._free])
        return np.concatenate([[LEVER_ARM_MM] * 3 + [1.0] * 3, *of_view])

    def move(self, states: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """``states`` moved by ``steps`` [n, p], the parameters no further than their limits."""
        moved = states.copy()
        moved[:, :, :4] = rigid.update_pose(states[:, :, :4], steps[:, :6], self.isocentre)
        for view, added in enumerate(np.split(steps[:, 6:], len(self.views), axis=1)):
            column = moved[:, :3, 4 + view]
            column[:, self._free] += added
            moved[:, :3, 4 + view] = np.clip(column, -self._limits, self._limits)
        return moved

    def render(self, view: int, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Simulated X-rays of one view and their Jacobians [n, rows, columns, p], at states."""
        images, jacobians = [], []
        free = len(self._free)
        for state in np.asarray(poses).reshape(-1, 4, 4 + len(self.views)):
            camera = self._camera(view, state)
            pose = state[:, :4] @ self.views[view].from_first
            image, by_pose = self.renderer.render_with_jacobian(
                camera, pose[None], self.isocentre, self.grid_levels[view]
            )
            full = np.zeros((*by_pose.shape[1:3], len(self._precision)), np.float32)
            full[..., :6] = by_pose[0]
            by_parameter = by_intrinsics(camera, pose, by_pose[0], self.isocentre) * self._to_level(view)
            full[..., 6 + view * free : 6 + (view + 1) * free] = by_parameter[..., self._free]
            images.append(image[0])
            jacobians.append(full)
        return np.stack(images), np.stack(jacobians)

    def covariance(self, state: np.ndarray) -> np.ndarray:
        """Of all parameters [p, p] at a state: of the images' pieces and the prior together."""
        here = evidence(self, state)
        prior = np.diag(self._precision)
        return sandwich_covariance(here.normal + prior, here.scatter + prior * self._unit / CALIBRATION**2, here.noise)

    def spread(self, free: np.ndarray) -> np.ndarray:
        """Values [views x free] of the free parameters as [views, 3], zero for the others."""
        full = np.zeros((len(self.views), 3))
        full[:, self._free] = free.reshape(len(self.views), -1)
        return full

    def _camera(self, view: int, state: np.ndarray) -> Camera:
        return _shifted(self.levels[view].camera, state[:3, 4 + view] * self._to_level(view))

    def _to_level(self, view: int) -> np.ndarray:
        """Changes [3] of the level's parameters by those of the whole X-ray: its pixels are larger."""
        whole, level = self.views[view].xray.camera.pixel_spacing_mm, self.levels[view].camera.pixel_spacing_mm
        return np.array([whole[1] / level[1], whole[0] / level[0], 1.0])

    def _priors(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost [n], gradient [n, p] and normal matrix [n, p, p] of what is known beside the images."""
        count, size = len(states), len(self._precision)
        offsets = np.concatenate([states[:, :3, 4 + n][:, self._free] for n in range(len(self.views))], axis=1)
        cost = 0.5 * (self._precision[6:] * offsets**2).sum(axis=1)
        gradient, normal = np.zeros((count, size)), np.zeros((count, size, size))
        gradient[:, 6:] = self._precision[6:] * offsets
        normal[:] = np.diag(self._precision)
        if isinstance(self._pose_prior, PosePrior):
            more = self._pose_prior(states[:, :, :4])
            cost, gradient[:, :6] = cost + more[0], gradient[:, :6] + more[1]
            normal[:, :6, :6] += more[2]
        return cost, gradient, normal


def by_intrinsics(camera: Camera, pose: np.ndarray, jacobian: np.ndarray, isocentre: np.ndarray) -> np.ndarray:
    """Derivatives [rows, columns, 3] of an image by the principal point (column, row; px) and the source-to-detector
    distance (mm), from its Jacobian [rows, columns, 6] by the twist of the camera at ``pose`` [4, 4] about
    ``isocentre`` [3]. The detector lies behind the patient."""
    columns, rows = np.meshgrid(np.arange(camera.columns), np.arange(camera.rows))
    direction = camera.pixels_to_camera(np.stack([columns, rows], axis=-1))
    row_mm, column_mm = camera.pixel_spacing_mm
    changes = np.array([[-column_mm * camera.u_sign, 0.0, 0.0], [0.0, -row_mm, 0.0], [0.0, 0.0, 1.0]])
    turns = np.cross(direction[..., None, :], changes) / np.square(direction).sum(axis=-1)[..., None, None]
    turns = turns @ pose[:3, :3].T  # about the source, world axes: [rows, columns, 3 parameters, 3]
    shifts = -np.cross(turns, pose[:3, 3] - isocentre)  # with which the source stays where it is
    by_turn, by_shift = jacobian[..., None, :3], jacobian[..., None, 3:]
    return (by_turn * turns).sum(axis=-1) + (by_shift * shifts).sum(axis=-1)


def _shifted(camera: Camera, offsets: np.ndarray) -> Camera:
    """``camera`` with ``offsets`` [3] added to :data:`PARAMETERS`."""
    column, row = camera.principal_point_px
    return replace(
        camera,
        principal_point_px=(column + float(offsets[0]), row + float(offsets[1])),
        source_to_detector_mm=camera.source_to_detector_mm + float(offsets[2]),
    )
