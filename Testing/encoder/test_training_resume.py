"""A training that is stopped and taken up again ends with the very weights of one that was not."""

import json

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.training import TrainingSettings, train
from DiffPoseRegistrationLib.encoder.training_state import TrainingState
from DiffPoseRegistrationLib.errors import Cancelled
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.jobs.checkpoint import CheckpointStore
from safetensors.torch import load_file

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0))
SETTINGS = TrainingSettings(steps=6, batch_size=4, validation_images=4, image_share=0.3, seed=5)


@pytest.fixture(scope="module")
def ct():
    return phantom_ct(2, size=(80, 60, 80), spacing=4.0)


@pytest.fixture(scope="module")
def learn(ct):
    pose_range = PoseRange(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, (25, 20, 15), (40, 60, 40))

    def learn(settings=SETTINGS, **options):
        return train(ct, CAMERA, pose_range, phantom_landmarks(2), settings, **options)

    return learn


@pytest.fixture(scope="module")
def uninterrupted(learn):
    return learn()


ASKED_A_STEP = 4  # before it, after rendering, after the network, after its derivative


def _stopped_after(learn, store, steps, settings=SETTINGS, phase=0):
    """A training that is cancelled during the step after ``steps``, at its ``phase``; its state is saved then."""
    before = 0 if store.latest() is None else store.latest().step
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        learn(settings, checkpoints=store, cancelled=lambda: next(asked) >= ASKED_A_STEP * (steps - before) + phase)
    assert store.latest().step == steps


def _same_weights(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_the_same_seed_gives_the_same_weights_to_the_bit(learn, uninterrupted):
    again = learn()
    assert _same_weights(again.network, uninterrupted.network)
    assert again.record["median_error_mm"] == uninterrupted.record["median_error_mm"]
    other = learn(TrainingSettings(**{**vars(SETTINGS), "seed": 6}))
    assert not _same_weights(other.network, uninterrupted.network)


@pytest.mark.parametrize("stops", [((1, 0),), ((2, 1), (3, 2), (5, 3))])
def test_resumed_is_as_uninterrupted_to_the_bit(learn, uninterrupted, tmp_path, stops):
    store = CheckpointStore(tmp_path)
    for steps, phase in stops:
        _stopped_after(learn, store, steps, phase=phase)
    resumed = learn(checkpoints=store)
    assert _same_weights(resumed.network, uninterrupted.network)
    assert resumed.record["steps"] == SETTINGS.steps and resumed.record["images"] == 6 * 4
    assert resumed.record["seconds"] > 0


def test_a_state_without_its_memory_would_not_be_the_same(learn, uninterrupted, tmp_path, monkeypatch):
    """Control: what the optimisers remember, and where the random streams stand, matter."""
    for name, forget in (
        ("optimisers", lambda *_: None),
        ("random", None),
    ):
        store = CheckpointStore(tmp_path / name)
        (tmp_path / name).mkdir()
        _stopped_after(learn, store, 3)
        with monkeypatch.context() as patch:
            if forget is not None:
                patch.setattr(TrainingState, "_read_optimiser", staticmethod(forget))
            else:
                file = store.latest().folder / "state.json"
                counters = json.loads(file.read_text(encoding="utf-8"))
                counters["random"] = np.random.default_rng(99).bit_generator.state
                store.save(3, _copy_with(store.latest().folder, counters))
            assert not _same_weights(learn(checkpoints=store).network, uninterrupted.network)


def _copy_with(folder, counters):
    tensors = (folder / "state.safetensors").read_bytes()

    def write(target):
        (target / "state.safetensors").write_bytes(tensors)
        (target / "state.json").write_text(json.dumps(counters), encoding="utf-8")

    return write


def test_a_state_of_another_training_is_not_taken_up(learn, uninterrupted, tmp_path):
    store = CheckpointStore(tmp_path)
    _stopped_after(learn, store, 3, TrainingSettings(**{**vars(SETTINGS), "seed": 6}))
    assert _same_weights(learn(checkpoints=store).network, uninterrupted.network)


def test_the_state_is_saved_as_often_as_asked_and_opening_it_runs_no_code(learn, tmp_path):
    store = CheckpointStore(tmp_path, keep=99)
    learn(checkpoints=store, checkpoint_seconds=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{n:010d}" for n in range(1, 7)]
    files = sorted(path.name for path in store.latest().folder.iterdir())
    assert files == ["complete.json", "state.json", "state.safetensors"]  # tensors and JSON, no pickle
    assert load_file(store.latest().folder / "state.safetensors")["averaged.stem.weight"].shape[1] == 1


def test_time_already_spent_counts(learn, tmp_path):
    settings = TrainingSettings(minutes=2.5 / 60, batch_size=4, validation_images=4)
    store = CheckpointStore(tmp_path)
    told = []
    with pytest.raises(Cancelled):
        learn(settings, checkpoints=store, on_progress=told.append, cancelled=lambda: bool(told))
    stopped = len(told)
    record = learn(settings, checkpoints=store, on_progress=told.append).record
    assert told[0].done > 0.15 and all(later.done > told[0].done for later in told[stopped:])
    assert record["seconds"] >= 2.5 and record["steps"] > store.latest().step
    assert [point["images"] for point in record["curve"]] == sorted(point["images"] for point in record["curve"])
