"""What the finest stage says of a pose: how well the images agree, and how far the pose may be off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .similarity import WindowedNCC
from .uncertainty import CORRELATION_SHARE, sandwich_covariance, score_scatter
from .views import StageObjective


@dataclass(frozen=True)
class Judgement:
    """Mean NCC over the windows that the CT projects into (mean over the views, and of each view; NaN where it
    projects nowhere), and the covariance [6, 6] of the twist about the isocentre (rad, mm), all views together."""

    similarity: float
    view_similarities: list[float]
    covariance: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What the images say at a point: similarities as in :class:`Judgement`, and of the views together the Gauss-Newton
    matrix ``normal`` [p, p], the ``scatter`` [p, p] of the scores and the residual's ``noise`` (see ``uncertainty``).
    """

    similarity: float
    view_similarities: list[float]
    normal: np.ndarray
    scatter: np.ndarray
    noise: float


def judge(objective: StageObjective, pose: np.ndarray) -> Judgement:
    """Judges ``pose`` [4, 4] (of the first view) where it is."""
    here = evidence(objective, pose)
    covariance = np.full((6, 6), np.nan)
    if np.isfinite(here.similarity):
        covariance = sandwich_covariance(here.normal, here.scatter, here.noise)
    return Judgement(here.similarity, here.view_similarities, covariance)


def similarity_at(objective: StageObjective, pose: np.ndarray) -> float:
    """That of :func:`judge`, without what else it finds out."""
    of_views = []
    for n, measure in enumerate(objective.similarities):
        ncc, _, normal = measure.terms(*objective.render(n, pose[None]))
        of_views.append(_mean_ncc(measure, ncc[0], normal[0]))
    used = np.array(of_views)[np.isfinite(of_views)]
    return float(used.mean()) if used.size else float("nan")


def _mean_ncc(measure: WindowedNCC, ncc: np.ndarray, normal: np.ndarray) -> float:
    """Weighted mean of the windows' correlations [w] where the CT projects (their matrices [w, p, p] tell); NaN where
    it projects nowhere."""
    seen = np.trace(normal, axis1=1, axis2=2) > 0
    if not seen.any():
        return float("nan")
    weight = measure.weight * seen / (measure.weight * seen).sum()
    return float((weight * ncc).sum())


def evidence(objective: StageObjective, pose: np.ndarray) -> Evidence:
    """What the images say at ``pose``, a point of whatever the objective is of."""
    similarities, normals, scatters, pixels = [], [], [], 0.0
    for n, measure in enumerate(objective.similarities):
        drr, jacobian = objective.render(n, pose[None])
        ncc, _, normal = measure.terms(drr, jacobian)
        similarities.append(_mean_ncc(measure, ncc[0], normal[0]))
        if np.isnan(similarities[-1]):
            continue
        pieces = measure.scores(drr[0], jacobian[0])
        normals.append(pieces.normal)
        scatters.append(score_scatter(pieces.centres, pieces.scores, CORRELATION_SHARE * max(drr[0].shape)))
        pixels += float((objective.levels[n].weight * (drr[0] > 0)).sum())
    used = np.isfinite(similarities)
    if not used.any():
        return Evidence(float("nan"), similarities, np.full((6, 6), np.nan), np.full((6, 6), np.nan), float("nan"))
    similarity = float(np.mean(np.array(similarities)[used]))
    # The objective is the mean over the views; views are independent of one another, so their scatters add up.
    normal = np.asarray(sum(normals)) / len(normals)
    scatter = np.asarray(sum(scatters)) / len(scatters) ** 2
    noise = 2 * max(1 - similarity, 0.0) / max(pixels, 1.0)
    return Evidence(similarity, similarities, normal, scatter, noise)
