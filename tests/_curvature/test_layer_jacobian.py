import pytest
import torch
from torch import nn

from sklearn_synset._curvature.layer_jacobian import is_known, layer_jacobian
from tests.problems import seeded

LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "linear without a bias": (lambda: nn.Linear(4, 3, bias=False), (4,)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3), (2, 5, 6)),
    "strides": (lambda: nn.Conv2d(2, 4, (2, 3), stride=(2, 1), padding=(1, 0)), (2, 5, 6)),
    "groups": (lambda: nn.Conv2d(4, 6, 2, groups=2, dilation=2), (4, 5, 6)),
    "one dimension": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layers_jacobian_is_that_of_autograd_row_by_row(case):
    build, shape = LAYERS[case]
    layer = seeded(lambda: build().double())
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    output = layer(inputs)
    slope = torch.randn(2, *output.shape, generator=generator, dtype=torch.float64)
    weights = list(layer.parameters())
    expected = torch.stack(
        [
            torch.stack(
                [
                    torch.cat(
                        [
                            each.flatten()
                            for each in torch.autograd.grad(
                                (slope[value, row] * layer(inputs)[row]).sum(), weights
                            )
                        ]
                    )
                    for row in range(len(inputs))
                ]
            )
            for value in range(len(slope))
        ]
    )
    parts = tuple(name for name, _ in layer.named_parameters())
    actual = torch.cat(layer_jacobian(layer, inputs, slope, parts), dim=2)
    torch.testing.assert_close(actual.detach(), expected)
    total = torch.cat(layer_jacobian(layer, inputs, slope, parts, is_summed=True), dim=1)
    torch.testing.assert_close(total.detach(), expected.sum(1))
    (alone,) = layer_jacobian(layer, inputs, slope, parts[:1])
    torch.testing.assert_close(alone.detach(), expected[..., : weights[0].numel()])


def test_layers_whose_products_cannot_be_determined_are_not_known():
    rows, images = torch.zeros(2, 4), torch.zeros(2, 4, 6, 6)
    assert is_known(nn.Linear(4, 3), rows)
    assert is_known(nn.Conv2d(4, 3, 3, padding=1), images)
    assert not is_known(nn.Linear(6, 3), images)
    assert not is_known(nn.Conv2d(4, 3, 3), images[0])
    assert not is_known(nn.Conv2d(4, 3, 3, padding="same"), images)
    assert not is_known(nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"), images)
    assert not is_known(nn.ConvTranspose2d(4, 3, 3), images)
    assert not is_known(nn.LayerNorm(4), rows)
