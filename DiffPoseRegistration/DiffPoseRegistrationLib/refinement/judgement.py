"""What the finest stage says of a pose: how well the images agree, and how far the pose may be off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .uncertainty import least_squares_covariance
from .views import StageObjective


@dataclass(frozen=True)
class Judgement:
    """Mean NCC over the windows that the CT projects into (mean over the views, and of each view; NaN where it
    projects nowhere), and the covariance [6, 6] of the twist about the isocentre (rad, mm), all views together."""

    similarity: float
    view_similarities: list[float]
    covariance: np.ndarray


def judge(objective: StageObjective, pose: np.ndarray) -> Judgement:
    """Judges ``pose`` [4, 4] (of the first view) where it is."""
    similarities, curvature, pixels = [], np.zeros((6, 6)), 0.0
    for n, measure in enumerate(objective.similarities):
        drr, jacobian = objective.render(n, pose[None])
        ncc, _, normal = measure.terms(drr, jacobian)
        seen = np.trace(normal[0], axis1=1, axis2=2) > 0
        if not seen.any():
            similarities.append(float("nan"))
            continue
        weight = measure.weight * seen / (measure.weight * seen).sum()
        similarities.append(float((weight * ncc[0]).sum()))
        curvature += np.einsum("w,wab->ab", weight, normal[0])
        pixels += float((objective.levels[n].weight * (drr[0] > 0)).sum())
    used = np.isfinite(similarities)
    if not used.any():
        return Judgement(float("nan"), similarities, np.full((6, 6), np.nan))
    similarity = float(np.mean(np.array(similarities)[used]))
    covariance = least_squares_covariance(1 - similarity, curvature / int(used.sum()), pixels)
    return Judgement(similarity, similarities, covariance)
