"""The README's table of measurements is what the committed records say."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script():
    loader = importlib.machinery.SourceFileLoader("readme_claims", str(ROOT / "scripts/readme_claims"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("readme_claims", loader))
    loader.exec_module(module)
    return module


def test_the_readme_says_what_the_records_say(script):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == script.with_table(text, script.table()), (
        "the README's measurements are not those of Resources/benchmarks; run python scripts/readme_claims"
    )


def test_every_record_is_told(script):
    for path in sorted((ROOT / "Resources/benchmarks").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert script.claims_of(record), f"scripts/readme_claims does not know what {path.name} claims"
        assert record["command"].startswith("scripts/") and record["date"]
        assert record["revision"]["commit"] and record["machine"]["processor"]


def _record(folder, name, **more):
    record = {
        "name": name,
        "command": f"scripts/benchmark {name} --seed 0",
        "date": "2026-11-20T10:00:00+00:00",
        "machine": {"gpu": None, "processor": "Some | CPU", "usable_cores": 2},
        **more,
    }
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def _line(method, xrays, tre):
    return {
        "method": method, "X-rays": xrays, "n": 24, "TRE median mm": tre, "95 % mm": 2 * tre, "below 1 mm": 0.5,
        "below 2 mm": 0.75, "above 10 mm": 0.25, "seconds median": 0.3, "95 % s": 1.0,
    }  # fmt: skip


def test_the_accuracy_record_by_hand(script, tmp_path):
    had = "those that the peers had"
    itk = "itk-twoprojectionregistration"
    rows = [_line("whole", "all", 0.25), _line("refinement only", "all", 0.125), _line("refinement only", had, 0.5),
            _line("two views", "all", 0.0625), _line("two views", had, 9.0), _line("nanodrr", had, 40.0),
            _line(itk, "all", 3.0), _line(itk, had, 9.0)]  # fmt: skip
    peers = {"nanodrr": "0.1.7", itk: "2.0"}
    _record(tmp_path, "accuracy", rows=rows, x_rays="24 by itk-rtk", peers=peers, arguments={"peer_side": 64})
    lines = script.table(tmp_path).splitlines()
    assert len(lines) == 7 and len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert lines[3] == (
        "| read by a model, then refined: 24 by itk-rtk | TRE median 0.25 mm, 95th percentile 0.5 mm, 50% below 1 mm, "
        "75% below 2 mm, 25% above 10 mm; 0.3 s | `scripts/benchmark accuracy --seed 0` "
        "([record](Resources/benchmarks/accuracy.json)) | 2026-11-20, Some \\| CPU, 2 cores |"
    )
    assert "two X-rays together" in lines[4] and "TRE median 0.062 mm" in lines[4]
    assert "nanodrr 0.1.7 (Adam, 500 steps, images of 64 pixels): 24 X-rays" in lines[5]
    assert "ours: TRE median 0.5 mm" in lines[5] and "nanodrr: TRE median 40 mm" in lines[5]
    assert "24 pairs" in lines[6] and "ours: TRE median 0.062 mm" in lines[6] and f"{itk}: TRE median 3 mm" in lines[6]


def test_other_records_by_hand(script, tmp_path):
    figures = {"trials": 240, "success": 0.9, "capture_range_95_mm": "> 100", "median_seconds": 0.2}
    _record(tmp_path, "refine", figures={"lm": figures, "adam-xvr": {**figures, "capture_range_95_mm": 20.5}})
    _record(tmp_path, "latency", figures={"warm_s": {"median": 0.4}, "cold_s": {"median": 3.0}})
    _record(tmp_path, "another", figures={})
    _record(tmp_path, "training", claims=[["how long", "5 minutes"]])
    text = script.table(tmp_path)
    assert "| how long | 5 minutes | `scripts/benchmark training --seed 0`" in text
    assert "> 100 mm initial TRE; 90% of all starts" in text and "20 mm initial TRE" in text
    assert "0.4 s and 3 s" in text and "another" not in text


def test_trainings_by_hand(script, tmp_path):
    row = {
        "ct": "a.nrrd", "preset": "default", "device": "cpu", "seconds": 120.0, "images_per_s": 410.4,
        "to_20_mm_s": 31.2, "to_10_mm_s": None, "median_mm": 10.04,
    }  # fmt: skip
    ratios = {"a.nrrd: seconds of xvr to its best (58 mm) / ours": 31.4}
    _record(tmp_path, "train", rows=[row, {**row, "preset": "xvr", "device": "A GPU"}], ratios=ratios)
    rows = [{"start": start, "median_mm": error} for start, error in (
        ("from scratch", 40.0), ("finetuned", 9.0), ("from scratch", 42.0), ("finetuned", 8.0), ("finetuned", 30.0)
    )]  # fmt: skip
    figures = {"pretraining": {"volumes": 4, "seconds": 600.0, "processes": 2}}
    _record(tmp_path, "amortise", rows=rows, figures=figures, arguments={"seconds": 30.0})
    amortise, ours, theirs, sooner = script.table(tmp_path).splitlines()[2:]
    assert "training of 30 s from a network that saw 4 other volumes for 10 min in 2 processes" in amortise
    assert "9.0 mm; from scratch 41.0 mm" in amortise
    assert "for a.nrrd, settings: default, 2 min on the processor" in ours
    assert "410 simulated X-rays a second" in ours and "10.0 mm; below 20 mm after 31 s, below 10 mm never" in ours
    assert "settings: xvr, 2 min on A GPU" in theirs
    assert "seconds of xvr to its best (58 mm) | 31 times as long as ours" in sooner


def test_a_readme_without_the_marks_is_refused(script):
    with pytest.raises(SystemExit, match="lacks the marks"):
        script.with_table("# DiffPose\n", "table")
    text = f"before\n{script.FIRST}\nold\n{script.LAST}\nafter\n"
    assert script.with_table(text, "new") == f"before\n{script.FIRST}\nnew\n{script.LAST}\nafter\n"


def _overall(**more):
    tre = {"median": 0.125, "p95": 0.5}
    return {
        "trials": 300, "tre_mm": tre, "success_1mm": 1.0, "success_2mm": 1.0, "gross_10mm": 0.0,
        "seconds": {"median": 0.26}, "verdicts": {"accept": {"trials": 298, "below_2mm": 298}}, **more,
    }  # fmt: skip


def test_evaluations_and_data_sets_by_hand(script, tmp_path):
    settings = {"perturb_deg_mm": [20.0, 40.0], "together": False}
    groups = {"by_ct": {"a.nrrd": {}, "b.nrrd": {}}, "by_case": {"1": {}, "2": {}, "3": {}}}
    _record(tmp_path, "evaluate", settings=settings, overall=_overall(), **groups)
    within = {"trials": 40, "tre_mm": 0.5, "rotation_deg": 0.7}
    subjects = {"by_subject": {"17-1882": {}}, "excluded": {"17-1882/003": "why"}}
    _record(tmp_path, "dataset", dataset="DeepFluoro", overall=_overall(within=within), **subjects)
    dataset, evaluate = script.table(tmp_path).splitlines()[2:]
    assert "3 X-rays of a.nrrd, b.nrrd, 300 trials from poses off by up to 20 degrees and 40 mm" in evaluate
    assert "TRE median 0.12 mm, 95th percentile 0.5 mm, 100% below 1 mm" in evaluate
    assert "298 accepted, 298 of them below 2 mm; 0.26 s" in evaluate
    assert "DeepFluoro: 300 registrations of 1 subjects (1 frames left out)" in dataset
    assert "40 within 0.5 mm and 0.7 degrees" in dataset
