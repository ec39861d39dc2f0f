"""A run over a data set: what it registers, keeps, takes up again and refuses; registration answers at once."""

import json
import sys
import types

import numpy as np
import pytest
from DiffPoseRegistrationLib.datasets.dataset import Dataset, Frame, Prior, Subject
from DiffPoseRegistrationLib.errors import Cancelled, InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.pose_file import Truth
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.workflow.dataset_run import RunSettings, rows_of, run_dataset
from stand_ins import install_register, result

CAMERA = Camera(1000.0, 16, 16, (10.0, 10.0))
PRIOR = Prior("AP", 700.0, (20, 20, 20), (30, 30, 30), "a test")
DISTURBED = RunSettings(perturb=(5, 10))


def _subject(name, frames, read=None):
    ct = CTVolume(np.random.default_rng(len(name)).normal(0, 300, (8, 8, 8)).astype(np.float32), np.eye(4), name)
    truth = Truth(view_pose("AP", ct.centre_ras, 700.0), ct.centre_ras + 20 * np.eye(3))
    image = np.random.default_rng(0).random((16, 16), np.float32)

    def reader(frame):
        return lambda: (read or (lambda _: XRay(image, CAMERA, name=frame)))(frame)

    made = [Frame(f, view, CAMERA, truth, reader(f)) for f, view in frames]
    return Subject(name, tuple(made), lambda: ct)


def _dataset(priors=True, **more):
    subjects = (
        _subject("ann", [("1", "ap"), ("2", "lat"), ("3", "ap")], **more),
        _subject("bob", [("1", "ap")], **more),
    )
    return Dataset("Test", subjects, ("A fact.",), {"ap": PRIOR, "lat": PRIOR} if priors else {})


class _Registration:
    """Ends a fixed way across the beam from the truth and counts its calls; may be told to fail at one of them."""

    def __init__(self, monkeypatch, millimetres=1.5, fail_at=None, error=KeyboardInterrupt):
        self.calls, self.millimetres, self.fail_at, self.error = [], millimetres, fail_at, error
        install_register(monkeypatch, self)

    def __call__(self, ct, views, *, model=None, initial=None, **_):
        if len(self.calls) == self.fail_at:
            self.fail_at = None
            raise self.error
        self.calls.append((ct.name, model if initial is None else initial))
        truth = view_pose("AP", ct.centre_ras, 700.0)
        found = truth.copy()
        found[:3, 3] += self.millimetres * truth[:3, 0]
        return result(found, truth if initial is None else initial, views[0].xray)


@pytest.fixture
def prepared(monkeypatch):
    """Preparations, as (CT's name, settings); models are files with the CT's name."""
    calls = []

    def prepare(ct, camera, pose_range, training, *, device, progress=None, cancelled=None):
        calls.append((ct.name, {"minutes": training.minutes, "seed": training.seed, "device": device}))
        if progress is not None:
            progress(0.5, "half", 1.0)
        return types.SimpleNamespace(name=ct.name, require_ct=lambda ct: None)

    def load(path):
        return types.SimpleNamespace(name=path.read_text(encoding="utf-8"), require_ct=lambda ct: None)

    for name, functions in (
        ("workflow.prepare", {"prepare": prepare}),
        ("encoder.model_file", {"load_model": load, "save_model": lambda model, path: path.write_text(model.name)}),
    ):
        module = types.ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, f"DiffPoseRegistrationLib.{name}", module)
    return calls


def _run(dataset, out, settings=DISTURBED, **more):
    return run_dataset(dataset, dataset.subjects, out, settings, **more)


def test_rows_and_summary(tmp_path, monkeypatch):
    _Registration(monkeypatch)
    told = []
    run = _run(_dataset(), tmp_path, progress=lambda *what: told.append(what), command="the command")
    assert [(row["subject"], row["frame"]) for row in run.rows] == [("ann", "1"), ("ann", "2"), ("ann", "3"),
                                                                    ("bob", "1")]  # fmt: skip
    assert all(row["tre_mm"] == pytest.approx(1.5) for row in run.rows)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["command"] == "the command" and summary["machine"]["cores"] and summary["versions"]["numpy"]
    assert {name: s["trials"] for name, s in summary["by_subject"].items()} == {"ann": 3, "bob": 1}
    assert set(summary["by_view"]) == {"ap", "lat"}
    assert summary["median_of_subject_medians_mm"] == pytest.approx(1.5)
    assert [round(done, 2) for done, _, _ in told] == [0.25, 0.5, 0.75, 1.0] and told[-1][2] == 0


def test_every_subject_weighs_the_same(tmp_path, monkeypatch):
    registration = _Registration(monkeypatch)
    registration.millimetres = 1.0
    dataset = _dataset()
    run_dataset(dataset, dataset.subjects[:1], tmp_path, DISTURBED)
    registration.millimetres = 9.0
    run = _run(dataset, tmp_path)
    assert run.summary["overall"]["tre_mm"]["median"] == pytest.approx(1.0)
    assert run.summary["median_of_subject_medians_mm"] == pytest.approx(5.0)


@pytest.mark.parametrize("stop_at", [0, 1, 3])
def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch, stop_at):
    whole = _Registration(monkeypatch)
    _run(_dataset(), tmp_path / "whole")
    registration = _Registration(monkeypatch, fail_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        _run(_dataset(), tmp_path / "stopped")
    assert len(rows_of(tmp_path / "stopped")) == stop_at
    run = _run(_dataset(), tmp_path / "stopped")
    assert len(registration.calls) == len(run.rows) == 4  # none twice
    for (_, mine), (_, theirs) in zip(registration.calls, whole.calls):
        np.testing.assert_array_equal(mine, theirs)
    again = _run(_dataset(), tmp_path / "stopped")
    assert len(registration.calls) == 4 and len(again.rows) == 4


def test_a_line_cut_off_by_a_kill_is_done_again(tmp_path, monkeypatch):
    registration = _Registration(monkeypatch)
    _run(_dataset(), tmp_path)
    file = tmp_path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    run = _run(_dataset(), tmp_path)
    assert len(registration.calls) == 5 and len(run.rows) == 4
    assert all(json.loads(line)["tre_mm"] for line in file.read_text(encoding="utf-8").splitlines())


def test_more_starts_add_to_those_that_are_done(tmp_path, monkeypatch):
    registration = _Registration(monkeypatch)
    _run(_dataset(), tmp_path)
    run = _run(_dataset(), tmp_path, RunSettings(perturb=(5, 10), starts=2))
    assert len(registration.calls) == len(run.rows) == 8
    assert [row["start"] for row in run.rows] == [0, 1] * 4
    starts = [initial for _, initial in registration.calls]
    assert all(np.abs(a - b).max() > 0.1 for a, b in zip(starts[:4], starts[4:]))
    fewer = _run(_dataset(), tmp_path)
    assert len(fewer.rows) == 4  # what was not asked for is kept, not counted


def test_another_run_in_the_same_folder_is_refused(tmp_path, monkeypatch):
    _Registration(monkeypatch)
    _run(_dataset(), tmp_path)
    with pytest.raises(InputError, match=r"other settings \(perturb \[5, 10\] instead of \[5, 20\]\)"):
        _run(_dataset(), tmp_path, RunSettings(perturb=(5, 20)))
    (tmp_path / "trials.jsonl").write_text("no json\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"trials\.jsonl is damaged"):
        _run(_dataset(), tmp_path)


def test_models_are_prepared_once_for_each_subject_and_view(tmp_path, monkeypatch, prepared):
    registration = _Registration(monkeypatch, fail_at=3)
    settings = RunSettings(minutes=3.0, seed=7)
    with pytest.raises(KeyboardInterrupt):
        _run(_dataset(), tmp_path, settings)
    assert [name for name, _ in prepared] == ["ann", "ann", "bob"]
    assert prepared[0][1] == {"minutes": 3.0, "seed": 7, "device": "auto"}
    run = _run(_dataset(), tmp_path, settings)
    assert len(prepared) == 3 and len(run.rows) == 4  # bob's model was kept
    assert [model.name for _, model in registration.calls] == ["ann", "ann", "ann", "bob"]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "ann-ap.safetensors", "ann-lat.safetensors", "bob-ap.safetensors"
    ]  # fmt: skip


def test_models_need_a_prior(tmp_path, monkeypatch, prepared):
    _Registration(monkeypatch)
    with pytest.raises(InputError, match=r"does not say where the C-arm may stand \(ap, lat\)"):
        _run(_dataset(priors=False), tmp_path, RunSettings())
    assert not prepared


def test_cancelling_keeps_what_was_done(tmp_path, monkeypatch):
    registration = _Registration(monkeypatch)
    with pytest.raises(Cancelled):
        _run(_dataset(), tmp_path, cancelled=lambda: len(registration.calls) >= 2)
    assert len(rows_of(tmp_path)) == 2


def test_what_cannot_be_read_or_registered_is_a_failed_trial(tmp_path, monkeypatch):
    def read(frame):
        if frame == "2":
            raise InputError("2 is damaged.")
        return XRay(np.random.default_rng(0).random((16, 16), np.float32), CAMERA, name=frame)

    _Registration(monkeypatch, fail_at=0, error=InputError("nothing to see"))
    run = _run(_dataset(read=read), tmp_path)
    assert [row.get("error") for row in run.rows] == ["nothing to see", "2 is damaged.", None, None]
    assert run.summary["overall"]["failed"] == 2 and run.summary["overall"]["gross_10mm"] == 0.5


def test_a_limit_spreads_over_the_subject():
    subject = _subject("ann", [(str(n), "ap") for n in range(10)])
    assert [f.name for f in RunSettings(limit=4).frames_of(subject)] == ["0", "3", "6", "9"]
    assert [f.name for f in RunSettings(limit=1).frames_of(subject)] == ["0"]
    assert len(RunSettings(limit=99).frames_of(subject)) == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"perturb": (200, 1)}, {"perturb": (1, -1)}, {"starts": 0}, {"limit": 0}, {"minutes": 0.0},
        {"minutes": float("nan")}, {"steps": 0}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(InputError):
        RunSettings(**wrong)
