import torch
from torch import nn

from sklearn_synset._network.layer_calls import layer_calls
from tests.problems import classification_model


class Again(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, dtype=torch.float64)
        self.head = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, X):
        return self.head(self.first(self.first(X)).tanh())


def test_calls_are_in_the_order_of_use_with_what_was_given_and_returned():
    model, X, _ = classification_model(6, module=Again())
    calls = layer_calls(model, X, ["head", "first"])
    assert [call.name for call in calls] == ["first", "first", "head"]
    torch.testing.assert_close(calls[0].given[0], X, rtol=0, atol=0)
    torch.testing.assert_close(calls[1].given[0], calls[0].output, rtol=0, atol=0)
    torch.testing.assert_close(calls[2].output, model(model.theta, X), rtol=0, atol=0)


def test_the_network_is_left_without_hooks():
    model, X, _ = classification_model(6, module=Again())
    layer_calls(model, X, ["head"])
    assert not any(part._forward_hooks for part in model.module.modules())
