"""The ways to refine a pose, by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..imaging.values import XRay
from ..rendering.renderer import Renderer
from .optimiser import OnStep, Optimiser
from .refine import Refinement, refine
from .schedule import ISOLATED, WHOLE_BODY, Schedule, SearchSettings

# lm: our default. adam-diffpose, adam-xvr: those of the papers. cma: a global search, then the default.
METHODS = ("lm", "adam-diffpose", "adam-xvr", "cma")


def refine_by(
    method: str,
    renderer: Renderer,
    xray: XRay,
    initial_poses: np.ndarray,
    settings: SearchSettings | None = None,
    isocentre: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> Refinement:
    """As :func:`.refine.refine`, by one of :data:`METHODS`.

    The papers' methods go from the first of ``initial_poses`` [n, 4, 4] alone; what they find is judged like a
    pose of the default method, so that similarity and predicted error mean the same, but nothing is known of
    other starts.

    Raises
    ------
    InputError
        If there is no such method, or as ``refine``.
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}; choose one of {', '.join(METHODS)}.")
    if method == "lm":
        return refine(renderer, xray, initial_poses, settings, isocentre, on_step)
    initial = np.asarray(initial_poses, dtype=np.float64).reshape(-1, 4, 4)[0]
    if method == "cma":
        from .global_search import global_search

        search = global_search(renderer, xray, initial, isocentre=isocentre, on_step=on_step)
        found = refine(renderer, xray, search.poses, settings, isocentre, on_step)
        seconds, trajectory = {**search.seconds, **found.seconds}, search.trajectory + found.trajectory
    else:
        search = _single_start(method)(renderer, xray, initial, isocentre=isocentre, on_step=on_step)
        found = judged(renderer, xray, search.pose, settings, isocentre)
        seconds, trajectory = {**search.seconds, "judgement": sum(found.seconds.values())}, search.trajectory
    return replace(
        found,
        initial_pose=initial,
        renders=search.renders + found.renders,
        seconds=seconds,
        trajectory=trajectory,
    )


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

    return {"adam-diffpose": adam_diffpose, "adam-xvr": adam_xvr}[method]
