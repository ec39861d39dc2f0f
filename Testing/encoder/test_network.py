"""The networks: shapes, size and repeatability."""

import pytest
import torch
from DiffPoseRegistrationLib.encoder.network import CELLS, NetworkShape, PoseEncoder
from DiffPoseRegistrationLib.errors import InputError


@pytest.mark.parametrize(
    "shape",
    [
        NetworkShape(),
        NetworkShape(outputs=9, hypotheses=3),
        NetworkShape(contrast_boxes_px=(5, 9)),
        NetworkShape("resnet18"),
    ],
)
def test_any_size_of_image_and_no_company_matters(shape):
    torch.manual_seed(0)
    network = PoseEncoder(shape).eval()
    for size in ((64, 64), (48, 64), (64, 16), (33, 61)):
        image = torch.rand(2, shape.channels, *size)
        poses, weights, coordinates, votes = network(image)
        if shape.backbone == "patch":
            assert coordinates.shape == (2, 3, CELLS, CELLS) and votes.shape == (2, shape.outputs, CELLS, CELLS)
        else:
            assert coordinates is None and votes is None
        assert poses.shape == (2, shape.hypotheses, shape.outputs) and weights.shape == (2, shape.hypotheses)
        torch.testing.assert_close(network(image)[0][:1], network(image[:1])[0], atol=1e-4, rtol=1e-3)
    assert shape.hypotheses > 1 or (weights == 0).all()


@pytest.mark.parametrize(("name", "millions"), [("patch", 0.87), ("resnet18", 11.2), ("resnet34", 21.3)])
def test_sizes_are_the_published_ones(name, millions):
    """ResNet-18 and -34 without their classifier have 11.2 and 21.3 million parameters."""
    network = PoseEncoder(NetworkShape(name))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    "shape", [{"backbone": "vgg"}, {"widths": ()}, {"widths": (12,)}, {"hypotheses": 0}, {"contrast_boxes_px": (4,)}]
)
def test_what_cannot_be_built_is_refused(shape):
    with pytest.raises(InputError):
        NetworkShape(**shape)
