"""Errors on unseen X-rays, and how sure their median is."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.aim import straight
from DiffPoseRegistrationLib.encoder.reading import Readings
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.encoder.simulator import TrainingSimulator
from DiffPoseRegistrationLib.encoder.validation import ErrorEstimate, UnseenXRays, landmark_errors, median_interval
from DiffPoseRegistrationLib.metrics.errors import target_registration_errors
from encoder_scenes import CAMERA, LANDMARKS, oblique_frame, range_of, small_ct


@pytest.mark.parametrize(("count", "first"), [(10, 2), (20, 6), (50, 18), (100, 40)])
def test_ranks_of_the_interval_are_the_tables(count, first):
    """Ranks in the usual tables for the median's 95 % interval (W. J. Conover, Practical Nonparametric Statistics)."""
    assert median_interval(np.random.default_rng(0).permutation(count) + 1) == (first, count + 1 - first)


def test_the_interval_holds_the_median_as_often_as_it_says():
    random = np.random.default_rng(0)
    intervals = [median_interval(random.exponential(size=61)) for _ in range(2000)]
    held = np.mean([low <= np.log(2) <= high for low, high in intervals])
    assert 0.945 < held < 0.985


def test_too_few_values_have_none():
    assert median_interval(np.arange(5.0)) is None
    estimate = ErrorEstimate.of(np.arange(5.0))
    assert estimate.median_mm == 2 and estimate.low_mm is None and not estimate.is_below(99.0)


def test_below_a_goal_only_when_it_is_sure():
    estimate = ErrorEstimate.of(np.linspace(0, 20, 101))
    assert estimate.median_mm == pytest.approx(10) and estimate.low_mm < 10 < estimate.high_mm
    assert not estimate.is_below(10.5) and estimate.is_below(13)


def test_landmark_errors_are_target_registration_errors():
    pose_range, _ = oblique_frame()
    a, b = pose_range.sample(np.random.default_rng(0), 10).reshape(2, 5, 4, 4)
    expected = [target_registration_errors(x, y, LANDMARKS).mean() for x, y in zip(a, b)]
    np.testing.assert_allclose(landmark_errors(a, b, LANDMARKS), expected)


class _Reader:
    """Reads what it is told, and remembers what it was shown."""

    def __init__(self, poses):
        self.poses, self.shown = poses, []

    def read(self, xrays, count):
        self.shown.append(xrays.seen(np.arange(count), straight(count)))
        return Readings(self.poses[:count, None], np.ones((count, 1)), np.empty((count, 1, 0, 4, 4)))


def test_unseen_xrays_go_the_way_of_real_ones():
    ct = small_ct()
    simulator = TrainingSimulator(ct, CAMERA, range_of(ct), aimed_share=1.0, bone_contrasts=(0.03, 0.06))
    settings = TrainingSettings(image_side=32, seed=3)
    unseen = UnseenXRays(simulator, LANDMARKS, settings, 7)
    reader = _Reader(unseen._poses)
    assert unseen.errors(reader).tolist() == [0] * 7 and len(unseen.errors(reader, disturbed=True, half=True)) == 4
    reader.poses = np.roll(unseen._poses, 1, axis=0)
    assert unseen.errors(reader).min() > 1
    (clean, whole), (changed, _), _ = reader.shown
    assert whole.all()
    assert (clean[:4] - changed).abs().max() > 0.05  # the disturbed ones are others
    # They are what the network's camera sees, none of them turned.
    direct = simulator.renderers[0].render_batch(simulator.camera, unseen._poses, 0)
    assert np.abs(clean[:, 0].numpy() - direct).mean() < 0.06 * direct.std()
    again = UnseenXRays(simulator, LANDMARKS, settings, 7)
    assert torch.equal(again._clean._image, unseen._clean._image)
