"""Muon's orthogonalisation against the singular value decomposition, and its step."""

import pytest
import torch
from DiffPoseRegistrationLib.encoder.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (16, 72), (72, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.logspace(0, -1.5, min(shape))
    found = orthogonalised(u @ torch.diag(values) @ v)
    turned = u.T @ found @ v.T
    apart = turned - torch.diag(turned.diag())
    assert apart.abs().max() < 1e-3
    # The published iteration ends between about 0.7 and 1.2 instead of at one.
    assert turned.diag().min() > 0.6 and turned.diag().max() < 1.3
    # Control: before, they differ thirtyfold.
    assert values.max() / values.min() > 30


def test_the_published_iteration_gives_the_same():
    torch.manual_seed(1)
    matrix = torch.randn(16, 90, dtype=torch.float64)
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    torch.testing.assert_close(orthogonalised(matrix), x, atol=1e-6, rtol=0)


def test_a_step_is_as_long_as_its_rate_whatever_the_gradient():
    steps = []
    for scale in (1e-4, 1e3):
        torch.manual_seed(2)
        weight = torch.nn.Parameter(torch.zeros(8, 40))
        optimiser = Muon([weight], lr=0.1)
        weight.grad = scale * torch.randn(8, 40)
        optimiser.step()
        steps.append(weight.detach())
    torch.testing.assert_close(steps[0], steps[1], atol=1e-3, rtol=1e-2)
    assert 0.6 * 0.1 * 8**0.5 < steps[0].norm() < 1.3 * 0.1 * 8**0.5
