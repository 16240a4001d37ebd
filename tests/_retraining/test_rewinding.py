import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from sklearn_synset import SynsetAttributor
from sklearn_synset._retraining.rewinding import on_the_way, rewound
from tests.problems import classification_model, seeded, train


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
    shares = [parts[name] / before[name] for name in ("1.weight", "3.weight", "3.bias")]
    assert all(torch.allclose(share, shares[0][0]) for share in shares) and shares[0][0] < 0.6


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.LayerNorm(6)])
def test_outputs_behind_a_normalisation_lose_their_share(norm):
    model = model_of(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 3, bias=False))
    X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(model(rewound(model, 0.5), X), 0.5 * model(model.theta, X))


def centred(model, theta, rows):
    """Return logits less the mean of each row's."""
    logits = model(theta, rows)
    return logits - logits.mean(1, keepdim=True)


class Raw(nn.Module):
    """Two layers, as parameters of one module."""

    def __init__(self, layers):
        super().__init__()
        self.parts = nn.ParameterList([p.detach().clone() for p in layers.parameters()])

    def forward(self, X):
        first, shift, last, end = self.parts
        return torch.tanh(X @ first.T + shift) @ last.T + end


class Branches(nn.Module):
    """Two layers, the first of them in halves."""

    def __init__(self, layers):
        super().__init__()
        first, _, self.last = copy.deepcopy(layers)
        self.left, self.right = nn.Linear(4, 3).double(), nn.Linear(4, 3).double()
        for part, rows in ((self.left, slice(0, 3)), (self.right, slice(3, 6))):
            part.weight, part.bias = (nn.Parameter(p[rows]) for p in (first.weight, first.bias))

    def forward(self, X):
        return self.last(torch.tanh(torch.cat([self.left(X), self.right(X)], 1)))


def parametrized(layers):
    copied = copy.deepcopy(layers)
    return nn.Sequential(parametrizations.weight_norm(copied[0]), *copied[1:])


def chain(layers):
    return layers


@pytest.mark.parametrize("spelled", [chain, Raw, Branches, parametrized])
@pytest.mark.parametrize("rewind", [0.5, 0.8])
def test_outputs_lose_their_share_however_a_network_is_spelled(spelled, rewind):
    layers = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double())
    plain, other = (classification_model(6, module=build(layers))[0] for build in (chain, spelled))
    rows = classification_model(6)[1]
    zero = centred(other, other.shrunk(1e-6), rows)
    found = (centred(other, rewound(other, rewind), rows) - zero).norm()
    share = found / (centred(other, other.theta, rows) - zero).norm()
    torch.testing.assert_close(
        other(rewound(other, rewind), rows), plain(rewound(plain, rewind), rows)
    )
    assert abs(share - (1 - rewind)) < (1e-5 if rewind == 0.5 else 0.1)


@pytest.mark.parametrize("norm", [nn.RMSNorm, nn.LayerNorm, nn.BatchNorm1d])
def test_outputs_behind_normalisations_lose_their_share_with_shifts(norm):
    model = model_of(nn.Linear(4, 6), norm(6), nn.ReLU(), nn.Linear(6, 3))
    rows = classification_model(6)[1]
    zero = centred(model, model.shrunk(1e-6), rows)
    found = (centred(model, rewound(model, 0.5), rows) - zero).norm()
    expected = 0.5 * (centred(model, model.theta, rows) - zero).norm()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_half_way_is_in_the_middle():
    model = classification_model(6)[0]
    start, middle, end = on_the_way(model, 0.5)
    assert torch.equal(start, rewound(model, 0.5)) and torch.equal(end, model.theta)
    torch.testing.assert_close(middle - start, end - middle)
    assert len(on_the_way(model, 0.0)) == 1


@pytest.mark.parametrize("spelled", [Raw, Branches])
def test_effects_are_the_same_however_a_network_is_spelled(spelled):
    rng, y, groups = np.random.RandomState(0), np.arange(90) % 3, np.arange(90) // 3 % 6
    rows = rng.normal(size=(90, 4))
    rows[np.arange(90), y] += 1
    layers = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double())
    train(layers, rows, y, nn.functional.cross_entropy)
    params = {"solver": "rewind", "n_probes": 0, "max_iter": 0, "n_steps": 50, "random_state": 0}
    found, expected = (
        SynsetAttributor(build(layers), **params).fit(rows, y, groups).attribute(rows, y)
        for build in (spelled, chain)
    )
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())
