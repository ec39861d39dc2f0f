"""The training benchmarks on a generated patient, with trainings of a moment."""

from __future__ import annotations

import argparse
import json

import pytest
from benchmarks import amortise, train
from DiffPoseRegistrationLib.errors import InputError

TINY = {"image_side": 24, "widths": [8, 16], "batch_size": 4, "validation_images": 8, "looks": 0, "steps": 2}


def _arguments(benchmark, out, *more):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    arguments = parser.parse_args(list(more))
    arguments.out = out
    return arguments


def test_goals_are_found_on_the_curve():
    curve = [{"seconds": s, "median_mm": mm} for s, mm in ((1, 40.0), (5, 19.0), (9, 22.0), (12, 9.0))]
    assert train.seconds_to(curve, 20) == 5 and train.seconds_to(curve, 10) == 12 and train.seconds_to(curve, 5) is None


def test_a_training_is_measured_and_its_record_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "chosen_settings", lambda name, more, minutes: _tiny(name, more, minutes))
    monkeypatch.setattr(train, "GOALS_MM", (1e4, 1e-3))
    report = train.run(_arguments(train, tmp_path, "--presets", "default", "xvr", "--device", "cpu"))
    assert [row["preset"] for row in report["rows"]] == ["default", "xvr"]
    for row in report["rows"]:
        assert row["images"] == 8 and row["made_per_s"] > 0 and row["learned_per_s"] > 0
        assert row["to_10000_mm_s"] > 0 and row["to_0.001_mm_s"] is None
    page = (tmp_path / "train.md").read_text(encoding="utf-8")
    assert "| xvr " in page and "## Machine and versions" in page and (tmp_path / "train.csv").exists()


def _tiny(name, more, minutes):
    from DiffPoseRegistrationLib.encoder.presets import chosen_settings

    return chosen_settings(name, {**more, **TINY, "parts": 1, "backbone": "patch"}, minutes=minutes)


def test_pretrained_and_from_scratch_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(amortise, "phantom_ct", _small)
    report = amortise.run(
        _arguments(amortise, tmp_path, "--phantoms", "2", "--seeds", "1", "--training", json.dumps(TINY))
    )
    assert [row["start"] for row in report["rows"]] == ["from scratch", "finetuned"]
    assert report["figures"]["pretraining"]["volumes"] == 2 and report["figures"]["pretraining"]["images"] == 8
    assert report["ratios"]["median error from scratch / finetuned"] > 0
    assert "2 other volumes" in (tmp_path / "amortise.md").read_text(encoding="utf-8")


def _small(seed):
    from DiffPoseRegistrationLib.imaging.phantom import phantom_ct

    return phantom_ct(seed, size=(80, 60, 80), spacing=4.0)


@pytest.mark.parametrize(
    ("benchmark", "wrong"),
    [(train, ("--minutes", "0")), (amortise, ("--processes", "0")), (amortise, ("--phantoms", "0"))],
)
def test_arguments_that_make_no_sense(benchmark, wrong, tmp_path):
    with pytest.raises(InputError):
        benchmark.run(_arguments(benchmark, tmp_path, *wrong))
