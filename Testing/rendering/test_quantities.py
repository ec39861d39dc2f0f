"""What else a ray can tell: structures, coverage, derivatives inside torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.rendering.autograd import render_at
from DiffPoseRegistrationLib.rendering.coverage import coverage
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.rendering.structures import StructureRenderer, only_structures
from scenes import affine, camera, pose


def _two_blocks(**how) -> tuple[CTVolume, np.ndarray]:
    """Two blocks of bone, labels 3 and 7, apart in air; the volume's axes are uneven."""
    size = (24, 20, 28)
    hounsfield = np.full(size[::-1], -1000, np.float32)
    labels = np.zeros(size[::-1], np.uint8)
    for label, part in (
        (3, (slice(4, 12), slice(5, 15), slice(3, 9))),
        (7, (slice(16, 25), slice(4, 12), slice(13, 21))),
    ):
        hounsfield[part], labels[part] = 100.0 * label, label
    return CTVolume(hounsfield, affine(size, **how), "blocks"), labels


@pytest.mark.parametrize("how", [{}, {"spacing": (0.7, 1.2, 1.0), "turn": (0.4, 1.2, 0.2), "mirrored": True}])
def test_structures_are_rendered_apart(how):
    """Each channel is the image of the CT with everything else made air, up to the interpolation at its surface; all
    channels together are the image."""
    ct, labels = _two_blocks(**how)
    whole = Renderer(ct, levels=1, method="trilinear", backend="cpu").render(camera(), pose())
    first, second, background = StructureRenderer(ct, labels, [7, 3, 0]).render(camera(), pose())
    np.testing.assert_allclose(first + second + background, whole, atol=2e-4 * whole.max())
    for image, label in ((first, 7), (second, 3)):
        alone = Renderer(only_structures(ct, labels, [label]), levels=1, method="siddon", backend="cpu")
        expected = alone.render(camera(), pose())
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.98
        # What interpolation spreads out of a block, an eighth of a voxel at each surface, is the background's.
        assert np.abs(image - expected).mean() < 0.15 * expected.mean()
        other = first if label == 3 else second
        assert np.corrcoef(other.ravel(), expected.ravel())[0, 1] < 0.8


def test_structures_refuse_what_does_not_fit():
    ct, labels = _two_blocks()
    with pytest.raises(InputError, match="resample it to the CT"):
        StructureRenderer(ct, labels[1:], [3])
    with pytest.raises(InputError, match=r"lacks the labels \[5\]"):
        StructureRenderer(ct, labels, [3, 5])
    with pytest.raises(InputError, match="none of the labels"):
        only_structures(ct, labels, [5])
    with pytest.raises(InputError, match="whole numbers"):
        StructureRenderer(ct, labels / 2.0, [3])


def _along_y(distance_mm: float = 100.0) -> np.ndarray:
    at = np.eye(4)
    at[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    at[:3, 3] = [0.0, -distance_mm, 0.0]
    return at


def test_coverage_of_a_box():
    """The beam's axis through a box of 20 x 40 x 24 mm; a ray beside it; the source inside."""
    ct = CTVolume(np.full((12, 20, 10), -1000, np.float32), affine((10, 20, 12), spacing=(2.0, 2.0, 2.0)))
    one = Camera(200.0, 1, 3, (1.0, 30.0))
    found = coverage(ct, one, _along_y())
    assert found.length_mm[0, 1] == pytest.approx(40.0, rel=1e-6) and found.share[0, 1] == pytest.approx(0.2)
    assert found.length_mm[0, 0] == 0 and not found.cut.any()
    assert coverage(ct, one, _along_y(5.0)).length_mm[0, 1] == pytest.approx(25.0, rel=1e-6)


def test_coverage_knows_a_cut_body():
    """A body that reaches the CT's back face is cut there; one that ends inside it is not, nor are rays beside it."""
    hounsfield = np.full((12, 20, 10), -1000, np.float32)
    hounsfield[3:9, 6:20, 2:8] = 40.0
    ct = CTVolume(hounsfield, affine((10, 20, 12), spacing=(2.0, 2.0, 2.0)))
    wide = Camera(200.0, 9, 9, (5.0, 5.0))
    found = coverage(ct, wide, _along_y())
    assert found.cut[4, 4] and not found.cut[0, 0] and 0 < found.cut.mean() < 0.5
    whole = hounsfield.copy()
    whole[:, 18:] = -1000.0
    assert not coverage(CTVolume(whole, ct.ijk_to_ras), wide, _along_y()).cut.any()


def test_gradient_in_torch_is_the_jacobian():
    """d(loss)/d(twist) through the compiled marcher equals finite differences of the loss over rendered images."""
    ct, _ = _two_blocks()
    smooth = torch.nn.functional.avg_pool3d(torch.from_numpy(ct.hounsfield)[None], 5, 1, 2, count_include_pad=False)
    renderer = Renderer(CTVolume(smooth[0].numpy(), ct.ijk_to_ras), levels=1, method="trilinear", backend="cpu")
    twists = torch.zeros(1, 6, requires_grad=True)
    weights = torch.linspace(-1, 1, 17 * 19).reshape(17, 19)
    (render_at(twists, renderer, camera(), pose()[None]) * weights).sum().backward()
    from DiffPoseRegistrationLib.geometry import rigid

    for axis, step in ((0, 1e-3), (2, 1e-3), (3, 0.05), (5, 0.05)):
        losses = []
        for sign in (1, -1):
            twist = np.zeros(6)
            twist[axis] = sign * step
            at = rigid.update_pose(pose(), twist, renderer.isocentre)
            losses.append(float((renderer.render(camera(), at) * weights.numpy()).sum(dtype=np.float64)))
        assert float(twists.grad[0, axis]) == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=0.02)
