"""The latency benchmark on its own generated patient, a short run."""

from __future__ import annotations

import argparse

import pytest
from benchmarks import latency as benchmark
from DiffPoseRegistrationLib.errors import InputError


def _arguments(*more):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(list(more))


def test_phases_add_up_and_a_warm_worker_is_quicker():
    report = benchmark.run(_arguments("--rounds", "2", "--cold", "1", "--minutes", "0.02"))
    times = {row["phase"]: row for row in report["rows"]}
    assert {"hand_in", "start", "import", "reading", "refinement", "write", "answer", "total"} <= set(times)
    cold = sum(row["cold_s"] for name, row in times.items() if name != "total")
    assert cold == pytest.approx(times["total"]["cold_s"], rel=0.05)
    assert report["figures"]["warm_s"]["count"] == 2 and report["ratios"]["cold_over_warm"] > 1.5


@pytest.mark.parametrize("wrong", [("--rounds", "0"), ("--ct", "ct.nrrd")])
def test_arguments_that_make_no_sense(wrong):
    with pytest.raises(InputError):
        benchmark.run(_arguments(*wrong))
