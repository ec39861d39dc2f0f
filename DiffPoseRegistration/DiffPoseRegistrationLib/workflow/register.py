"""Register one X-ray to its CT."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..encoder.model_file import PreparedModel
from ..errors import Cancelled, InputError
from ..geometry import rigid
from ..imaging.values import CTVolume, XRay
from ..refinement.methods import refine_by
from ..refinement.pyramid import reduced
from ..refinement.refine import Refinement
from ..refinement.schedule import SearchSettings
from ..refinement.uncertainty import predicted_errors
from ..refinement.verdict import ISOLATED_LIMITS, WHOLE_BODY_LIMITS, verdict
from ..rendering.renderer import Renderer
from .scoring import bone_points

PICTURE_SIDE = 512
ISOLATED_ROTATION_DEG, ISOLATED_TRANSLATION_MM = 5.0, 10.0  # edges capture little more


@dataclass
class RegistrationResult:
    """A pose and how far to trust it.

    camera_to_world, initial_camera_to_world
        Found and initial pose [4, 4], RAS mm.
    similarity
        Mean NCC over the windows of the finest scale, between -1 and 1.
    seconds
        Wall time by phase. renders: simulated X-rays spent.
    verdict, verdict_reasons
        "accept", "check" or "reject", and why.
    predicted_error_mm
        Predicted root-mean-square error over points of the CT's bone; ``covariance`` [6, 6] of the twist
        (rad, mm; world axes) about the isocentre is what it follows from.
    drr_before, drr_after
        Simulated X-rays at both poses, at most 512 pixels a side; None if no pictures were wanted.
    trajectory
        One entry a step.
    method
        How the pose was refined, one of ``refinement.methods.METHODS``.
    """

    camera_to_world: np.ndarray
    initial_camera_to_world: np.ndarray
    similarity: float
    seconds: dict[str, float]
    renders: int
    verdict: str
    verdict_reasons: list[str]
    predicted_error_mm: float
    covariance: np.ndarray
    drr_before: np.ndarray | None
    drr_after: np.ndarray | None
    trajectory: list[dict] = field(default_factory=list)
    method: str = "lm"


def register(
    ct: CTVolume,
    xray: XRay,
    *,
    model: PreparedModel | None = None,
    initial: np.ndarray | None = None,
    method: str = "lm",
    device: str = "auto",
    progress: Callable[[float, str, float | None], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    renderer: Renderer | None = None,
    watch: Callable[[str, np.ndarray, float], None] | None = None,
    pictures: bool = True,
) -> RegistrationResult:
    """The pose of ``xray``, started from what ``model`` reads from it or from the pose ``initial`` [4, 4].

    Parameters
    ----------
    method
        How to refine, one of ``refinement.methods.METHODS``.
    progress
        Called with the share done (0 to 1), a line of text and the remaining seconds (unknown: None).
    cancelled
        Asked at every step; True ends the registration.
    renderer
        One made for ``ct`` before, to save its preparation.
    watch
        Called with the first pose and at every step: stage, current pose [4, 4], and 1 - similarity (for the first
        pose NaN).
    pictures
        Whether to simulate X-rays at the initial and at the found pose for the overlay.

    Raises
    ------
    InputError
        If the model belongs to another CT, or the CT does not project into the image from the start.
    Cancelled
        If ``cancelled`` said so.
    """
    if (model is None) == (initial is None):
        raise InputError("A registration starts either from a model or from an initial pose: give one of them.")
    seconds: dict[str, float] = {}

    def timed(name: str, since: float) -> float:
        now = time.perf_counter()
        seconds[name] = now - since
        return now

    def say(done: float, text: str) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled
        if progress is not None:
            progress(done, text, None)

    clock = time.perf_counter()
    say(0.0, "preparing the CT")
    renderer = renderer or renderer_for(ct)
    clock = timed("volume", clock)
    if model is not None:
        say(0.1, "reading the pose from the X-ray")
        model.require_ct(ct)
        xray = with_display_side_of(xray, model)
        initial = model.predict(xray)
    else:
        initial = rigid.validated_pose(initial, "The initial pose")
    clock = timed("initial_pose", clock)
    _require_projection(ct, xray, initial)
    steps = 0
    if watch is not None:
        watch("start", initial, float("nan"))

    def on_step(stage: str, pose: np.ndarray, cost: float) -> None:
        nonlocal steps
        steps += 1
        if watch is not None:
            watch(stage, pose, cost)
        say(0.2 + 0.75 * (1 - 0.95**steps), f"refining at {stage}, 1 - similarity {cost:.4f}")

    found = refine_by(method, renderer, xray, initial, search_settings(renderer, model), on_step=on_step)
    clock = timed("refinement", clock)
    if watch is not None:
        watch("found", found.pose, 1 - found.similarity)
    before, after = None, None
    if pictures:
        picture = reduced(xray, PICTURE_SIDE).camera
        level = renderer.level_for(picture, float(np.linalg.norm(found.pose[:3, 3] - renderer.isocentre)))
        before, after = renderer.render_batch(picture, np.stack([initial, found.pose]), level)
    predicted = predicted_error(found, ct, renderer)
    limits = ISOLATED_LIMITS if renderer.is_cut_out else WHOLE_BODY_LIMITS
    words = verdict(found.similarity, predicted, found.agreement, found.runner_up_gap, limits)
    timed("judgement", clock)
    say(1.0, f"done: {words[0]}")
    return RegistrationResult(
        camera_to_world=found.pose,
        initial_camera_to_world=initial,
        similarity=found.similarity,
        seconds=seconds,
        renders=found.renders,
        verdict=words[0],
        verdict_reasons=words[1],
        predicted_error_mm=predicted,
        covariance=found.covariance,
        drr_before=before,
        drr_after=after,
        trajectory=found.trajectory,
        method=method,
    )


def renderer_for(ct: CTVolume) -> Renderer:
    """The renderer that a registration of ``ct`` uses: worth keeping where several X-rays of it follow."""
    return Renderer(ct, levels=4)


def search_settings(renderer: Renderer, model: PreparedModel | None) -> SearchSettings:
    """How far to search: an isolated bone's edges capture little, a whole body much; a model says itself
    how far off its predictions are."""
    if renderer.is_cut_out:
        return SearchSettings(ISOLATED_ROTATION_DEG, ISOLATED_TRANSLATION_MM)
    if model is None:
        return SearchSettings()
    return SearchSettings(translation_mm=max(60.0, 2 * float(model.training.get("percentile95_error_mm", 30.0))))


def predicted_error(found: Refinement, ct: CTVolume, renderer: Renderer) -> float:
    """Predicted root-mean-square error (mm) over points of the CT's bone."""
    errors = predicted_errors(found.covariance, bone_points(ct), renderer.isocentre)
    return float(np.sqrt((errors**2).mean()))


def with_display_side_of(xray: XRay, model: PreparedModel) -> XRay:
    """``xray`` seen from the side that the model was trained for, where the X-ray's file does not say.

    No DICOM attribute tells whether an image is stored as seen from the source or from the detector; what
    was said when the model was prepared then holds for every X-ray of that machine.
    """
    side = model.camera.viewed_from
    if xray.camera.viewed_from == side or "assumed" not in xray.provenance.get("viewed_from", ""):
        return xray
    provenance = {**xray.provenance, "viewed_from": "as the model was prepared"}
    return XRay(
        xray.attenuation, replace(xray.camera, viewed_from=side), xray.mask, xray.name, provenance, xray.warnings
    )


def _require_projection(ct: CTVolume, xray: XRay, pose: np.ndarray) -> None:
    """An initial pose that looks away from the CT cannot be refined."""
    centre = rigid.transform_points(rigid.inverse(pose), ct.centre_ras[None])[0]
    if centre[2] <= 0:
        raise InputError(
            f"The initial pose looks away from {ct.name}; check that it is camera-to-world in RAS millimetres and "
            "belongs to this CT."
        )
    pixel = xray.camera.project(centre)
    size = np.array([xray.camera.columns, xray.camera.rows])
    if (pixel < -2 * size).any() or (pixel > 3 * size).any():
        raise InputError(
            f"From the initial pose {ct.name} projects far outside the X-ray; check that the pose belongs to this CT."
        )
