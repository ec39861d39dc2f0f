"""Training: that it learns, keeps its budget and its best weights, and gets by with little memory."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder import trainer, training
from DiffPoseRegistrationLib.encoder.presets import chosen_settings
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.encoder.training import train
from DiffPoseRegistrationLib.encoder.validation import ErrorEstimate
from DiffPoseRegistrationLib.errors import Cancelled, InputError
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.metrics.errors import target_registration_errors
from DiffPoseRegistrationLib.rendering.structures import only_structures
from encoder_scenes import CAMERA, LANDMARKS, body_of, range_of, small_ct

TINY = {"image_side": 32, "widths": (8, 16), "batch_size": 8, "validation_images": 16, "looks": 1}


@pytest.fixture(scope="module")
def ct():
    return small_ct()


@pytest.fixture(scope="module")
def body(ct):
    return body_of(ct)


def _settings(**more):
    return TrainingSettings(**{**TINY, **more})


def test_training_learns(body):
    told = []
    settings = _settings(steps=150, batch_size=32, widths=(16, 32), validation_images=60, looks=2)
    trained = train([body], CAMERA, settings, on_progress=told.append)
    poses = body.pose_range.sample(np.random.default_rng(1), 200)
    chance = np.median([target_registration_errors(body.pose_range.centre, p, LANDMARKS).mean() for p in poses])
    record = trained.record
    assert record["median_error_mm"] < 0.7 * chance
    assert record["images"] == 32 * record["steps"] == 4800 and record["unseen_images"] == 60
    low, high = record["median_error_interval_mm"]
    assert low < record["median_error_mm"] < high
    assert record["disturbed_median_error_mm"] > 0.9 * record["median_error_mm"]
    assert [p.done for p in told] == sorted(p.done for p in told) and told[-1].done == 1.0
    assert told[-1].error.median_mm == min(p["median_mm"] for p in record["curve"]) or len(record["curve"]) > 1
    assert not trained.network.training and next(trained.network.parameters()).device.type == "cpu"


def test_time_is_a_budget(body):
    record = train([body], CAMERA, _settings(minutes=1 / 60)).record
    assert record["seconds"] >= 1 and record["steps"] > 0 and not record["goal_reached"]
    # Measuring takes seconds; after the first step it would use up the time in which the rates rise.
    assert [p["images"] for p in record["curve"]] == [record["images"]]


def test_the_goal_ends_a_training_when_it_is_surely_reached(body, monkeypatch):
    """Errors that shrink: the training stops at the first interval below the goal, not at the first median."""
    monkeypatch.setattr(trainer, "_STEPS_APART", 1)
    medians = iter([50.0, 11.0, 9.0, 9.0, 5.0, 5.0, 5.0])

    def errors(self, network, *, disturbed=False, live=False):
        return next(medians) + np.linspace(-2, 2, 41)

    monkeypatch.setattr(trainer.Trainer, "_errors", errors)
    record = train([body], CAMERA, _settings(steps=80, until_mm=9.5)).record
    assert record["goal_reached"] and [round(p["median_mm"]) for p in record["curve"]] == [50, 11, 9, 9, 5]
    assert record["steps"] == 50


def test_the_best_weights_are_kept(body, monkeypatch):
    monkeypatch.setattr(trainer, "_STEPS_APART", 1)
    kept, errors = [], iter([30.0, 10.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0])

    def measured(self, network, *, disturbed=False, live=False):
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        return np.full(9, next(errors))

    monkeypatch.setattr(trainer.Trainer, "_errors", measured)
    network = train([body], CAMERA, _settings(steps=8)).network
    assert all(torch.equal(value, kept[1][name]) for name, value in network.state_dict().items())
    assert not all(torch.equal(value, kept[7][name]) for name, value in network.state_dict().items())


class _Memory:
    """Stands before a network and lets only so many X-rays at once through."""

    def __init__(self, monkeypatch, most, error):
        self.most, self.error, self.sizes = most, error, []
        self._apply = trainer.apply
        monkeypatch.setattr(trainer, "apply", self)

    def __call__(self, network, image, learning):
        self.sizes.append(len(image))
        if len(image) > self.most:
            raise self.error
        return self._apply(network, image, learning)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_halves_the_batch_and_goes_on(body, monkeypatch, error):
    whole = train([body], CAMERA, _settings(steps=3)).network
    memory, said = _Memory(monkeypatch, 2, error), []
    trained = train([body], CAMERA, _settings(steps=3), on_progress=lambda p: said.extend(p.warnings))
    assert memory.sizes == [8, 4, 2, 2, 2, 2, *[2] * 8]
    assert trained.record["parts"] == 4 and trained.record["images"] == 24
    assert said == [f"Memory ran out; batches of 8 X-rays are now processed in {parts} parts." for parts in (2, 4)]
    # A step learns the same from the parts as from the whole.
    for a, b in zip(whole.parameters(), trained.network.parameters()):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-2)


def test_memory_for_not_even_one_xray_is_an_error(body, monkeypatch):
    _Memory(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(InputError, match=r"memory does not suffice for X-rays of 32 pixels"):
        train([body], CAMERA, _settings(steps=3))


def test_other_faults_are_not_taken_for_a_lack_of_memory(body, monkeypatch):
    _Memory(monkeypatch, 0, RuntimeError("a fault"))
    with pytest.raises(RuntimeError, match="a fault"):
        train([body], CAMERA, _settings(steps=3))


def _structures(ct):
    labels = (ct.hounsfield > 250).astype(int)
    labels[:, :, labels.shape[2] // 2 :] *= 2
    return tuple(only_structures(ct, labels, [label]) for label in (1, 2))


@pytest.mark.parametrize("name", ["diffpose", "xvr"])
def test_the_papers_presets_train(ct, name, monkeypatch):
    small = {"image_side": 24, "batch_size": 4, "parts": 2, "validation_images": 4, "backbone": "resnet18"}
    settings, body = chosen_settings(name, small, steps=2), body_of(ct, structures=_structures(ct))
    untrained = train([body], CAMERA, chosen_settings(name, small, minutes=0.0)).network
    errors = trainer.Trainer._errors
    monkeypatch.setattr(trainer, "_STEPS_APART", 1)
    falling = iter(range(9, 0, -1))  # the last weights are kept
    monkeypatch.setattr(trainer.Trainer, "_errors", lambda *a, **k: errors(*a, **k) * 0 + next(falling))
    trained = train([body], CAMERA, settings)
    assert all(torch.isfinite(p).all() for p in trained.network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(untrained.parameters(), trained.network.parameters()))
    assert trained.record["images"] == 8


@pytest.mark.parametrize(
    "term",
    [
        {"geodesic_weight": 1e-2},
        {"log_weight": 1e-2},
        {"consistency_weight": 1e-2},
        {"image_weight": 1.0},
        {"image_weight": 1.0, "image_patch_px": 5},
        {"dice_weight": 1.0},
    ],
    ids=lambda term: next(iter(term)),
)
def test_every_term_makes_itself_smaller(ct, term, monkeypatch):
    """Learning from one batch again and again by one term alone."""
    settings = _settings(steps=12, batch_size=6, landmark_weight=0.0, augmentation={}, averaging=0.0, **term)
    lesson = trainer.Lessons.lesson
    monkeypatch.setattr(trainer.Lessons, "lesson", lambda self, number, done: lesson(self, 0))
    told = []
    monkeypatch.setattr(training, "_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(trainer.Trainer, "_errors", lambda *a, **k: np.arange(9.0))
    train([body_of(ct, structures=_structures(ct))], CAMERA, settings, on_progress=told.append)
    losses = [p.loss for p in told[:12]]
    assert np.mean(losses[-3:]) < 0.97 * np.mean(losses[:3]), losses


def test_around_the_patient(ct):
    """All sides: another rotation, several hypotheses, and no error but a large one."""
    body = training.TrainingBody(ct, range_of(ct, rotation=(180, 40, 180)), LANDMARKS)
    record = train([body], CAMERA, _settings(steps=4)).record
    assert record["unseen_images"] == 16 and record["median_error_mm"] > 10


def test_two_bodies_take_turns(ct, body):
    other = body_of(small_ct(5))
    seen = []
    settings = _settings(steps=4)
    lessons = trainer.Lessons([body, other], CAMERA, settings)
    for number in range(4):
        seen.append(lessons.lesson(number).body)
    assert seen == [0, 1, 0, 1]
    assert train([body, other], CAMERA, settings).record["unseen_images"] == 16


def test_cancelled_at_once_and_by_what_the_callback_raises(body):
    def stop(_):
        raise Cancelled

    with pytest.raises(Cancelled):
        train([body], CAMERA, _settings(steps=50), cancelled=lambda: True)
    with pytest.raises(Cancelled):
        train([body], CAMERA, _settings(steps=50), on_progress=stop)


def test_range_that_misses_the_ct_is_refused_at_once(ct):
    beside = ct.centre_ras + np.array([1500.0, 0, 0])
    away = PoseRange(view_pose("AP", beside, 720.0), beside, (5, 5, 5), (5, 5, 5))
    with pytest.raises(InputError, match="phantom-2 projects into the image from only 0%"):
        train([training.TrainingBody(ct, away, LANDMARKS)], CAMERA, _settings(minutes=10))


def test_estimates_are_told_with_their_confidence():
    estimate = ErrorEstimate.of(np.arange(100.0))
    assert estimate.low_mm < estimate.median_mm < estimate.high_mm < estimate.percentile95_mm
