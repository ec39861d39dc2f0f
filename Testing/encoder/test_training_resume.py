"""A training that is stopped and taken up again ends with the very weights of one that was not."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder import trainer
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.encoder.trainer import Trainer
from DiffPoseRegistrationLib.encoder.training import train
from DiffPoseRegistrationLib.encoder.training_state import TrainingState
from DiffPoseRegistrationLib.errors import Cancelled
from DiffPoseRegistrationLib.jobs.checkpoint import CheckpointStore
from encoder_scenes import CAMERA, body_of, small_ct
from safetensors.torch import load_file

SETTINGS = TrainingSettings(
    steps=8, batch_size=4, validation_images=8, image_side=24, widths=(8, 16), looks=1, image_weight=0.1,
    image_share=0.3, seed=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def learn():
    body = body_of(small_ct())

    def errors_that_fall(self, network, **_):
        """So that the last weights are the best."""
        return np.full(9, 1000.0 - self.state.step)

    def learn(settings=SETTINGS, **options):
        return train([body], CAMERA, settings, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_errors", errors_that_fall)
        patch.setattr(trainer, "_STEPS_APART", 1)
        yield learn


@pytest.fixture(scope="module")
def uninterrupted(learn):
    return learn()


def _stopped_after(learn, store, steps, settings=SETTINGS, phase=0):
    """A training that is cancelled during the step after ``steps``, at its ``phase``; its state is saved then."""
    before = 0 if store.latest() is None else store.latest().step
    counted = _Counted(steps - before, phase)
    with pytest.raises(Cancelled):
        learn(settings, checkpoints=store, cancelled=counted)
    assert store.latest().step == steps


class _Counted:
    """Says stop while waiting for the batch of a step (phase 0), after its loss (1) or after its derivative (2).
    Waiting may ask any number of times, so it is known by who asks."""

    def __init__(self, steps, phase):
        self.steps, self.phase, self.backward = steps, phase, 0

    def __call__(self):
        if sys._getframe(1).f_code.co_name == "get":
            return self.backward >= 2 * self.steps and self.phase == 0
        self.backward += 1
        return self.backward >= 2 * self.steps + self.phase > 2 * self.steps


def _same_weights(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_the_same_seed_gives_the_same_weights_to_the_bit(learn, uninterrupted):
    again = learn()
    assert _same_weights(again.network, uninterrupted.network)
    assert again.record["median_error_mm"] == uninterrupted.record["median_error_mm"]
    assert not _same_weights(learn(replace(SETTINGS, seed=6)).network, uninterrupted.network)


@pytest.mark.parametrize("stops", [((1, 0),), ((2, 1), (3, 2), (5, 0), (7, 2))])
def test_resumed_is_as_uninterrupted_to_the_bit(learn, uninterrupted, tmp_path, stops):
    store = CheckpointStore(tmp_path)
    for steps, phase in stops:
        _stopped_after(learn, store, steps, phase=phase)
    resumed = learn(checkpoints=store)
    assert _same_weights(resumed.network, uninterrupted.network)
    assert resumed.record["steps"] == SETTINGS.steps and resumed.record["images"] == 8 * 4
    assert resumed.record["seconds"] > 0
    errors = [[p["median_mm"] for p in trained.record["curve"]] for trained in (resumed, uninterrupted)]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("forgotten", ["optimisers", "step"])
def test_a_state_without_its_memory_would_not_be_the_same(learn, uninterrupted, tmp_path, monkeypatch, forgotten):
    """Control: what the optimisers remember, and which batch is next, matter."""
    store = CheckpointStore(tmp_path)
    _stopped_after(learn, store, 3)
    if forgotten == "optimisers":
        monkeypatch.setattr(TrainingState, "_read_optimiser", staticmethod(lambda *_: None))
    else:
        saved = store.latest().folder
        counters = json.loads((saved / "state.json").read_text(encoding="utf-8"))
        tensors = (saved / "state.safetensors").read_bytes()
        counters["step"] = 4

        def write(target):
            (target / "state.safetensors").write_bytes(tensors)
            (target / "state.json").write_text(json.dumps(counters), encoding="utf-8")

        store.save(4, write)
    assert not _same_weights(learn(checkpoints=store).network, uninterrupted.network)


@pytest.mark.parametrize("other", [{"seed": 6}, {"steps": 9}, {"batch_size": 5}])
def test_a_state_of_another_training_is_not_taken_up(learn, uninterrupted, tmp_path, other):
    store = CheckpointStore(tmp_path)
    _stopped_after(learn, store, 3, replace(SETTINGS, **other))
    assert _same_weights(learn(checkpoints=store).network, uninterrupted.network)


def test_smaller_parts_stay_after_resuming(learn, tmp_path):
    store = CheckpointStore(tmp_path)
    _stopped_after(learn, store, 3)
    saved = store.latest().folder
    counters = json.loads((saved / "state.json").read_text(encoding="utf-8"))
    assert counters["parts"] == 1
    counters["parts"] = 2
    (saved / "state.json").write_text(json.dumps(counters), encoding="utf-8")
    state = TrainingState.new(SETTINGS, learn(replace(SETTINGS, steps=1)).network.shape, "cpu")
    assert state.read(saved, counters["belongs_to"]) and state.parts == 2 and state.step == 3


def test_the_state_is_saved_as_often_as_asked_and_opening_it_runs_no_code(learn, tmp_path):
    store = CheckpointStore(tmp_path, keep=99)
    learn(checkpoints=store, checkpoint_seconds=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{n:010d}" for n in range(1, 9)]
    files = sorted(path.name for path in store.latest().folder.iterdir())
    assert files == ["complete.json", "state.json", "state.safetensors"]
    assert {"network.stem.weight", "averaged.stem.weight", "best.stem.weight"} <= set(
        load_file(store.latest().folder / "state.safetensors")
    )


def test_a_damaged_or_older_state_is_left_alone(learn, uninterrupted, tmp_path):
    store = CheckpointStore(tmp_path)
    _stopped_after(learn, store, 3)
    state = TrainingState.new(SETTINGS, uninterrupted.network.shape, "cpu")
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    saved = store.latest().folder
    counters = json.loads((saved / "state.json").read_text(encoding="utf-8"))
    (saved / "state.json").write_text(json.dumps({**counters, "format_version": 1}), encoding="utf-8")
    assert not state.read(saved, counters["belongs_to"])
    (saved / "state.json").write_text(json.dumps(counters), encoding="utf-8")
    (saved / "state.safetensors").write_bytes(b"nothing")
    assert not state.read(saved, counters["belongs_to"])
    assert all(torch.equal(value, before[name]) for name, value in state.network.state_dict().items())
    assert state.step == 0


def test_time_spent_before_counts(learn, tmp_path):
    """A training by time that is taken up goes on with the time that is left."""
    store, settings = CheckpointStore(tmp_path), replace(SETTINGS, steps=None, minutes=1.2 / 60)
    _stopped_after(learn, store, 2, settings)
    saved = store.latest().folder / "state.json"
    counters = json.loads(saved.read_text(encoding="utf-8"))
    tensors = (store.latest().folder / "state.safetensors").read_bytes()
    assert counters["seconds"] > 0
    counters["seconds"] = 99.0

    def write(target):
        (target / "state.safetensors").write_bytes(tensors)
        (target / "state.json").write_text(json.dumps(counters), encoding="utf-8")

    store.save(3, write)
    record = learn(settings, checkpoints=store).record
    assert record["steps"] == 2 and record["seconds"] > 99
