"""Layers in plain operations compute what torch's kernels do, for many networks."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.utils import parametrizations

from sklearn_synset._network.plain.plain_layers import with_plain_layers
from tests.problems import seeded

LAYERS = {
    "RNN": lambda: nn.RNN(3, 4, batch_first=True),
    "ReLU": lambda: nn.RNN(3, 4, nonlinearity="relu", bias=False),
    "GRU": lambda: nn.GRU(3, 4, num_layers=2, dropout=0.5, batch_first=True),
    "two directions": lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True),
    "LSTM": lambda: nn.LSTM(3, 4, batch_first=True, bidirectional=True),
    "projected": lambda: nn.LSTM(3, 4, num_layers=2, proj_size=2),
}
CELLS = {
    "RNNCell": lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
    "GRUCell": lambda: nn.GRUCell(3, 4),
    "LSTMCell": lambda: nn.LSTMCell(3, 4, bias=False),
}


def flat(output):
    """Return all tensors of a nested output."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in flat(part)]


def pair(build):
    layer = seeded(build).double().eval()
    return layer, with_plain_layers(copy.deepcopy(layer))


@pytest.mark.parametrize("shape", [(5, 6, 3), (6, 3)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_plain_layer_computes_what_the_kernel_does(name, shape):
    layer, plain = pair(LAYERS[name])
    X = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = layer(X)
    torch.testing.assert_close(flat(plain(X)), flat(expected))
    state = expected[1]
    torch.testing.assert_close(flat(plain(X, state)), flat(layer(X, state)))


@pytest.mark.parametrize("name", CELLS)
def test_a_plain_cell_computes_what_the_kernel_does(name):
    cell, plain = pair(CELLS[name])
    X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = cell(X)
    torch.testing.assert_close(flat(plain(X)), flat(expected))
    torch.testing.assert_close(flat(plain(X, expected)), flat(cell(X, expected)))


@pytest.mark.parametrize("name", LAYERS | CELLS)
def test_many_networks_run_at_once(name):
    layer, plain = pair((LAYERS | CELLS)[name])
    X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = {key: torch.stack([each, 2 * each]) for key, each in layer.state_dict().items()}
    found = vmap(lambda own: flat(functional_call(plain, own, (X,))))(weights)
    for k, factor in enumerate((1, 2)):
        own = {key: factor * each for key, each in layer.state_dict().items()}
        expected = flat(functional_call(layer, own, (X,)))
        torch.testing.assert_close([each[k] for each in found], expected)


BAGS = {
    "mean": lambda: nn.EmbeddingBag(9, 3),
    "sum": lambda: nn.EmbeddingBag(9, 3, mode="sum", padding_idx=2),
    "max": lambda: nn.EmbeddingBag(9, 3, mode="max", padding_idx=2),
    "last offset": lambda: nn.EmbeddingBag(9, 3, include_last_offset=True, padding_idx=0),
}
IDS = torch.tensor([[0, 1, 2, 2], [3, 8, 8, 0], [2, 2, 2, 2]])


@pytest.mark.parametrize("name", BAGS)
def test_a_plain_bag_computes_what_the_kernel_does(name):
    bag, plain = pair(BAGS[name])
    torch.testing.assert_close(plain(IDS), bag(IDS))
    if name == "sum":
        weight = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
        found = plain(IDS, per_sample_weights=weight)
        torch.testing.assert_close(found, bag(IDS, per_sample_weights=weight))
    if name != "max":
        offsets = torch.tensor([0, 3, 3, 7, 12] if name == "last offset" else [0, 3, 3, 7])
        torch.testing.assert_close(plain(IDS.flatten(), offsets), bag(IDS.flatten(), offsets))


@pytest.mark.parametrize(
    ("shape", "n_slopes"), [((5, 4), 1), ((5, 4), 4), ((5, 4, 2, 3), 4), ((6,), 1)]
)
def test_a_plain_slope_is_that_of_its_channel(shape, n_slopes):
    layer, plain = pair(lambda: nn.PReLU(n_slopes))
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 0.5, n_slopes))
        plain.weight.copy_(layer.weight)
    X = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(X), layer(X))


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.filterwarnings("error")
def test_a_plain_weight_norm_is_that_of_torch(dim):
    def build():
        return parametrizations.weight_norm(nn.Conv1d(3, 4, 2), dim=dim)

    layer, plain = pair(build)
    X = torch.randn(5, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(X), layer(X))
    weights = {name: torch.stack([p, 2 * p]).detach() for name, p in plain.named_parameters()}
    found = vmap(lambda own: functional_call(plain, own, (X,)))(weights)
    torch.testing.assert_close(found[0], layer(X))


def test_packed_sequences_are_refused():
    packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(4, 2, 3), torch.tensor([4, 2]))
    with pytest.raises(TypeError, match="Packed sequences are not supported"):
        pair(LAYERS["two directions"])[1](packed)
