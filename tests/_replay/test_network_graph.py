"""Each operation that has a rule gives what torch gives; others are left to `vmap`."""

import copy
import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from sklearn_synset._replay.network_graph import graphs_of
from sklearn_synset._replay.stacked_network import StackedNetwork
from tests.problems import seeded

N_ROWS, N_FEATURES = 6, 16
IMAGE = nn.Unflatten(1, (1, 4, 4))


class Own(nn.Module):
    """Two layers, and a function of both."""

    def __init__(self, forward):
        super().__init__()
        self.first, self.second = nn.Linear(N_FEATURES, 5), nn.Linear(5, 5)
        self.norm, self.own = nn.LayerNorm(5), forward

    def forward(self, X):
        return self.own(self, X)


def residual(net, X):
    values = net.first(X)
    return values + functional.gelu(net.second(net.norm(values)))


def reshaped(net, X):
    values = torch.relu(net.first(X)).view(X.shape[0], 5, 1)
    return net.second(values.reshape(-1, 5).tanh()) * 0.5 - 1


def joined(net, X):
    values = net.first(X)
    return torch.cat([values, net.second(values), X], dim=1)


def in_training_only(net, X):
    return net.second(functional.dropout(net.first(X), 0.3, net.training))


def noisy(net, X):
    values = X + 0.1 * torch.randn_like(X) if net.training else X
    values = net.first(values)
    return net.second(values + torch.rand_like(values)) if net.training else net.second(values)


def recursive(net, X):
    values = net.first(X)
    for _ in range(3):
        values = net.second(values)
    return values, X


def images(*layers, n_in):
    return nn.Sequential(IMAGE, *layers, nn.Flatten(), nn.Linear(n_in, 3))


def plain(*layers):
    return nn.Sequential(nn.Linear(N_FEATURES, 5), *layers, nn.Linear(5, 3))


NETWORKS = {
    "nested": lambda: plain(nn.Sequential(nn.BatchNorm1d(5), nn.ReLU(inplace=True))),
    "normalised rows": lambda: nn.Sequential(nn.BatchNorm1d(16), nn.LayerNorm(16), plain()),
    "no scales": lambda: plain(nn.BatchNorm1d(5, affine=False), nn.Softplus()),
    "masked": lambda: nn.Sequential(nn.Dropout(0.2), plain(nn.Dropout(0.5)), nn.LogSoftmax(1)),
    "strided": lambda: images(nn.Conv2d(1, 3, 3, stride=2, padding=1, bias=False), n_in=12),
    "dilated": lambda: images(nn.Conv2d(1, 3, (2, 1), dilation=(2, 1)), nn.Tanh(), n_in=24),
    "pooled": lambda: images(
        nn.Conv2d(1, 3, 3, padding=1),
        *(nn.BatchNorm2d(3, momentum=None), nn.MaxPool2d(2), nn.Dropout2d(0.5)),
        *(nn.Conv2d(3, 2, 2, padding=1), nn.AvgPool2d(3, stride=1)),
        n_in=2,
    ),
    "overlapping": lambda: images(nn.Conv2d(1, 2, 1), nn.MaxPool2d(3, stride=1), n_in=8),
    "pooled rows": lambda: images(nn.MaxPool2d(2), n_in=4),
    "mean of all": lambda: images(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), n_in=3),
    "sequences": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 8)), nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Flatten()
    ),
    **{
        each.__name__: lambda each=each: Own(each)
        for each in (residual, reshaped, joined, in_training_only, noisy, recursive)
    },
}
X = torch.randn(2, N_ROWS, N_FEATURES, generator=torch.Generator().manual_seed(0)).double()


def alone(stack, module, k):
    """Return a module with the weights and statistics of one network of a stack."""
    own = copy.deepcopy(module)
    own.load_state_dict(own.state_dict() | {n: v[k].clone() for n, v in stack.state().items()})
    return own


class Drawn:
    """Draws for each of two blocks from a generator of its own."""

    def __init__(self):
        self.states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            self.states.append(torch.get_rng_state())

    def __call__(self, make):
        found = []
        for block, state in enumerate(self.states):
            torch.set_rng_state(state)
            found.append(make())
            self.states[block] = torch.get_rng_state()
        return torch.stack(found)


@pytest.fixture(params=NETWORKS)
def problem(request):
    """Return a module, and a stack of three networks from it and another in two blocks."""
    modules = [seeded(NETWORKS[request.param], seed).double() for seed in (0, 1)]
    stack = StackedNetwork([(modules[0], 2), (modules[1], 1)], X[0, :2])
    assert stack.is_graph
    return modules[0], stack


def test_blocks_of_networks_are_single_networks(problem):
    module, stack = problem
    networks = [alone(stack, module, k).train() for k in range(3)]
    weight = torch.ones(3, N_ROWS).to(X)
    with torch.random.fork_rng():
        found = stack.training_outputs(X, weight, [2, 1], Drawn())
        parameters = list(stack.parameters.values())
        gradients = torch.autograd.grad(found.square().sum(), parameters, allow_unused=True)
        for k, network in enumerate(networks):
            torch.manual_seed(2 if k == 2 else 1)
            outputs = network(X[1 if k == 2 else 0])
            outputs = outputs[0] if isinstance(outputs, tuple) else outputs
            torch.testing.assert_close(found[k], outputs)
            outputs.square().sum().backward()
            for own, parameter in zip(gradients, network.parameters(), strict=True):
                assert (own is None) is (parameter.grad is None)
                if own is not None:
                    torch.testing.assert_close(own[k], parameter.grad)
    evaluated = stack.outputs(X[0])
    for k, network in enumerate(networks):
        outputs = network.eval()(X[0])
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        torch.testing.assert_close(evaluated[k], outputs.detach())


def test_random_numbers_are_those_of_the_network_alone(problem):
    module, stack = problem
    weight = torch.ones(3, N_ROWS).to(X)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found = stack.training_outputs(X[:1], weight).detach()
        for k in range(3):
            network = alone(stack, module, k).train()
            torch.manual_seed(3)
            outputs = network(X[0])
            outputs = outputs[0] if isinstance(outputs, tuple) else outputs
            torch.testing.assert_close(found[k], outputs.detach())


def test_the_first_of_equal_values_has_the_gradient():
    module = seeded(lambda: images(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), n_in=8)).double()
    stack = StackedNetwork([(module, 1)], X[0, :2])
    rows = torch.ones(1, 3, N_FEATURES).to(X)
    outputs = stack.training_outputs(rows, torch.ones(1, 3).to(X))
    gradients = torch.autograd.grad(outputs.square().sum(), list(stack.parameters.values()))
    module(rows[0]).square().sum().backward()
    for own, parameter in zip(gradients, module.parameters(), strict=True):
        torch.testing.assert_close(own[0], parameter.grad)


def drawing(net, X):
    return net.second(net.first(X) * random.random())


def drawing_once(net, X):
    return net.second(net.first(X) * torch.rand(1).to(X))


def counting(net, X):
    net.n_calls = getattr(net, "n_calls", 0) + 1
    return net.second(net.first(X)) / net.n_calls


def deciding(net, X):
    return net.second(net.first(X)) if X.sum() > 0 else net.first(X)


def broadcast(net, X):
    return net.second(net.first(X)) + net.norm.weight


def along_rows(net, X):
    return net.first(X).flatten(0, 1)[:, None]


@pytest.mark.parametrize(
    "forward", [drawing, drawing_once, counting, deciding, broadcast, along_rows]
)
def test_what_depends_on_more_than_the_rows_has_no_rules(forward):
    module = seeded(lambda: Own(forward)).double()
    state = random.getstate()
    assert graphs_of(module, {name for name, _ in module.named_parameters()}, X[0, :2]) is None
    random.setstate(state)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.GroupNorm(1, 5)],
        [nn.Linear(5, 5).requires_grad_(False)],
        [nn.utils.spectral_norm(nn.Linear(5, 5))],
        [nn.PReLU()],
    ],
)
def test_other_layers_have_no_rules(layers):
    module = plain(*layers).double()
    names = {name for name, p in module.named_parameters() if p.requires_grad}
    assert graphs_of(module, names, X[0, :2]) is None
