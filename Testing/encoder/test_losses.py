"""The training loss on values worked out by hand."""

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder.losses import geodesic_loss, log_loss, ncc_loss

SCALE = torch.tensor([0.5, 0.25, 0.1, 60.0, 40.0, 120.0], dtype=torch.float64)
ZERO = torch.zeros(1, 6, dtype=torch.float64)


def _at(*values):
    """Coordinates of a rotation vector [rad] and a shift [mm]."""
    return torch.tensor([values], dtype=torch.float64) / SCALE


@pytest.mark.parametrize("loss", [geodesic_loss, log_loss])
def test_distances_by_hand(loss):
    degree = float(np.deg2rad(1))
    assert float(loss(ZERO, ZERO, SCALE, 100.0)) == pytest.approx(0, abs=0.02)
    assert float(loss(_at(0, 0, 0, 3, 4, 0), ZERO, SCALE, 100.0)) == pytest.approx(5.0, abs=1e-4)
    assert float(loss(_at(0, degree, 0, 0, 0, 0), ZERO, SCALE, 100.0)) == pytest.approx(100 * degree, abs=1e-4)
    both = loss(_at(degree, 0, 0, 0, 0, 3), ZERO, SCALE, 100.0)
    assert float(both) == pytest.approx(np.hypot(100 * degree, 3), abs=1e-4)
    pair = torch.cat([_at(0, 0, 0, 3, 4, 0), ZERO])
    assert float(loss(pair, torch.cat([ZERO, ZERO]), SCALE, 100.0)) == pytest.approx(2.5, abs=0.01)  # a mean


def test_geodesic_goes_round_and_the_logarithm_does_not():
    almost, beyond = np.deg2rad(170), np.deg2rad(-170)  # 20 degrees apart
    a, b = _at(almost, 0, 0, 0, 0, 0), _at(beyond, 0, 0, 0, 0, 0)
    assert float(geodesic_loss(a, b, SCALE, 100.0)) == pytest.approx(100 * np.deg2rad(20), abs=1e-3)
    assert float(log_loss(a, b, SCALE, 100.0)) == pytest.approx(100 * np.deg2rad(340), abs=1e-3)


@pytest.mark.parametrize("loss", [geodesic_loss, log_loss])
def test_gradient_is_finite_at_the_truth_and_points_away_from_it(loss):
    truth = _at(0.1, -0.2, 0.05, 10, -20, 5)
    at_truth = truth.clone().requires_grad_()
    loss(at_truth, truth, SCALE, 100.0).backward()
    assert torch.isfinite(at_truth.grad).all()
    away = (truth + 0.1).requires_grad_()
    loss(away, truth, SCALE, 100.0).backward()
    assert float((away.grad * (away - truth).detach()).sum()) > 0
    assert torch.autograd.gradcheck(lambda x: loss(x, truth, SCALE, 100.0), (away,), atol=1e-5)


def test_ncc_is_numpys_correlation():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 20, 30))
    b += 0.7 * a
    expected = np.mean([1 - np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b)])
    assert float(ncc_loss(torch.tensor(a), torch.tensor(b))) == pytest.approx(expected)
    assert float(ncc_loss(torch.tensor(2 * a + 7), torch.tensor(a))) == pytest.approx(0, abs=1e-12)
    assert float(ncc_loss(torch.tensor(-a), torch.tensor(a))) == pytest.approx(2)


def test_ncc_of_an_empty_image_is_one_without_a_pull():
    empty = torch.zeros(1, 8, 8, requires_grad=True)
    loss = ncc_loss(empty, torch.rand(1, 8, 8))
    loss.backward()
    assert loss.item() == pytest.approx(1) and torch.isfinite(empty.grad).all()
