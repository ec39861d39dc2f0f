"""The ways to refine a pose, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .deadline import Deadline, TimeUp
from .global_search import GlobalOptimum, global_search
from .optimiser import OnStep, Optimiser, Optimum
from .refine import Refinement, refine
from .schedule import ISOLATED, WHOLE_BODY, Schedule, SearchSettings
from .starts import Hypotheses
from .views import View

# lm: our default. adam-diffpose, adam-xvr: those of the papers. cma: a global search, then the default.
METHODS = ("lm", "adam-diffpose", "adam-xvr", "cma")


def refine_by(
    method: str,
    renderer: Renderer,
    xray: XRay | Sequence[View],
    initial_poses: Hypotheses | np.ndarray,
    settings: SearchSettings | None = None,
    isocentre: np.ndarray | None = None,
    on_step: OnStep | None = None,
    seconds: float | None = None,
) -> Refinement:
    """As :func:`.refine.refine`, by one of :data:`METHODS`.

    The papers' methods go from the likeliest of ``initial_poses`` alone; what they find is judged like a pose of the
    default method, so that similarity and predicted error mean the same, but nothing is known of other starts.

    Raises
    ------
    InputError
        If there is no such method, if a method that knows single X-rays only is given several views, or as
        ``refine``.
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}; choose one of {', '.join(METHODS)}.")
    if method == "lm":
        return refine(renderer, xray, initial_poses, settings, isocentre, on_step, seconds)
    if not isinstance(xray, XRay):
        if len(xray) > 1:
            raise InputError(f"The method {method} registers single X-rays; several together take the method lm.")
        xray = xray[0].xray
    if method != "cma" and settings is not None and settings.intrinsics:
        raise InputError(f"The method {method} leaves the camera as it is; to refine it too takes the method lm.")
    initial = Hypotheses.of(initial_poses).poses[0]
    deadline = Deadline(seconds)
    watched = _Watched(initial, on_step)
    renders_before = renderer.renders
    search: Optimum | GlobalOptimum
    try:
        with renderer.checking(deadline.check):
            if method == "cma":
                search = global_search(renderer, xray, initial, isocentre=isocentre, on_step=watched)
            else:
                search = _single_start(method)(renderer, xray, initial, isocentre=isocentre, on_step=watched)
    except TimeUp:
        found = replace(judged(renderer, xray, watched.pose, settings, isocentre), finished=False)
        return replace(
            found,
            initial_pose=initial,
            renders=renderer.renders - renders_before,
            trajectory=watched.trajectory,
        )
    if isinstance(search, GlobalOptimum):
        found = refine(renderer, xray, search.poses, settings, isocentre, on_step, deadline.seconds_left)
        stages, trajectory = {**search.seconds, **found.seconds}, search.trajectory + found.trajectory
    else:
        found = judged(renderer, xray, search.pose, settings, isocentre)
        stages, trajectory = {**search.seconds, "judgement": sum(found.seconds.values())}, search.trajectory
    return replace(
        found,
        initial_pose=initial,
        renders=renderer.renders - renders_before,
        seconds=stages,
        trajectory=trajectory,
    )


class _Watched:
    """Passes steps on; remembers them, and the best pose of the stage under way, should the time be up."""

    def __init__(self, initial: np.ndarray, on_step: OnStep | None) -> None:
        self.pose = initial
        self._on_step = on_step
        self._stage, self._cost = "", np.inf
        self.trajectory: list[dict] = []

    def __call__(self, stage: str, pose: np.ndarray, cost: float) -> None:
        self.trajectory.append({"stage": stage, "cost": cost, "pose": pose.tolist()})
        if stage != self._stage or cost < self._cost:
            self._stage, self._cost, self.pose = stage, cost, pose
        if self._on_step is not None:
            self._on_step(stage, pose, cost)


def judged(
    renderer: Renderer,
    xray: XRay,
    pose: np.ndarray,
    settings: SearchSettings | None = None,
    isocentre: np.ndarray | None = None,
) -> Refinement:
    """``pose`` [4, 4] as it is, with the similarity and covariance that the default method would give it."""
    schedule = (settings.schedule if settings else None) or (ISOLATED if renderer.is_cut_out else WHOLE_BODY)
    only_there = Schedule(search=(replace(schedule.refinement[-1], iterations=1),), refinement=())
    at_the_pose = SearchSettings(rotation_deg=0.0, schedule=only_there)
    return refine(renderer, xray, pose, at_the_pose, isocentre)


def _single_start(method: str) -> Optimiser:
    from .adam import adam_diffpose, adam_xvr

    methods: dict[str, Optimiser] = {"adam-diffpose": adam_diffpose, "adam-xvr": adam_xvr}
    return methods[method]
