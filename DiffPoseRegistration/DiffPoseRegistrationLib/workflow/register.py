"""Register an X-ray, or several of calibrated cameras, to its CT."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..encoder.model_file import PreparedModel
from ..errors import Cancelled, InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.values import CTVolume, XRay
from ..refinement.deadline import Deadline
from ..refinement.descent import Alternative
from ..refinement.intrinsics import RefinedIntrinsics
from ..refinement.methods import refine_by
from ..refinement.mirror import mirror_gap
from ..refinement.pyramid import reduced
from ..refinement.refine import Refinement
from ..refinement.schedule import IntrinsicsTolerance, SearchSettings
from ..refinement.starts import Hypotheses
from ..refinement.uncertainty import weak_direction
from ..refinement.verdict import ISOLATED_LIMITS, WHOLE_BODY_LIMITS, verdict
from ..refinement.views import View
from ..rendering.renderer import Renderer
from .doubt import PredictedError, disagreement_mm, doubts_about_cameras, doubts_about_views, predicted_error
from .scoring import bone_points

PICTURE_SIDE = 512
ISOLATED_ROTATION_DEG, ISOLATED_TRANSLATION_MM = 5.0, 10.0  # edges capture little more


@dataclass(frozen=True)
class RegisteredView:
    """One X-ray of a registration.

    xray
        As it was compared, with the camera that the pose belongs to.
    camera_to_world, initial_camera_to_world
        Found and initial pose [4, 4], RAS mm.
    similarity
        Mean NCC over the windows of the finest scale, between -1 and 1.
    drr_before, drr_after
        Simulated X-rays at both poses, at most 512 pixels a side; None if no pictures were wanted.
    predicted_image_mm
        Predicted error along the image's columns (left-right), along its rows (up-down) and along the beam.
    intrinsics, given_camera
        What was found of the camera where it was refined too, and the camera before; else None.
    disagreement_mm
        How far this view alone would move the patient across its beam; None for a single view.
    """

    xray: XRay
    camera_to_world: np.ndarray
    initial_camera_to_world: np.ndarray
    similarity: float
    drr_before: np.ndarray | None
    drr_after: np.ndarray | None
    predicted_image_mm: tuple[float, float, float]
    intrinsics: RefinedIntrinsics | None = None
    given_camera: Camera | None = None
    disagreement_mm: float | None = None


@dataclass
class RegistrationResult:
    """A pose and how far to trust it.

    views
        One X-ray, or calibrated ones that share the pose.
    similarity
        Mean over the views.
    seconds
        Wall time by phase. renders: simulated X-rays spent.
    verdict, verdict_reasons
        "accept", "check" or "reject", and why.
    predicted
        Predicted error over the landmarks given, else over points of the CT's bone; ``covariance`` [6, 6] of the twist
        (rad, mm; world axes) about the isocentre is what it follows from.
    landmarks
        Points [n, 3] (RAS, mm) that were given; None if there were none.
    agreement, starts, alternatives
        Share of the starts that led to this pose (None: there was one only), how many they were, and the other poses
        (of the first view) that were left, see ``refinement.refine.Refinement``.
    trajectory
        One entry a step, poses of the first view.
    method
        How the pose was refined, one of ``refinement.methods.METHODS``.
    """

    views: tuple[RegisteredView, ...]
    similarity: float
    seconds: dict[str, float]
    renders: int
    verdict: str
    verdict_reasons: list[str]
    predicted: PredictedError
    covariance: np.ndarray
    landmarks: np.ndarray | None
    agreement: float | None
    starts: int
    alternatives: tuple[Alternative, ...] = ()
    trajectory: list[dict] = field(default_factory=list)
    method: str = "lm"

    @property
    def predicted_error_mm(self) -> float:
        """Predicted root-mean-square error over all points."""
        return self.predicted.overall_mm

    @property
    def camera_to_world(self) -> np.ndarray:
        """Found pose [4, 4] of the first view."""
        return self.views[0].camera_to_world

    def pose_of_view(self, pose: np.ndarray, number: int) -> np.ndarray:
        """The pose [4, 4] of view ``number`` when that of the first is ``pose``."""
        return pose @ rigid.inverse(self.camera_to_world) @ self.views[number].camera_to_world

    @property
    def initial_camera_to_world(self) -> np.ndarray:
        """Initial pose [4, 4] of the first view."""
        return self.views[0].initial_camera_to_world


@dataclass(frozen=True)
class Search:
    """What to search, where it is not to be the default.

    range_deg_mm
        How far off the initial pose may be: degrees about the isocentre, mm across the beam.
    twins
        Whether to start from the opposite side too, if AP and PA may have been confused.
    grid_deg_mm
        Half ranges of a grid of starts about the initial pose.
    intrinsics
        How far what is known of the cameras may be off, for them to be refined too.
    seconds
        Of the whole registration; when they are over the best pose so far is taken and judged.
    """

    range_deg_mm: tuple[float, float] | None = None
    twins: bool = False
    grid_deg_mm: tuple[float, float] | None = None
    intrinsics: IntrinsicsTolerance = field(default_factory=IntrinsicsTolerance)
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, pair in (("range", self.range_deg_mm), ("grid", self.grid_deg_mm)):
            if pair is not None and not (0 <= pair[0] <= 180 and 0 <= pair[1] <= 2000):
                raise InputError(
                    f"The search's {name} is {pair[0]:g} degrees and {pair[1]:g} mm; give 0 to 180 degrees "
                    "and 0 to 2000 mm."
                )
        if self.seconds is not None and not self.seconds >= 0:
            raise InputError(f"The time for a registration is {self.seconds:g} s; give seconds from 0 upwards.")


def register(
    ct: CTVolume,
    xray: XRay | Sequence[View],
    *,
    model: PreparedModel | None = None,
    initial: Hypotheses | np.ndarray | None = None,
    method: str = "lm",
    search: Search | None = None,
    landmarks: np.ndarray | None = None,
    device: str = "auto",
    progress: Callable[[float, str, float | None], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    renderer: Renderer | None = None,
    watch: Callable[[str, np.ndarray, float], None] | None = None,
    pictures: bool = True,
) -> RegistrationResult:
    """The pose of ``xray``, started from what ``model`` reads from it or from ``initial``.

    Several X-rays of calibrated cameras (``View.calibrated``) share one pose, which is told as that of the first view.

    Parameters
    ----------
    initial
        A pose [4, 4] of the first view, or several hypotheses with weights.
    method
        How to refine, one of ``refinement.methods.METHODS``.
    landmarks
        Points [n, 3] (RAS, mm) at which the error is predicted, instead of points of the CT's bone.
    progress
        Called with the share done (0 to 1), a line of text and the remaining seconds (unknown: None).
    cancelled
        Asked at every step and several times a second within a large simulated X-ray; True ends the registration.
    renderer
        One made for ``ct`` before, to save its preparation.
    watch
        Called with the first pose and at every step: stage, current pose [4, 4] of the first view, and
        1 - similarity (for the first pose NaN).
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
    search = search or Search()
    deadline = Deadline(search.seconds)
    seconds: dict[str, float] = {}

    def timed(name: str, since: float) -> float:
        now = time.perf_counter()
        seconds[name] = now - since
        return now

    def stop_if_cancelled() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled

    def say(done: float, text: str) -> None:
        stop_if_cancelled()
        if progress is not None:
            progress(done, text, None)

    clock = time.perf_counter()
    say(0.0, "preparing the CT")
    renderer = renderer or renderer_for(ct)
    clock = timed("volume", clock)
    views = [View.single(xray)] if isinstance(xray, XRay) else list(xray)
    if model is not None:
        say(0.1, "reading the pose from the X-ray")
        model.require_ct(ct)
        views = [replace(view, xray=with_display_side_of(view.xray, model)) for view in views]
        hypotheses = read_from(model, views)
    else:
        assert initial is not None  # as there is no model
        hypotheses = Hypotheses.of(initial)
    clock = timed("initial_pose", clock)
    for view in views:
        _require_projection(ct, view.xray, hypotheses.poses[0] @ view.from_first)
    steps = 0
    if watch is not None:
        watch("start", hypotheses.poses[0], float("nan"))

    def on_step(stage: str, pose: np.ndarray, cost: float) -> None:
        nonlocal steps
        steps += 1
        if watch is not None:
            watch(stage, pose, cost)
        say(0.2 + 0.75 * (1 - 0.95**steps), f"refining at {stage}, 1 - similarity {cost:.4f}")

    settings = search_settings(renderer, model, search)
    with renderer.checking(stop_if_cancelled):
        found = refine_by(method, renderer, views, hypotheses, settings, on_step=on_step, seconds=deadline.seconds_left)
        clock = timed("refinement", clock)
        before = renderer.renders
        mirrored = mirror_gap(renderer, views, found, settings, deadline.seconds_left) if found.finished else None
        renders = found.renders + renderer.renders - before
        if watch is not None:
            watch("found", found.pose, 1 - found.similarity)
        points = bone_points(ct) if landmarks is None else np.asarray(landmarks, dtype=np.float64)
        registered = tuple(_registered(view, found, n, renderer, points, pictures) for n, view in enumerate(views))
    poses = [view.camera_to_world for view in registered]
    predicted = predicted_error(found.covariance, points, renderer.isocentre, poses)
    limits = ISOLATED_LIMITS if renderer.is_cut_out else WHOLE_BODY_LIMITS
    doubts = doubts_about_views([v.disagreement_mm for v in registered if v.disagreement_mm is not None])
    doubts += doubts_about_cameras([one.offsets for one in found.intrinsics], search.intrinsics)
    if not found.finished:
        doubts.append("the time was up before the refinement had ended")
    elif mirrored is None:
        doubts.append("the time was up before the X-ray's mirror image had been tried")
    words = verdict(
        found.similarity, predicted.overall_mm, found.agreement, found.runner_up_gap, limits, doubts, mirrored
    )
    timed("judgement", clock)
    say(1.0, f"done: {words[0]}")
    return RegistrationResult(
        views=registered,
        similarity=found.similarity,
        seconds=seconds,
        renders=renders,
        verdict=words[0],
        verdict_reasons=words[1],
        predicted=predicted,
        covariance=found.covariance,
        landmarks=landmarks,
        agreement=found.agreement,
        starts=found.starts,
        alternatives=found.alternatives,
        trajectory=found.trajectory,
        method=method,
    )


def read_from(model: PreparedModel, views: Sequence[View]) -> Hypotheses:
    """What a model reads from the X-rays of one registration, as poses of the first view."""
    read = [model.hypotheses(view.xray) for view in views]
    poses = [found.poses @ rigid.inverse(view.from_first) for found, view in zip(read, views)]
    return Hypotheses(np.concatenate(poses), np.concatenate([found.weights for found in read]))


def _registered(
    view: View, found: Refinement, number: int, renderer: Renderer, points: np.ndarray, pictures: bool
) -> RegisteredView:
    before, after = (pose @ view.from_first for pose in (found.initial_pose, found.pose))
    intrinsics, given_camera = None, None
    if found.intrinsics:
        intrinsics, given_camera = found.intrinsics[number], view.xray.camera
        view = view.with_camera(intrinsics.applied_to(given_camera))
    drr_before = drr_after = None
    if pictures:
        picture = reduced(view.xray, PICTURE_SIDE).camera
        level = renderer.level_for(picture, float(np.linalg.norm(after[:3, 3] - renderer.isocentre)))
        drr_before, drr_after = renderer.render_batch(picture, np.stack([before, after]), level)
    disagreement = None
    if found.poses_by_view:
        disagreement = disagreement_mm(after, found.poses_by_view[number] @ view.from_first, points)
    return RegisteredView(
        xray=view.xray,
        camera_to_world=after,
        initial_camera_to_world=before,
        similarity=found.view_similarities[number],
        drr_before=drr_before,
        drr_after=drr_after,
        intrinsics=intrinsics,
        given_camera=given_camera,
        predicted_image_mm=weak_direction(found.covariance, points, renderer.isocentre, after),
        disagreement_mm=disagreement,
    )


def renderer_for(ct: CTVolume) -> Renderer:
    """The renderer that a registration of ``ct`` uses: worth keeping where several X-rays of it follow."""
    return Renderer(ct, levels=4)


def search_settings(renderer: Renderer, model: PreparedModel | None, search: Search) -> SearchSettings:
    """How far to search: an isolated bone's edges capture little, a whole body much; a model says itself
    how far off its predictions are; and whoever asks for another range gets it."""
    if search.range_deg_mm is not None:
        reach = search.range_deg_mm
    elif renderer.is_cut_out:
        reach = (ISOLATED_ROTATION_DEG, ISOLATED_TRANSLATION_MM)
    elif model is None:
        reach = (SearchSettings.rotation_deg, SearchSettings.translation_mm)
    else:
        error = float(model.training.get("percentile95_error_mm", 30.0))
        reach = (SearchSettings.rotation_deg, max(SearchSettings.translation_mm, 2 * error))
    return SearchSettings(*reach, twins=search.twins, grid=search.grid_deg_mm, intrinsics=search.intrinsics)


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
