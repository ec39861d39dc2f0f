"""The pieces of the gradient against the whole, and against the pixels' own shares."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.refinement.scores import block_scores
from DiffPoseRegistrationLib.refinement.similarity import WindowedNCC
from DiffPoseRegistrationLib.refinement.window_sums import Cells, correlations

ROWS, COLUMNS = 26, 31
RANDOM = np.random.default_rng(7)
XRAY = RANDOM.normal(3.0, 1.0, (ROWS, COLUMNS)).astype(np.float32)
DRR = (0.6 * XRAY + RANDOM.normal(5.0, 0.8, (ROWS, COLUMNS))).astype(np.float32)
JACOBIAN = RANDOM.normal(0.0, 1.0, (ROWS, COLUMNS, 6)).astype(np.float32)
WEIGHT = RANDOM.uniform(0.2, 1.0, (ROWS, COLUMNS)).astype(np.float32)
WEIGHT[:, :9] = 0  # a collimator blade


@pytest.mark.parametrize("side", [1, 8, 40])
def test_blocks_add_up_to_the_gradient(side):
    centres, scores = block_scores(XRAY, WEIGHT, DRR, JACOBIAN, side)
    whole = np.array([[0, 0, ROWS, COLUMNS]], np.int32)
    _, gradient, _ = correlations(XRAY, WEIGHT, DRR[None], JACOBIAN[None], Cells.of(whole))
    assert len(centres) == len(scores) == -(-ROWS // side) * -(-COLUMNS // side)
    np.testing.assert_allclose(scores.sum(axis=0), gradient[0, 0], rtol=1e-4, atol=1e-7)


def test_a_block_holds_the_pixels_around_its_centre():
    """Blocks of 8 pixels hold those of one pixel whose centres they surround; behind the blade nothing pulls."""
    pixels, each = block_scores(XRAY, WEIGHT, DRR, JACOBIAN, 1)
    centres, scores = block_scores(XRAY, WEIGHT, DRR, JACOBIAN, 8)
    assert centres[0].tolist() == [3.5, 3.5] and centres[-1].tolist() == [24.5, 27.0]
    for centre, score in zip(centres, scores):
        near = (np.floor(pixels / 8) == np.floor(centre / 8)).all(axis=1)
        np.testing.assert_allclose(score, each[near].sum(axis=0), atol=1e-12)
    assert not scores[centres[:, 1] < 8].any() and scores[centres[:, 1] > 8].all()


def test_an_image_of_nothing_pulls_nowhere():
    _, scores = block_scores(XRAY, WEIGHT, np.zeros_like(DRR), JACOBIAN, 8)
    assert not scores.any()


@pytest.mark.parametrize("image_filter", ["none", "gradient", "laplacian"])
@pytest.mark.parametrize(("sides", "shares"), [((0,), (1.0,)), ((8,), (1.0,)), ((0, 8), (0.4, 0.6))])
def test_scores_add_up_to_the_gradient_of_the_cost(sides, shares, image_filter):
    measure = WindowedNCC(XRAY, WEIGHT, sides, shares, 0.3, image_filter, 1.0)
    found = measure.scores(DRR, JACOBIAN)
    _, gradient, normal = measure(DRR[None], JACOBIAN[None])
    np.testing.assert_allclose(found.scores.sum(axis=0), gradient[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.normal, normal[0], rtol=1e-6)
    assert len(found.centres) == len(found.scores) > 20
    assert (found.centres >= 0).all() and (found.centres < [ROWS, COLUMNS]).all()
