import pickle

import pytest
import torch

from sklearn_synset._objective.objective import (
    logit,
    margin,
    negative_cross_entropy,
    negative_squared_error,
    prediction,
    probability,
    resolve_objective,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64)
    return outputs, torch.tensor([0, 2, 1, 2])


def test_margin_is_the_log_odds(batch):
    outputs, y = batch
    p = probability(outputs, y)
    torch.testing.assert_close(margin(outputs, y), (p / (1 - p)).log())


def test_margin_of_two_classes_is_the_exact_difference():
    outputs = torch.tensor([[1000.0, -3.0], [0.1, 0.3]])
    expected = torch.stack([outputs[0, 0] - outputs[0, 1], outputs[1, 1] - outputs[1, 0]])
    assert torch.equal(margin(outputs, torch.tensor([0, 1])), expected)


def test_margin_of_a_single_class_is_its_logit():
    outputs = torch.tensor([[2.0], [-1.0]])
    assert margin(outputs, torch.zeros(2, dtype=torch.int64)).tolist() == [2.0, -1.0]


def test_logit_picks_the_label(batch):
    outputs, y = batch
    expected = torch.stack([outputs[:, row, label] for row, label in enumerate(y)], dim=-1)
    assert torch.equal(logit(outputs, y), expected)


def test_classification_loss_is_minus_torch_cross_entropy(batch):
    outputs, y = batch
    expected = torch.stack(
        [torch.nn.functional.cross_entropy(each, y, reduction="none") for each in outputs]
    )
    torch.testing.assert_close(negative_cross_entropy(outputs, y), -expected)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_regression_loss_is_minus_torch_mse(n_targets):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, n_targets, generator=generator)
    y = torch.randn(4, n_targets, generator=generator)
    expected = torch.nn.functional.mse_loss(outputs, y, reduction="none").mean(-1)
    loss = resolve_objective("loss", "squared_error", loss_scale=2 / n_targets)
    torch.testing.assert_close(loss(outputs, y), -expected)
    if n_targets == 1:
        torch.testing.assert_close(loss(outputs, y[:, 0]), -expected)


def test_prediction_is_the_output_and_needs_a_single_one():
    assert prediction(torch.tensor([[3.0], [4.0]]), torch.zeros(2)).tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="one output, got 2"):
        prediction(torch.zeros(3, 2), torch.zeros(3))


@pytest.mark.parametrize("name", ["margin", "probability", "logit", "loss"])
def test_classification_objectives_differentiate_and_batch(batch, name):
    outputs, y = batch
    objective = resolve_objective(name, "cross_entropy")
    torch.testing.assert_close(
        torch.func.vmap(objective, (0, None))(outputs, y), objective(outputs, y)
    )
    gradient = torch.func.grad(lambda z: objective(z, y).sum())(outputs)
    assert gradient.isfinite().all()
    labels = y.expand(5, 4)[..., None]
    assert (gradient.gather(-1, labels) > 0).all(), "a larger logit of the label must be better"


def test_auto_is_margin_or_prediction():
    assert resolve_objective("auto", "cross_entropy") is margin
    assert resolve_objective("auto", "squared_error") is prediction


def test_a_callable_is_taken_as_it_is():
    def top(outputs, y):
        return outputs.max(-1).values

    assert resolve_objective(top, "cross_entropy") is top


@pytest.mark.parametrize(
    ("objective", "loss", "message"),
    [
        ("margin", "squared_error", "'margin' is not defined for continuous targets"),
        ("prediction", "cross_entropy", "'prediction' is not defined for class labels"),
        ("margins", "cross_entropy", "expected one of"),
    ],
)
def test_an_objective_that_does_not_fit_the_loss_is_refused(objective, loss, message):
    with pytest.raises(ValueError, match=message):
        resolve_objective(objective, loss)


def test_named_objectives_can_be_pickled():
    loss = pickle.loads(pickle.dumps(resolve_objective("loss", "squared_error", loss_scale=2.0)))
    outputs, y = torch.ones(2, 1), torch.zeros(2)
    torch.testing.assert_close(loss(outputs, y), 2 * negative_squared_error(outputs, y))


@pytest.mark.parametrize("n_targets", [1, 2])
def test_the_squared_error_of_several_networks_is_that_of_each(n_targets):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 5, n_targets, generator=generator)
    y = torch.randn((5, n_targets) if n_targets > 1 else (5,), generator=generator)
    loss = resolve_objective("loss", "squared_error")
    expected = -0.5 * (outputs - y.reshape(5, n_targets)).square().sum(2)
    torch.testing.assert_close(loss(outputs, y), expected)
    assert loss(outputs, y).shape == (3, 5)


def test_outputs_of_several_networks_may_have_a_single_column():
    outputs = torch.arange(12.0).reshape(3, 4, 1)
    labels = torch.zeros(4, dtype=torch.int64)
    torch.testing.assert_close(margin(outputs, labels), outputs[..., 0])
    torch.testing.assert_close(prediction(outputs, torch.zeros(4)), outputs[..., 0])
    with pytest.raises(ValueError, match="one output, got 2"):
        prediction(torch.zeros(1, 4, 2), torch.zeros(4))


@pytest.mark.parametrize(
    ("objective", "loss", "n_outputs"),
    [
        (lambda outputs, y: outputs.sum(), "cross_entropy", 3),
        (lambda outputs, y: outputs, "cross_entropy", 3),
        (lambda outputs, y: outputs.sum(-1)[None], "cross_entropy", 3),
        (lambda outputs, y: 1.0, "squared_error", 1),
    ],
)
def test_an_objective_that_gives_no_value_for_each_row_is_refused(objective, loss, n_outputs):
    with pytest.raises(ValueError, match=r"must map outputs \(..., n, C\) to values \(..., n\)"):
        resolve_objective(objective, loss, loss_scale=1.0, n_outputs=n_outputs)


@pytest.mark.parametrize(
    ("loss", "n_outputs", "kind"),
    [
        ("cross_entropy", 3, ((2, 3), torch.int64, (2,))),
        ("squared_error", 1, ((2, 1), torch.float32, (2,))),
        ("squared_error", 4, ((2, 4), torch.float32, (2, 4))),
    ],
)
def test_an_objective_is_tried_on_what_it_will_get(loss, n_outputs, kind):
    seen = []

    def objective(outputs, y):
        seen.append((tuple(outputs.shape), y.dtype, tuple(y.shape)))
        return outputs.sum(-1)

    assert resolve_objective(objective, loss, loss_scale=1.0, n_outputs=n_outputs) is objective
    assert seen == [kind, kind]
