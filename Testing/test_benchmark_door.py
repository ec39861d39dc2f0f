"""The door to the measurements: what it prints, keeps and refuses."""

from __future__ import annotations

import csv
import json
import statistics
import sys
import types
from pathlib import Path

import pytest
from benchmarks import _common, _door


@pytest.fixture
def measurement(monkeypatch):
    """A benchmark that takes an option and returns figures of several kinds."""
    module = types.ModuleType("benchmarks.pretend", "Measures nothing.")
    module.add_arguments = lambda parser: parser.add_argument("--size", type=int, default=3)
    module.run = lambda arguments: {
        "figures": {"cpu": {"ms": 1.5, "size": arguments.size}, "failed": float("nan")},
        "ratios": {"cpu/reference": 2.0},
        "rows": [{"target": "cpu", "ms": 1.5}, {"target": "reference", "ms": 3.0}],
    }
    monkeypatch.setitem(sys.modules, "benchmarks.pretend", module)
    monkeypatch.setattr(_door, "available", lambda: ["other", "pretend"])
    return module


def test_figures_are_printed_and_kept(measurement, tmp_path, capsys):
    assert _door.main(["pretend", "--out", str(tmp_path / "new"), "--size", "7"]) == 0
    printed = capsys.readouterr().out
    assert "| reference | " in printed and "cpu.size" in printed and "cpu/reference" in printed
    kept = json.loads((tmp_path / "new/pretend.json").read_text(encoding="utf-8"))
    assert kept["figures"] == {"cpu": {"ms": 1.5, "size": 7}, "failed": None}
    assert kept["ratios"] == {"cpu/reference": 2.0}
    assert kept["name"] == "pretend" and kept["arguments"] == {"size": 7}
    assert kept["command"] == "scripts/benchmark pretend --size 7"
    assert kept["machine"]["cores"] >= 1 and kept["versions"]["numpy"] and len(kept["date"]) == 25
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pretend.json"]


def test_the_record_names_no_folder_of_this_machine(measurement, tmp_path):
    measurement.add_arguments = lambda parser: parser.add_argument("--cts", nargs="+", type=Path)
    measurement.run = lambda arguments: {"figures": {"cts": len(arguments.cts)}}
    given = [str(tmp_path / "ct one.nrrd"), "below/two.nrrd"]
    assert _door.main(["pretend", "--cts", *given, f"--out={tmp_path / 'new'}"]) == 0
    text = (tmp_path / "new/pretend.json").read_text(encoding="utf-8")
    kept = json.loads(text)
    assert kept["arguments"] == {"cts": ["ct one.nrrd", str(Path("below/two.nrrd"))]}
    assert kept["command"] == "scripts/benchmark pretend --cts 'ct one.nrrd' below/two.nrrd"
    assert str(tmp_path) not in text


def test_an_unknown_name_is_refused_with_those_that_exist(measurement, tmp_path, capsys):
    assert _door.main(["nothing", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "There is no benchmark named nothing; there is other, pretend.\n"
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_refused_before_the_measurement(measurement, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    measurement.run = lambda arguments: pytest.fail("measured in vain")
    assert _door.main(["pretend", "--out", str(tmp_path / "file")]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_cases_are_run_in_turn_and_warm(monkeypatch):
    order = []
    cases = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = _common.seconds_side_by_side(cases, rounds=3, warmup=1)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    rounds = ["".join(order[start : start + 3]) for start in range(0, 12, 3)]
    assert sorted(map(sorted, rounds)) == [["a", "b", "c"]] * 4
    assert {round_[0] for round_ in rounds[1:]} == {"a", "b", "c"}


def test_the_median_of_paired_ratios_survives_a_drift():
    slow = [1.0, 2.0, 10.0, 3.0, 1.0]  # one machine, now faster and now slower
    ratio = _common.paired_ratio([2 * value for value in slow], slow)
    assert ratio["median"] == ratio["minimum"] == ratio["maximum"] == 2.0 and ratio["count"] == 5
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert _common.spread(values)["median"] == statistics.median(values)
    assert _common.spread([7.0])["upper_quartile"] == 7.0


def test_tables(tmp_path):
    rows = [{"name": "a", "ms": 0.1234567}, {"name": "bc", "ms": None, "note": "x|y"}]
    assert _common.markdown_table(rows).splitlines() == [
        "| name |     ms | note |",
        "| ---- | -----: | ---- |",
        "| a    | 0.1235 |      |",
        "| bc   |        | x\\|y |",
    ]
    _common.write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == [
            {"name": "a", "ms": "0.1234567", "note": ""},
            {"name": "bc", "ms": "", "note": "x|y"},
        ]
