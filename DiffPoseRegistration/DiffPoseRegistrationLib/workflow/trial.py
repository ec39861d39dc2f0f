"""One registration against a known pose, as a row of numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..imaging.pose_file import Truth
from ..imaging.values import CTVolume
from ..metrics.errors import PoseError
from ..metrics.evaluators import PublishedErrors
from .scoring import score, score_by_published_evaluators

if TYPE_CHECKING:
    from ..refinement.views import View

ERRORS = tuple(field.name for field in fields(PoseError))
PUBLISHED = tuple(field.name for field in fields(PublishedErrors))
COLUMNS = (
    *ERRORS, "initial_tre_mm", "initial_rotation_deg", "similarity", "verdict", "predicted_error_mm", "seconds",
    "renders", *PUBLISHED, "error",
)  # fmt: skip


def trial(
    register: Callable[..., Any], ct: CTVolume, views: list[View], truth: Truth, options: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    """The row (some of ``COLUMNS``) of ``register(ct, views, **options)`` against the first view's ``truth``, and what
    it returned.

    A registration that is refused (InputError) has no numbers but its ``error``, and no result (None).
    """
    began = time.perf_counter()
    try:
        result = register(ct, views, **options)
    except InputError as error:
        return {"error": str(error)}, None
    seconds = time.perf_counter() - began
    camera = views[0].xray.camera
    found = score(result.camera_to_world, truth, ct, camera)
    before = score(result.initial_camera_to_world, truth, ct, camera)
    del found["landmarks"]
    return {
        **found,
        "initial_tre_mm": before["tre_mm"],
        "initial_rotation_deg": before["rotation_deg"],
        "similarity": result.similarity,
        "verdict": result.verdict,
        "predicted_error_mm": result.predicted_error_mm,
        "seconds": seconds,
        "renders": result.renders,
        **score_by_published_evaluators(result.camera_to_world, truth, ct, camera),
    }, result
