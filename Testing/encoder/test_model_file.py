"""The model file: round trips, other CTs and detectors, and whatever is no model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.frame import PoseFrame
from DiffPoseRegistrationLib.encoder.model_file import PreparedModel, load_model, save_model
from DiffPoseRegistrationLib.encoder.network import PoseEncoder
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.imaging.volume_mapping import VolumeMapping
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from safetensors import safe_open
from safetensors.torch import save_file

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0), (190.0, 160.0))


@pytest.fixture(scope="module")
def ct():
    return phantom_ct(2, size=(80, 60, 80), spacing=4.0)


def _model(ct, rotation=(30, 20, 10), **settings):
    torch.manual_seed(1)
    pose_range = PoseRange(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, rotation, (60, 120, 40))
    frame, settings = PoseFrame.of_range(pose_range), TrainingSettings(**{"looks": 2, "seed": 3, **settings})
    network = PoseEncoder(settings.network_shape(frame)).eval()
    record = {"median_error_mm": 7.5, "curve": [{"seconds": 1.0, "low_mm": None}]}
    mapping = VolumeMapping("cone-beam", ((0.0, -1000.0), (1.0, 40.0)))
    return PreparedModel(network, frame, settings, CAMERA, pose_range, ct.fingerprint, ct.name, mapping, record)


@pytest.fixture(scope="module")
def model(ct):
    return _model(ct)


@pytest.fixture(scope="module")
def xray(ct, model):
    pose = perturbed(model.pose_range.centre, ct.centre_ras, 10, 20, np.random.default_rng(0))
    return XRay(Renderer(ct, levels=1).render(CAMERA, pose), CAMERA)


@pytest.mark.parametrize("made", [{}, {"rotation": (180, 30, 30)}, {"backbone": "resnet18", "image_side": 32}])
def test_round_trip(ct, xray, tmp_path, made):
    model = _model(ct, **made)
    path = tmp_path / "größe é.safetensors"
    save_model(model, path)
    read = load_model(path)
    for name, value in model.network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], value)
    for name in ("camera", "ct_fingerprint", "ct_name", "training", "settings", "mapping"):
        assert getattr(read, name) == getattr(model, name)
    np.testing.assert_array_equal(read.pose_range.centre, model.pose_range.centre)
    predicted, again = model.hypotheses(xray), read.hypotheses(xray)
    np.testing.assert_array_equal(predicted.poses, again.poses)
    np.testing.assert_array_equal(predicted.weights, again.weights)
    np.testing.assert_array_equal(model.predict(xray), predicted.poses[0])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    # Anyone's safetensors reads it, and opening it runs no code.
    with safe_open(str(path), framework="np") as file:
        assert json.loads(file.metadata()["description"])["ct"]["name"] == ct.name


def test_an_untrained_network_says_poses_near_the_centre_with_weights(ct, xray):
    found = _model(ct, (180, 30, 30)).hypotheses(xray)
    assert len(found.poses) > 1 and found.weights.sum() == pytest.approx(1)
    assert (np.diff(found.weights) <= 0).all()


def test_another_detector_is_resampled(ct, xray):
    """The very pose read from an X-ray of another pixel size, distance and display side."""
    # An untrained network makes much of what little another sampling changes in the local contrast.
    model = _model(ct, looks=0, contrast_boxes_px=())
    pose = perturbed(model.pose_range.centre, ct.centre_ras, 10, 20, np.random.default_rng(0))
    renderer = Renderer(ct, levels=1)
    other = Camera(1500.0, 600, 700, (0.9, 0.9), (330.0, 310.0), "detector")
    mirrored = replace(other, viewed_from="source")
    picture = renderer.render(other, pose)
    first, second, wrong = (model.predict(x) for x in (xray, XRay(picture, other), XRay(picture, mirrored)))
    # Control: of the same pixels on the wrong side another pose is read, even by an untrained network.
    assert np.abs(first - wrong)[:3, 3].max() > 5 * np.abs(first - second)[:3, 3].max()


def test_a_detector_that_sees_too_little_is_refused(ct, model):
    small = CAMERA.cropped(120, 150, 64, 64)
    picture = np.random.default_rng(0).random((64, 64), np.float32)
    with pytest.raises(InputError, match=r"only 3% of the field of view .*400 x 300 mm at 1020 mm.*64 x 64 mm"):
        model.predict(XRay(picture, small, name="small.png"))


def test_another_ct_is_refused(model, ct):
    model.require_ct(ct)
    with pytest.raises(InputError, match=r"phantom-2.*phantom-5"):
        model.require_ct(phantom_ct(5, size=(80, 60, 80), spacing=4.0))
    moved = ct.ijk_to_ras.copy()
    moved[0, 3] += 1
    with pytest.raises(InputError, match="another CT"):
        model.require_ct(replace(ct, ijk_to_ras=moved))


def _rewritten(model, path, **description):
    save_model(model, path)
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = file.metadata()
    told = {**json.loads(metadata["description"]), **description}
    save_file(tensors, str(path), {**metadata, "description": json.dumps(told)})
    return path


def _cut(model, path, share):
    save_model(model, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _only_metadata(path, **metadata):
    save_file({"a": torch.zeros(3)}, str(path), metadata)
    return path


def _written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model, path: path, "does not exist"),
        (lambda model, path: path.parent, "does not exist"),
        (lambda model, path: _written(path, b""), "damaged"),
        (lambda model, path: _written(path, b"no model at all" * 100), "damaged"),
        (lambda model, path: _cut(model, path, 0.5), "damaged"),
        (lambda model, path: _cut(model, path, 0.999), "damaged"),
        (lambda model, path: _only_metadata(path, format="diffpose-model", description="{}"), "damaged"),
        (lambda model, path: _only_metadata(path, format="diffpose-model", description="[]"), "damaged"),
        (lambda model, path: _only_metadata(path, a="b"), "not a DiffPose model"),
        (lambda model, path: _only_metadata(path, format="diffpose-pretrained"), "pretrained network"),
        (lambda model, path: _rewritten(model, path, format_version=99, diffpose="9.1"), r"newer DiffPose \(9.1\)"),
        (lambda model, path: _rewritten(model, path, format_version=1, diffpose="0.1"), r"older DiffPose \(0.1\)"),
        (lambda model, path: _rewritten(model, path, settings={"widths": [8, 16, 32]}), "damaged"),
        (lambda model, path: _rewritten(model, path, settings={"unheard": 1}), "damaged"),
        (lambda model, path: _rewritten(model, path, camera=None), "damaged"),
        (lambda model, path: _rewritten(model, path, pose_range={}), "damaged"),
        (lambda model, path: _rewritten(model, path, frame={}), "damaged"),
    ],
)
def test_what_is_no_model_is_refused(model, tmp_path, make, words):
    with pytest.raises(InputError, match=words) as refusal:
        load_model(make(model, tmp_path / "x.safetensors"))
    message = str(refusal.value)
    assert str(tmp_path) in message and "\n" not in message and message.endswith(".")


def test_unwritable_target_leaves_nothing(model, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save_model(model, tmp_path / "missing" / "x.safetensors")
    assert list(tmp_path.iterdir()) == []
