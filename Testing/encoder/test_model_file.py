"""The model file, and the X-ray as the model's own camera would have seen it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.model_file import PreparedModel, load_model, network_input, save_model
from DiffPoseRegistrationLib.encoder.network import PoseEncoder
from DiffPoseRegistrationLib.encoder.simulator import network_camera
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from safetensors import safe_open
from safetensors.torch import save_file

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0), (190.0, 160.0))


@pytest.fixture(scope="module")
def ct():
    return phantom_ct(2, size=(80, 60, 80), spacing=4.0)


@pytest.fixture(scope="module")
def model(ct):
    torch.manual_seed(1)
    pose_range = PoseRange(view_pose("AP", ct.centre_ras, 720.0), ct.centre_ras, (30, 20, 10), (60, 120, 40))
    record = {"median_error_mm": 7.5, "settings": {"seed": 3}}
    return PreparedModel(PoseEncoder().eval(), CAMERA, pose_range, ct.fingerprint, ct.name, record)


@pytest.fixture(scope="module")
def seen(ct, model):
    """A renderer and a pose; the network's picture rendered directly, each pixel averaged over its own area."""
    renderer = Renderer(ct, levels=1)
    pose = perturbed(model.pose_range.centre, ct.centre_ras, 10, 20, np.random.default_rng(0))
    small = network_camera(CAMERA)
    fine = renderer.render(small.resampled(small.rows * 4, small.columns * 4), pose)
    direct = fine.reshape(small.rows, 4, small.columns, 4).mean(axis=(1, 3))
    return renderer, pose, direct


def _difference(found, direct, where):
    return np.abs(found - direct)[where].mean() / direct.std()


@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        CAMERA.resampled(600, 800),  # finer pixels
        CAMERA.resampled(100, 130),  # coarser and oblong ones
        Camera(1500.0, 500, 640, (1.0, 0.9), (300.0, 270.0)),  # another detector at another distance
        replace(CAMERA, viewed_from="detector"),
        replace(CAMERA, viewed_from="detector").resampled(450, 500),
    ],
)
def test_another_cameras_xray_looks_as_the_networks_own(model, seen, camera):
    renderer, pose, direct = seen
    image, mask = network_input(XRay(renderer.render(camera, pose), camera), network_camera(model.camera))
    assert image.shape == mask.shape == (1, 1, 48, 64)
    where = mask[0, 0].numpy() > 0
    assert where.mean() > 0.9
    assert _difference(image[0, 0].numpy(), direct, where) < 0.04
    # Controls: one pixel aside, or mirrored, it is not the same picture.
    shifted = replace(camera, principal_point_px=(camera.principal_point_px[0] + camera.columns / 64, 0))
    shifted = replace(shifted, principal_point_px=(shifted.principal_point_px[0], camera.principal_point_px[1]))
    wrong, _ = network_input(XRay(renderer.render(camera, pose), shifted), network_camera(model.camera))
    assert _difference(wrong[0, 0].numpy(), direct, where) > 0.06
    side = "detector" if camera.viewed_from == "source" else "source"
    wrong, _ = network_input(
        XRay(renderer.render(camera, pose), replace(camera, viewed_from=side)), network_camera(model.camera)
    )
    assert _difference(wrong[0, 0].numpy(), direct, where) > 0.2


def test_a_cropped_xray_is_masked_where_it_shows_nothing(model, seen):
    renderer, pose, direct = seen
    whole = renderer.render(CAMERA, pose)
    part = CAMERA.cropped(50, 100, 200, 250)
    image, mask = network_input(XRay(whole[50:250, 100:350], part), network_camera(model.camera))
    where = mask[0, 0].numpy() > 0
    # 400 pixels are 64 of the network's: 100 to 350 are its 16 to 56, 50 to 250 its 8 to 40.
    expected = np.zeros((48, 64), bool)
    expected[8:40, 16:56] = True
    np.testing.assert_array_equal(where, expected)
    inner = np.zeros_like(where)
    inner[9:39, 17:55] = True
    assert _difference(image[0, 0].numpy(), direct, inner) < 0.04


def test_masked_pixels_do_not_reach_the_network(model, seen):
    renderer, pose, _ = seen
    picture = renderer.render(CAMERA, pose)
    mask = np.ones(picture.shape, bool)
    mask[:, :100] = False
    spoiled = np.where(mask, picture, 50.0)
    inputs = [network_input(XRay(p, CAMERA, mask), network_camera(model.camera)) for p in (picture, spoiled)]
    seen_by_network = inputs[0][1][0, 0] > 0
    assert not seen_by_network[:, :15].any() and seen_by_network[:, 17:].all()
    torch.testing.assert_close(inputs[0][0][0, 0][seen_by_network], inputs[1][0][0, 0][seen_by_network])
    np.testing.assert_allclose(*(model.predict(XRay(p, CAMERA, mask)) for p in (picture, spoiled)), atol=1e-3)


def test_round_trip(model, ct, seen, tmp_path):
    renderer, pose, _ = seen
    path = tmp_path / "größe é.safetensors"
    save_model(model, path)
    read = load_model(path)
    for name, value in model.network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], value)
    assert (read.camera, read.ct_fingerprint, read.ct_name, read.training) == (
        model.camera, model.ct_fingerprint, model.ct_name, model.training,
    )  # fmt: skip
    np.testing.assert_array_equal(read.pose_range.centre, model.pose_range.centre)
    xray = XRay(renderer.render(CAMERA, pose), CAMERA)
    predicted = read.predict(xray)
    np.testing.assert_array_equal(predicted, model.predict(xray))
    np.testing.assert_allclose(predicted[:3, :3] @ predicted[:3, :3].T, np.eye(3), atol=1e-12)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    # Anyone's safetensors reads it, and opening it runs no code.
    with safe_open(str(path), framework="np") as file:
        assert json.loads(file.metadata()["description"])["ct"]["name"] == ct.name


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


def _no_tensors(model, path):
    save_file({"a": torch.zeros(3)}, str(path), {"format": "diffpose-model", "description": "{}"})
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
        (_no_tensors, "damaged"),
        (lambda model, path: save_file({"a": torch.zeros(3)}, str(path)) or path, "not a DiffPose model"),
        (lambda model, path: _rewritten(model, path, format_version=99, diffpose="9.1"), r"newer DiffPose \(9.1\)"),
        (lambda model, path: _rewritten(model, path, widths=[8, 16, 32]), "damaged"),
        (lambda model, path: _rewritten(model, path, camera=None), "damaged"),
        (lambda model, path: _rewritten(model, path, pose_range={}), "damaged"),
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
