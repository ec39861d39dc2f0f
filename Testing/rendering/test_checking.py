"""Work that can be broken off inside a large image, without changing the image."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import Cancelled
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.rendering import renderer as renderer_module
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.cases import simulate_cases
from DiffPoseRegistrationLib.workflow.register import register

CT = phantom_ct(1, size=(80, 60, 80), spacing=4.0)
CAMERA = Camera(1020.0, 128, 96, (2.4, 3.2), (50.0, 60.0))
POSES = np.stack([view_pose(view, CT.centre_ras, 720.0) for view in ("AP", "LL")])


class StopError(Exception):
    pass


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of seven rows or so, as a large image has on a large CT."""
    monkeypatch.setattr(renderer_module, "_PART_SAMPLES", 7.5 * 2 * CAMERA.columns * 82)


@pytest.mark.parametrize("method", ["joseph", "trilinear"])
def test_the_image_in_parts_is_the_image(small_parts, method):
    renderer = Renderer(CT, levels=1, method=method)
    whole = renderer.render_with_jacobian(CAMERA, POSES, CT.centre_ras)
    calls = []
    with renderer.checking(lambda: calls.append(1)):
        parts = renderer.render_with_jacobian(CAMERA, POSES, CT.centre_ras)
        image = renderer.render_batch(CAMERA, POSES)
    assert len(calls) > 10
    for a, b in zip(parts, whole):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())
    np.testing.assert_allclose(image, whole[0], atol=1e-4 * whole[0].max())
    # The control: shifted by a row it is another image.
    assert np.abs(image[:, 1:] - whole[0][:, :-1]).max() > 0.01 * whole[0].max()


def test_a_check_breaks_off_between_two_parts(small_parts):
    renderer = Renderer(CT, levels=1)
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 4:
            raise StopError

    with pytest.raises(StopError), renderer.checking(check):
        renderer.render_batch(CAMERA, POSES)
    assert len(calls) == 4
    renderer.render_batch(CAMERA, POSES)  # nobody checks any more
    assert len(calls) == 4


def test_checks_are_nested(small_parts):
    renderer = Renderer(CT, levels=1)
    inner, outer = [], []
    with renderer.checking(lambda: outer.append(1)):
        with renderer.checking(lambda: inner.append(1)):
            renderer.render(CAMERA, POSES[0])
        assert len(inner) == len(outer) > 3
        renderer.render_pixels(CAMERA, POSES, np.array([[3.0, 4.0]]))
    assert len(outer) == len(inner) + 1


def test_a_cancelled_registration_and_simulation_stop_inside_an_image(small_parts, tmp_path):
    """Counted, not timed: a wish to stop that comes during the first image is obeyed before its next part."""
    pose, camera = POSES[0], CAMERA
    renderer = Renderer(CT, levels=1)
    xray = XRay(renderer.render(camera, pose), camera)
    rendered_before = renderer.renders
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 6

    with pytest.raises(Cancelled):
        register(CT, xray, initial=pose, renderer=renderer, cancelled=cancelled, pictures=False)
    assert len(asked) == 7 and renderer.renders - rendered_before <= 3 * 15
    asked.clear()
    with pytest.raises(Cancelled):
        simulate_cases(tmp_path, CT, camera, POSES, ct_name="ct", source="test", cancelled=cancelled)
    assert len(asked) == 7 and not list(tmp_path.rglob("*.*"))
