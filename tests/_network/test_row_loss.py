"""The loss of single rows is the criterion, on any rows and with any weights."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn
from torch.nn import functional

from sklearn_synset._network.row_loss import row_loss_of

N, C, K = 11, 3, 2
WEIGHT = torch.tensor([1.0, 4.0, 0.25]).double()


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def loss_of(criterion, cls=NeuralNetClassifier, link="identity", n_outputs=C, **params):
    sizes = {"module__in_features": 4, "module__out_features": C}
    net = cls(nn.Linear, criterion=criterion, **sizes, **params).initialize()
    return row_loss_of(net, link=link, n_outputs=n_outputs)


# What the criterion makes of outputs and labels, and how the module's outputs look.
LABELS = {
    "cross-entropy": (nn.CrossEntropyLoss, {}, "logits"),
    "class weights": (nn.CrossEntropyLoss, {"weight": WEIGHT}, "logits"),
    "smoothing": (nn.CrossEntropyLoss, {"label_smoothing": 0.3}, "logits"),
    "both": (nn.CrossEntropyLoss, {"weight": WEIGHT, "label_smoothing": 0.3}, "logits"),
    "ignored": (nn.CrossEntropyLoss, {"ignore_index": 1, "weight": WEIGHT}, "logits"),
    "ignored and smoothed": (
        nn.CrossEntropyLoss,
        {"ignore_index": 0, "label_smoothing": 0.3},
        "logits",
    ),
    "sum": (nn.CrossEntropyLoss, {"reduction": "sum"}, "logits"),
    "sum of weighted": (nn.CrossEntropyLoss, {"reduction": "sum", "weight": WEIGHT}, "logits"),
    "probabilities": (nn.NLLLoss, {"weight": WEIGHT}, "probabilities"),
    "log-probabilities": (nn.NLLLoss, {"weight": WEIGHT}, "log-probabilities"),
}


@pytest.mark.parametrize("name", LABELS)
def test_the_mean_over_kept_rows_is_the_criterion_of_these_rows(name):
    criterion, params, kind = LABELS[name]
    cls = NeuralNet if kind == "log-probabilities" else NeuralNetClassifier
    row_loss = loss_of(
        criterion, cls, **{f"criterion__{key}": each for key, each in params.items()}
    )
    logits, y = random(K, N, C), torch.arange(N) % C
    outputs = {
        "logits": logits,
        "probabilities": logits.softmax(-1),
        "log-probabilities": logits.log_softmax(-1),
    }[kind]
    kept = torch.ones(K, N, dtype=torch.bool)
    kept[1, ::3] = False
    targets = functional.one_hot(y, C).double()
    found = row_loss.mean(outputs, targets, kept.double())
    received = outputs.log() if kind == "probabilities" else outputs
    expected = [criterion(**params)(received[k][kept[k]], y[kept[k]]) for k in range(K)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_row_of_weight_two_is_there_twice():
    row_loss = loss_of(nn.CrossEntropyLoss, criterion__weight=WEIGHT)
    outputs, y = random(1, N, C), torch.arange(N) % C
    weight = torch.ones(1, N).double()
    weight[0, :4] = 2
    twice = torch.cat([outputs[0], outputs[0, :4]])
    expected = nn.CrossEntropyLoss(WEIGHT)(twice, torch.cat([y, y[:4]]))
    found = row_loss.mean(outputs, functional.one_hot(y, C).double(), weight)
    torch.testing.assert_close(found[0], expected)


def test_probabilities_of_classes_are_as_to_torch():
    row_loss = replace(loss_of(nn.CrossEntropyLoss, criterion__weight=WEIGHT), is_soft=True)
    outputs, targets = random(1, N, C), random(N, C, seed=1).softmax(-1)
    found = row_loss.mean(outputs, targets, torch.ones(1, N).double())
    torch.testing.assert_close(found[0], nn.CrossEntropyLoss(WEIGHT)(outputs[0], targets))


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize(
    "criterion",
    [
        nn.MSELoss,
        nn.L1Loss,
        partial(nn.SmoothL1Loss, beta=0.5),
        partial(nn.HuberLoss, delta=0.5),
        partial(nn.MSELoss, reduction="sum"),
    ],
    ids=["squares", "absolute", "smooth", "Huber", "sum of squares"],
)
def test_losses_of_values_are_the_criterion_of_the_kept_rows(criterion, n_outputs):
    row_loss = loss_of(criterion, NeuralNetRegressor, n_outputs=n_outputs)
    outputs, targets = random(K, N, n_outputs), random(N, n_outputs, seed=1)
    kept = torch.ones(K, N, dtype=torch.bool)
    kept[1, :5] = False
    found = row_loss.mean(outputs, targets, kept.double())
    expected = [criterion()(outputs[k][kept[k]], targets[kept[k]]) for k in range(K)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_single_logit_is_compared_with_the_second_class():
    row_loss = loss_of(nn.BCEWithLogitsLoss, NeuralNet, link="single_logit", n_outputs=2)
    outputs, y = random(1, N, 1), torch.arange(N) % 2
    found = row_loss.mean(outputs, functional.one_hot(y, 2).double(), torch.ones(1, N).double())
    expected = nn.BCEWithLogitsLoss()(outputs[0, :, 0], y.double())
    torch.testing.assert_close(found[0], expected)


def test_networks_without_any_row_have_no_loss():
    row_loss = loss_of(nn.CrossEntropyLoss)
    targets = functional.one_hot(torch.arange(N) % C, C).double()
    found = row_loss.mean(random(1, N, C), targets, torch.zeros(1, N).double())
    assert found.tolist() == [0.0]


class NoReduction(nn.Module):
    def forward(self, outputs, y):
        return (outputs - y).square().mean()


class Centred(nn.Module):
    """Is no mean of one loss a row."""

    reduction = "mean"

    def forward(self, outputs, y):
        error = (outputs - y).square()
        return (error - error.mean()).square().mean() if self.reduction == "mean" else error


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (NoReduction, "does not say that it takes the mean or the sum"),
        (partial(nn.MSELoss, reduction="none"), "does not say that it takes the mean or the sum"),
        (Centred, "is not the mean of one loss a row"),
        (nn.CosineEmbeddingLoss, "does not compare values with values"),
    ],
)
def test_what_is_no_loss_of_rows_is_refused(criterion, message):
    with pytest.raises(ValueError, match=message):
        loss_of(criterion, NeuralNetRegressor)
