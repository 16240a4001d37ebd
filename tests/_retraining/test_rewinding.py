import pytest
import torch
from torch import nn

from sklearn_synset._retraining.rewinding import on_the_way, rewound
from tests.problems import classification_model, seeded


def model_of(*layers):
    return classification_model(6, module=seeded(lambda: nn.Sequential(*layers).double()))[0]


def test_rewinding_by_nothing_returns_the_trained_weights():
    model = classification_model(6)[0]
    assert torch.equal(rewound(model, 0.0), model.theta)


@pytest.mark.parametrize("rewind", [0.25, 0.5])
def test_the_outputs_of_a_linear_network_lose_their_share(rewind):
    model = model_of(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(
        model(rewound(model, rewind), X), (1 - rewind) * model(model.theta, X)
    )


def test_a_normalisation_shrinks_in_place_of_the_layer_in_front_of_it():
    model = model_of(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    parts, before = model.unflatten(rewound(model, 0.75)), model.unflatten(model.theta)
    for name in ("0.weight", "0.bias"):
        assert torch.equal(parts[name], before[name])
    for name in ("1.weight", "1.bias", "3.weight", "3.bias"):
        torch.testing.assert_close(parts[name], 0.5 * before[name])


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.LayerNorm(6)])
def test_outputs_behind_a_normalisation_lose_their_share(norm):
    model = model_of(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 3, bias=False))
    X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(model(rewound(model, 0.5), X), 0.5 * model(model.theta, X))


def test_every_layer_shrinks_alike():
    model = model_of(nn.LayerNorm(4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    parts, before = model.unflatten(rewound(model, 0.875)), model.unflatten(model.theta)
    for name in before:
        torch.testing.assert_close(parts[name], 0.5 * before[name])


def test_half_way_is_in_the_middle():
    model = classification_model(6)[0]
    start, middle, end = on_the_way(model, 0.5)
    assert torch.equal(start, rewound(model, 0.5)) and torch.equal(end, model.theta)
    torch.testing.assert_close(middle - start, end - middle)
    assert len(on_the_way(model, 0.0)) == 1
