"""Accept, check or reject: what the numbers of a refinement say, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VERDICTS = ("accept", "check", "reject")


@dataclass(frozen=True)
class Limits:
    """Bounds on the evidence. Above ``accept_similarity`` the images agree as they do at a true pose; below
    ``reject_similarity`` as they do at a wrong one."""

    accept_similarity: float
    reject_similarity: float
    accept_error_mm: float = 3.0
    clear_gap: float = 0.3


# Mirrored X-rays of a nearly symmetric body were seen to reach 0.81, X-rays of another patient 0.55; at true
# poses it was 0.96 and more, with a rod or a label in the beam 0.86.
WHOLE_BODY_LIMITS = Limits(accept_similarity=0.85, reject_similarity=0.50)
# Gradient NCC against an X-ray that shows much else stays low even at the true pose.
ISOLATED_LIMITS = Limits(accept_similarity=0.30, reject_similarity=0.15)


def verdict(
    similarity: float,
    predicted_error_mm: float,
    agreement: float | None,
    runner_up_gap: float,
    limits: Limits,
    more_doubts: Sequence[str] = (),
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
    """
    if not similarity >= limits.reject_similarity:  # also when it is not a number
        return "reject", [f"the simulated X-ray does not look like the X-ray (similarity {similarity:.2f})"]
    doubts = list(more_doubts)
    if similarity < limits.accept_similarity:
        doubts.append(f"the simulated X-ray resembles the X-ray only in part (similarity {similarity:.2f})")
    if not predicted_error_mm <= limits.accept_error_mm:
        doubts.append(f"the predicted error is {predicted_error_mm:.1f} mm")
    if runner_up_gap < limits.clear_gap:
        doubts.append("another pose explains the X-ray almost as well")
    if agreement is None:
        doubts.append("one start only: whether another pose explains the X-ray was not looked for")
    if doubts:
        return "check", doubts
    return "accept", [f"images agree (similarity {similarity:.2f}); {agreement:.0%} of the starts led to this pose"]
