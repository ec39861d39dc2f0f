"""Training settings by name, and the papers' presets."""

import json

import pytest
from DiffPoseRegistrationLib.commandline.prepare import DEFAULT_ROTATION_DEG, DEFAULT_TRANSLATION_MM
from DiffPoseRegistrationLib.commandline.prepare import PRESETS as OFFERED
from DiffPoseRegistrationLib.encoder.frame import PoseFrame
from DiffPoseRegistrationLib.encoder.presets import PRESETS, chosen_settings, preset
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.errors import InputError
from encoder_scenes import range_of, small_ct


def test_json_round_trip():
    for name in PRESETS:
        settings = preset(name).training
        assert TrainingSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_budget_wins_over_training_wins_over_preset():
    settings = chosen_settings("xvr", {"batch_size": 32, "parts": 2, "seed": 5}, minutes=3, seed=7, until_mm=None)
    assert (settings.batch_size, settings.parts, settings.minutes, settings.seed) == (32, 2, 3, 7)
    assert settings.backbone == "resnet34" and settings.until_mm is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batchsize": 3}, "'batchsize' is not known; there are .*batch_size"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5; give a whole number"),
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"parts": 65}, "cannot be split in 65 parts"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"until_mm": -1}, "until_mm"),
        ({"optimiser": "sgd"}, "choose one of muon, adam"),
        ({"rotation": "euler"}, "rotation_6d"),
        ({"widths": [7]}, "multiples of 8"),
        ({"widths": 3}, "wrong kind"),
        ({"bone_contrasts": [0.03, -1]}, "bone_contrasts"),
        ({"augmentation": {"snow": 0.1}}, "'snow' is not known; choose among gamma"),
        ({"augmentation": {"noise": 1.5}}, "'noise' falls on a share"),
        ([1, 2], "JSON object"),
    ],
)
def test_what_cannot_be_used_is_named(values, words):
    with pytest.raises(InputError, match=words):
        TrainingSettings.from_json(values)
    with pytest.raises(InputError, match="choose one of default, diffpose, xvr"):
        preset("other")


def test_wide_ranges_get_rotations_without_a_tear_and_several_hypotheses():
    ct = small_ct()
    narrow, wide = (PoseFrame.of_range(range_of(ct, rotation=r)) for r in ((30, 30, 30), (180, 30, 30)))
    settings = TrainingSettings()
    assert settings.parameterisation(narrow).outputs == 6 and settings.network_shape(narrow).hypotheses == 1
    assert settings.parameterisation(wide).outputs == 9 and settings.network_shape(wide).hypotheses > 1
    assert TrainingSettings(hypotheses=2).network_shape(narrow).hypotheses == 2


def test_the_papers_settings_are_theirs():
    """Figures of ../shared/reference/systems.md, which names their sources."""
    ours, diffpose, xvr = (preset(name) for name in OFFERED)
    assert (*ours.rotation_deg, *ours.translation_mm) == (*DEFAULT_ROTATION_DEG, *DEFAULT_TRANSLATION_MM)
    t = diffpose.training
    assert (t.backbone, t.image_side, t.batch_size, t.optimiser, t.rate) == ("resnet18", 256, 8, "adam", 1e-3)
    assert (t.rotation, t.translation) == ("rotation_vector", "tangent")
    assert (t.image_weight, t.geodesic_weight, t.log_weight, t.landmark_weight) == (1, 1e-2, 1e-2, 0)
    assert (diffpose.distribution, t.augmentation, t.clipping, t.looks) == ("gaussian", {}, "adaptive", 0)
    assert max(t.bone_contrasts) / min(t.bone_contrasts) == pytest.approx(10)
    t = xvr.training
    assert (t.backbone, t.image_side, t.batch_size // t.parts, t.parts) == ("resnet34", 128, 116, 4)
    assert (t.rotation, t.translation) == ("quaternion_adjugate", "camera")
    assert (t.image_weight, t.image_patch_px, t.geodesic_weight, t.dice_weight) == (1, 9, 1e-2, 1)
    assert (xvr.rotation_deg, xvr.translation_mm, xvr.distribution) == ((45, 45, 15), (150, 275, 150), "uniform")
    assert set(t.augmentation.values()) == {1 / 3}


def test_disturbances_come_in_as_the_training_goes_on():
    settings = TrainingSettings(undisturbed_until=0.25, all_disturbed_from=0.75)
    assert [settings.disturbed(done) for done in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 0.5, 1, 1]
    # A training that may end at any time is never without them, nor is xvr's.
    assert TrainingSettings(until_mm=10.0).disturbed(0.0) == 1
    assert preset("xvr").training.disturbed(0.0) == 1
    assert TrainingSettings(undisturbed_until=0.5, all_disturbed_from=0.5).disturbed(0.49) == 0
