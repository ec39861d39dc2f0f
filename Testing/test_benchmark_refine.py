"""The capture-range benchmark: its initial poses, its curve, and a short run."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from benchmarks import refine as benchmark
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.pose_range import view_pose


def test_starts_lie_at_the_distance_asked_for():
    landmarks = np.random.default_rng(0).normal(0, 60, (14, 3))
    truth = view_pose("AP", np.zeros(3), 700.0)
    directions = []
    for seed in range(5):
        start = benchmark.start_at_distance(truth, np.zeros(3), landmarks, 70.0, np.random.default_rng(seed))
        in_either = [(landmarks - p[:3, 3]) @ p[:3, :3] for p in (start, truth)]
        assert np.linalg.norm(in_either[0] - in_either[1], axis=1).mean() == pytest.approx(70.0, abs=1e-5)
        directions.append(start[:3, 3] - truth[:3, 3])
    assert np.linalg.matrix_rank(np.array(directions)) == 3


def _arguments(shared, out, *more):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    arguments = parser.parse_args(["--cases", str(shared / "cases" / "skull_phantom-01"), *more])
    arguments.out = out
    return arguments


def test_a_short_run(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "DISTANCES_MM", (10,))
    report = benchmark.run(_arguments(shared, tmp_path, "--methods", "lm", "--starts", "2"))
    assert [row["trials"] for row in report["rows"]] == [2]
    assert report["figures"]["lm"]["success"] == 1 and report["figures"]["lm"]["capture_range_95_mm"] == "> 10"
    assert all(trial["initial_tre_mm"] == 10 for trial in report["trials"])
    assert (tmp_path / "refine.png").read_bytes().startswith(b"\x89PNG")


def test_cases_and_counts_are_asked_for(tmp_path):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    arguments = parser.parse_args(["--starts", "0"])
    with pytest.raises(InputError, match="--starts"):
        benchmark.run(arguments)
    arguments = parser.parse_args(["--starts", "1"])
    arguments.cases = []
    with pytest.raises(InputError, match="--cases"):
        benchmark.run(arguments)
