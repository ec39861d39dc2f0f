"""Accept, check or reject: what the numbers of a refinement say, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VERDICTS = ("accept", "check", "reject")


@dataclass(frozen=True)
class Limits:
    """Bounds on the evidence, calibrated on trials with known truth (Resources/benchmarks/verdict.md).

    accept_similarity, reject_similarity
        Above the one the images agree as they do at a true pose, below the other as they do at a wrong one.
    accept_error_mm
        Largest predicted error of a pose that is accepted: "accept" promises an error below 2 mm, and one error in
        twenty is more than twice the predicted one.
    clear_gap
        Another pose, or the mirrored X-ray, explains the X-ray clearly worse if its 1 - NCC is larger by this share.
    """

    accept_similarity: float
    reject_similarity: float
    clear_gap: float
    accept_error_mm: float = 1.0


WHOLE_BODY_LIMITS = Limits(accept_similarity=0.85, reject_similarity=0.50, clear_gap=0.3)
# Gradient NCC against an X-ray that shows much else stays low even at the true pose, and all costs are alike.
ISOLATED_LIMITS = Limits(accept_similarity=0.30, reject_similarity=0.15, clear_gap=0.15)


def verdict(
    similarity: float,
    predicted_error_mm: float,
    agreement: float | None,
    runner_up_gap: float,
    limits: Limits,
    more_doubts: Sequence[str] = (),
    mirror_gap: float | None = None,
) -> tuple[str, list[str]]:
    """The verdict and its reasons, the weightiest first.

    Parameters
    ----------
    similarity
        Mean NCC at the finest scale. predicted_error_mm: root-mean-square over the landmarks.
    agreement
        Share of the searched starts that led here; None if there was one start only. runner_up_gap: how much worse
        the next pose is, relatively.
    more_doubts
        Sentences about how the pose was found, each of which forbids "accept".
    mirror_gap
        How much worse the X-ray's mirror image fits, relatively, see :func:`.mirror.mirror_gap`; None: not tried.
    """
    refusals = []
    mirror_gap = float("inf") if mirror_gap is None else mirror_gap
    if mirror_gap < 1 / (1 + limits.clear_gap) - 1:  # the mirror image fits clearly better
        refusals.append(
            "the X-ray's mirror image fits better: it was flipped, or it is stored as seen from the other side than "
            "was assumed (detector or source)"
        )
    if not similarity >= limits.reject_similarity:  # also when it is not a number
        refusals.append(f"the simulated X-ray does not look like the X-ray (similarity {similarity:.2f})")
    if refusals:
        return "reject", refusals
    doubts = list(more_doubts)
    if similarity < limits.accept_similarity:
        doubts.append(f"the simulated X-ray resembles the X-ray only in part (similarity {similarity:.2f})")
    if not predicted_error_mm <= limits.accept_error_mm:
        doubts.append(f"the predicted error is {predicted_error_mm:.1f} mm")
    if runner_up_gap < limits.clear_gap:
        doubts.append("another pose explains the X-ray almost as well")
    if mirror_gap < limits.clear_gap:
        doubts.append("the X-ray's mirror image fits almost as well")
    if agreement is None:
        doubts.append("one start only: whether another pose explains the X-ray was not looked for")
    if doubts:
        return "check", doubts
    return "accept", [f"images agree (similarity {similarity:.2f}); {agreement:.0%} of the starts led to this pose"]
