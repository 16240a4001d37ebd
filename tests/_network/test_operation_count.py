import pytest
import torch
from torch import nn

from sklearn_synset._network.operation_count import (
    cost_of_gradient,
    flops_of_gradient,
    flops_of_product,
    multiplications,
    networks_at_once,
    widest_output,
)
from tests.problems import classification_model, functional, mlp, small_conv


@pytest.mark.parametrize(("n_hidden", "expected"), [(5, 5), (2, 3)])
def test_the_widest_output_is_that_of_one_row_of_any_layer(n_hidden, expected):
    model, X, _ = classification_model(6, module=mlp(n_hidden=n_hidden))
    assert widest_output(model, X) == expected


def test_positions_of_a_convolution_count_and_the_network_is_left_as_it_is():
    X = torch.zeros(6, 1, 4, 4, dtype=torch.float64)
    model = functional(small_conv(), X.numpy(), torch.arange(6).numpy() % 3, range(3))
    assert widest_output(model, X) == 27
    assert not any(part._forward_hooks for part in model.module.modules())


def test_layers_that_return_something_else_do_not_count():
    class Pair(nn.Module):
        def forward(self, X):
            return X, X

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.head = Pair(), nn.Linear(4, 3, dtype=torch.float64)

        def forward(self, X):
            return self.head(self.pair(X)[0])

    model, X, _ = classification_model(6, module=First())
    assert widest_output(model, X) == 3


def test_operations_of_a_gradient_are_three_times_those_of_the_products():
    model, X, _ = classification_model(6, module=mlp(n_hidden=5))
    assert flops_of_gradient(model, X) == 3 * 2 * (4 * 5 + 5 * 3)
    assert flops_of_product(torch.zeros(4, 2)) == 3 * 2 * 4 * 2


def test_convolutions_cost_more_than_their_operations():
    X = torch.zeros(6, 1, 4, 4, dtype=torch.float64)
    model = functional(small_conv(), X.numpy(), torch.arange(6).numpy() % 3, range(3))
    flops = flops_of_gradient(model, X)
    assert cost_of_gradient(model, X) == 8 * flops
    assert cost_of_gradient(model, X, 5) == 40
    assert multiplications(model, X) == 8 * flops // 6 > model.n_parameters
    plain, X, _ = classification_model(6, module=mlp(n_hidden=5))
    assert cost_of_gradient(plain, X) == flops_of_gradient(plain, X)
    # The shifts multiply nothing.
    assert multiplications(plain, X) == plain.n_parameters > 4 * 5 + 5 * 3


def test_outputs_of_networks_at_once_keep_to_a_bound():
    X = torch.zeros(100, 1, 4, 4, dtype=torch.float64)
    model = functional(small_conv(), X.numpy(), torch.arange(100).numpy() % 3, range(3))
    assert networks_at_once(model, X) == 2_000_000 // (100 * 27)
    assert networks_at_once(model, X[:1].expand(10**5, -1, -1, -1)) == 1
    plain, X, _ = classification_model(6, module=mlp(n_hidden=5))
    assert networks_at_once(plain, X) is None
