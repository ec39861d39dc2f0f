"""What the numbers say, in words."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.refinement.verdict import ISOLATED_LIMITS, VERDICTS, WHOLE_BODY_LIMITS, verdict

GOOD = {"similarity": 0.95, "predicted_error_mm": 0.5, "agreement": 0.8, "runner_up_gap": 0.9, "mirror_gap": 5.0}


def _verdict(limits=WHOLE_BODY_LIMITS, **change):
    return verdict(**{**GOOD, **change}, limits=limits)


def test_all_good_is_accepted_with_its_reason():
    word, reasons = _verdict()
    assert word == "accept" and "0.95" in reasons[0] and "80%" in reasons[0]
    assert _verdict(runner_up_gap=float("inf"))[0] == "accept"
    assert _verdict(mirror_gap=float("inf"))[0] == _verdict(mirror_gap=None)[0] == "accept"


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({"similarity": 0.3}, "reject", "does not look like"),
        ({"similarity": -0.5}, "reject", "does not look like"),
        ({"similarity": 0.7}, "check", "only in part"),
        ({"predicted_error_mm": 9.0}, "check", "predicted error is 9.0 mm"),
        ({"predicted_error_mm": float("inf")}, "check", "predicted error"),
        ({"predicted_error_mm": float("nan")}, "check", "predicted error"),
        ({"runner_up_gap": 0.001}, "check", "another pose"),
        ({"mirror_gap": 0.1}, "check", "mirror image fits almost as well"),
        ({"mirror_gap": -0.1}, "check", "mirror image fits almost as well"),
        ({"mirror_gap": -0.9}, "reject", "mirror image fits better"),
        ({"mirror_gap": -0.9, "similarity": 0.3}, "reject", "mirror image fits better"),
        ({"agreement": None}, "check", "one start only"),
        ({"more_doubts": ["the time was up"]}, "check", "the time was up"),
        ({"similarity": 0.3, "predicted_error_mm": 9.0, "runner_up_gap": 0.0}, "reject", "does not look like"),
    ],
)
def test_each_doubt_has_its_word(change, word, reason):
    found, reasons = _verdict(**change)
    assert found == word and found in VERDICTS and reason in reasons[0]


def test_every_doubt_is_told():
    assert len(_verdict(similarity=0.7, predicted_error_mm=9.0, runner_up_gap=0.0, mirror_gap=0.0)[1]) == 4
    assert len(_verdict(similarity=0.3, mirror_gap=-0.9)[1]) == 2


def test_more_evidence_never_worsens_the_verdict():
    for limits in (WHOLE_BODY_LIMITS, ISOLATED_LIMITS):
        ranks = [VERDICTS.index(_verdict(limits, similarity=s)[0]) for s in np.linspace(-1, 1, 81)]
        assert ranks == sorted(ranks, reverse=True) and set(ranks) == {0, 1, 2}
        ranks = [VERDICTS.index(_verdict(limits, predicted_error_mm=e)[0]) for e in np.linspace(0, 20, 81)]
        assert ranks == sorted(ranks) and set(ranks) == {0, 1}
        ranks = [VERDICTS.index(_verdict(limits, mirror_gap=g)[0]) for g in np.linspace(-1, 2, 81)]
        assert ranks == sorted(ranks, reverse=True) and set(ranks) == {0, 1, 2}


def test_similarity_that_is_not_a_number_is_rejected():
    assert _verdict(similarity=float("nan"))[0] == "reject"
