"""Many networks at once are each of them alone."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from sklearn_synset._replay.stacked_network import StackedNetwork
from tests.problems import seeded


class Recurrent(nn.Module):
    """What `vmap` cannot run."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, X):
        return self.head(self.recurrent(X[..., None])[0][:, -1])


def chain():
    norm = nn.BatchNorm1d(5)
    return nn.Sequential(nn.Linear(4, 5), norm, nn.Sequential(nn.ReLU()), nn.Linear(5, 3))


def images():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        *(nn.Conv2d(1, 3, 2, padding=1), nn.BatchNorm2d(3, momentum=None), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(27, 3)),
    )


MODULES = {"chain": chain, "images": images, "recurrent": Recurrent}
X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def alone(stack, module, k):
    """Return a module with the weights and statistics of one network of a stack."""
    own = copy.deepcopy(module)
    state = {name: value[k].clone() for name, value in stack.state().items()}
    own.load_state_dict(own.state_dict() | state)
    return own


@pytest.fixture(params=MODULES)
def problem(request):
    """Return a stack of three networks from two modules, and the first module."""
    first, second = (seeded(MODULES[request.param], seed).double() for seed in (0, 1))
    return request.param, StackedNetwork([(first, 2), (second, 1)], X[:2]), first


def test_a_stack_runs_by_rules_or_one_by_one(problem):
    name, stack, _ = problem
    assert stack.n_networks == 3
    assert stack.is_graph is (name != "recurrent")
    assert stack.is_loop is (name == "recurrent")


def test_outputs_and_gradients_are_those_of_single_networks(problem):
    _, stack, module = problem
    networks = [alone(stack, module, k).train() for k in range(3)]
    found = stack.training_outputs(X[None], torch.ones(3, len(X)).to(X))
    gradients = torch.autograd.grad(found.square().sum(), list(stack.parameters.values()))
    for k, network in enumerate(networks):
        outputs = network(X)
        torch.testing.assert_close(found[k], outputs)
        outputs.square().sum().backward()
        for own, parameter in zip(gradients, network.parameters(), strict=True):
            torch.testing.assert_close(own[k], parameter.grad)
    # Running statistics are those of torch, too.
    evaluated = stack.outputs(X)
    for k, network in enumerate(networks):
        torch.testing.assert_close(evaluated[k], network.eval()(X).detach())


def test_rows_without_weight_do_not_enter_the_statistics(problem):
    _, stack, module = problem
    weight = torch.ones(3, len(X)).to(X)
    weight[1, 3:] = 0
    expected = alone(stack, module, 1).train()
    found = stack.training_outputs(X[None], weight)
    torch.testing.assert_close(found[1, :3], expected(X[:3]))
    torch.testing.assert_close(stack.outputs(X)[1], expected.eval()(X).detach())


def test_dropout_masks_are_shared():
    module = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5))).double()
    stack = StackedNetwork([(module, 2)], X[:2])
    with torch.random.fork_rng():
        outputs = stack.training_outputs(X[None], torch.ones(2, len(X)).to(X)).detach()
    assert torch.equal(outputs[0], outputs[1]) and (outputs == 0).any()
    assert (stack.outputs(X) != 0).all()


def test_the_module_that_is_stacked_stays_as_it_was():
    module = chain().double().eval()
    before = copy.deepcopy(module.state_dict())
    stack = StackedNetwork([(module, 2)], X[:2])
    stack.training_outputs(X[None], torch.ones(2, len(X)).to(X))
    assert not module.training and isinstance(module[1], nn.BatchNorm1d)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_frozen_weights_are_not_trained():
    module = chain().double()
    module[0].weight.requires_grad_(False)
    stack = StackedNetwork([(module, 2)], X[:2])
    assert "0.weight" not in stack.parameters and not stack.is_graph
    expected = functional_call(module.eval(), {}, (X,)).detach()
    torch.testing.assert_close(stack.outputs(X)[0], expected)
