"""What the rows of trials say together, against numbers worked out by hand."""

import csv

import pytest
from DiffPoseRegistrationLib.workflow.summary import summarise, table, write_rows


def _row(tre, rotation=1.0, verdict="accept", **more):
    return {"ct": "a", "case": "b", "tre_mm": tre, "rotation_deg": rotation, "verdict": verdict, "seconds": 1.0, **more}


ROWS = [
    _row(0.5, case="one"),
    _row(1.5, case="two"),
    _row(3.0, case="three", verdict="check"),
    _row(20.0, case="three", ct="other", verdict="reject"),
]


def test_statistics_by_hand():
    overall = summarise(ROWS)["overall"]
    assert overall["tre_mm"]["median"] == 2.25 and overall["tre_mm"]["worst"] == 20.0
    assert overall["initial_tre_mm"]["median"] is None  # no row tells one
    assert (overall["success_1mm"], overall["success_2mm"], overall["gross_10mm"]) == (0.25, 0.5, 0.25)
    assert overall["verdicts"]["accept"] == {"trials": 2, "below_2mm": 2, "above_10mm": 0}
    assert overall["verdicts"]["reject"] == {"trials": 1, "below_2mm": 0, "above_10mm": 1}


def test_groups_are_those_asked_for():
    summary = summarise(ROWS)
    assert {name: s["trials"] for name, s in summary["by_ct"].items()} == {"a": 3, "other": 1}
    assert {name: s["trials"] for name, s in summary["by_case"].items()} == {"one": 1, "two": 1, "three": 2}
    assert list(summarise(ROWS, ("case",))) == ["overall", "by_case"]


def test_share_within_a_bound_by_hand():
    rows = [_row(tre, rotation) for tre, rotation in ((0.4, 0.6), (0.6, 0.6), (0.4, 0.8), (0.1, 0.1))]
    rows.append({"ct": "a", "case": "b", "error": "unreadable"})
    summary = summarise(rows, within=(0.5, 0.7))
    assert summary["overall"]["within"] == {"tre_mm": 0.5, "rotation_deg": 0.7, "trials": 2, "share": 0.4}
    assert "2 of 5 trials (40.0%) are within 0.5 mm and 0.7 degrees" in table(summary)
    assert "within" not in summarise(rows)["overall"]


def test_a_trial_without_a_pose_counts_as_a_gross_failure():
    summary = summarise([_row(0.5), {"ct": "a", "case": "b", "error": "unreadable"}])
    assert summary["overall"]["failed"] == 1
    assert (summary["overall"]["success_1mm"], summary["overall"]["gross_10mm"]) == (0.5, 0.5)
    assert "1 trials gave no pose" in table(summary)


def test_table_has_the_finest_groups_first():
    lines = table(summarise(ROWS)).splitlines()
    places = [next(n for n, line in enumerate(lines) if line.startswith(name)) for name in ("three", "other", "all")]
    assert places == sorted(places)
    assert "20.00 mm" in next(line for line in lines if line.startswith("other"))


def test_rows_as_csv(tmp_path):
    write_rows(tmp_path / "rows.csv", [_row(0.5, note="x"), {"error": 'no, not "this"'}], ("tre_mm", "error"))
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [{"tre_mm": "0.5", "error": ""}, {"tre_mm": "", "error": 'no, not "this"'}]
    assert float(rows[0]["tre_mm"]) == pytest.approx(0.5)


def test_true_over_predicted_error_and_impostors_by_hand():
    rows = [_row(tre, predicted_error_mm=predicted) for tre, predicted in ((0.5, 1.0), (1.0, 1.0), (6.0, 2.0))]
    rows += [_row(4.0), _row(4.0, predicted_error_mm=float("nan"))]  # without a prediction
    rows += [_row(50.0, disturbance="flipped", verdict="check"), {"ct": "a", "case": "b", "disturbance": "flipped"}]
    summary = summarise(rows)
    assert summary["overall"]["trials"] == 5 and summary["overall"]["normalised_error"]["median"] == 1.0
    assert summary["overall"]["normalised_error"]["worst"] == 3.0
    assert summary["impostors"] == {"flipped": {"trials": 2, "refused": 1, "accept": 0, "check": 1, "reject": 0}}
    assert "true over predicted error: median 1.00" in table(summary)
