"""Distributions, success rates and capture range against numbers worked out by hand."""

import math

import pytest
from DiffPoseRegistrationLib.metrics.rates import capture_range, distribution, success_rates


def test_distribution():
    found = distribution([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found["median"], found["mean"], found["worst"]) == (3.0, 3.0, 5.0)
    assert found["p95"] == pytest.approx(4.8)  # between the fourth and the fifth of five: 4 + 0.8


def test_distribution_leaves_out_what_has_no_number():
    assert distribution([1.0, None, math.inf, math.nan, 3.0])["median"] == 2.0
    assert distribution([None]) == {"median": None, "p95": None, "mean": None, "worst": None}


def test_success_rates():
    found = success_rates([0.5, 0.999, 1.0, 1.9, 2.0, 10.0, 10.1, 400.0])
    assert found == {"success_1mm": 2 / 8, "success_2mm": 4 / 8, "gross_10mm": 2 / 8}


@pytest.mark.parametrize("no_pose", [None, math.nan, math.inf])
def test_a_registration_without_a_pose_is_a_gross_failure(no_pose):
    assert success_rates([0.5, no_pose]) == {"success_1mm": 0.5, "success_2mm": 0.5, "gross_10mm": 0.5}


def test_no_trial_has_no_rate():
    assert all(math.isnan(rate) for rate in success_rates([]).values())


def test_capture_range():
    success = {10: 1.0, 20: 0.9, 30: 0.6, 40: 0.2, 50: 0.8}
    assert capture_range(success, 0.95) == pytest.approx(15)
    assert capture_range(success, 0.5) == pytest.approx(32.5)  # where it first falls below, once and for all
    assert capture_range({10: 1.0, 20: 0.96}, 0.95) is None
    assert capture_range({10: 0.0}, 0.5) == pytest.approx(5)
