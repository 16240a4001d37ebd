"""Several labels a row: each has a margin of its own."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet
from torch import nn
from torch.func import functional_call, jacrev

from sklearn_synset import SynsetAttributor
from sklearn_synset._curvature.gauss_newton import gauss_newton_products
from sklearn_synset._network.training_loss import row_loss
from sklearn_synset._wrapping.wrapped_model import wrap
from sklearn_synset.metrics import retraining
from tests.problems import mlp, seeded

N, L, N_GROUPS = 90, 3, 6
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, 4))
Y = (X[:, :3] + 0.7 * RNG.normal(size=(N, L)) > 0.3).astype(float)
GROUPS = np.argsort(np.argsort(X[:, 0])) * N_GROUPS // N
FAST = {"n_probes": 0, "random_state": 0}
DECAY = 0.05


def net(**params):
    settings = {"criterion": nn.BCEWithLogitsLoss, "optimizer": torch.optim.Adam, "lr": 0.02}
    settings |= {"max_epochs": 20, "batch_size": 16, "train_split": None, "verbose": 0}
    return NeuralNet(mlp, **settings | params)


@pytest.fixture(scope="module")
def fitted():
    return SynsetAttributor(net(), **FAST).fit(X, Y, GROUPS)


@pytest.fixture(scope="module")
def truth():
    return retraining(net(), X, Y, X, Y, groups=GROUPS, n_seeds=3, random_state=1).effects


def test_effects_are_those_of_retraining(fitted, truth):
    found, expected = fitted.attribute(X, Y).ravel(), truth.mean(0).ravel()
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert 0.8 < (found @ expected) / (found @ found) < 1.25


def test_retraining_is_the_same_side_by_side_and_one_by_one():
    found, expected = (
        retraining(net(), X, Y, X, Y, groups=GROUPS, side_by_side=each, random_state=1).effects
        for each in (True, False)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_the_margin_is_the_mean_over_labels_of_their_log_odds(fitted):
    def of_label(c):
        return lambda outputs, y: (2 * y[..., c] - 1) * outputs[..., c]

    each = [fitted.attribute(X, Y, objective=of_label(c)) for c in range(L)]
    np.testing.assert_allclose(fitted.attribute(X, Y), np.mean(each, axis=0), atol=1e-12)
    with torch.no_grad():
        logits = [
            one.module_(torch.as_tensor(X)).numpy()
            for one in (fitted.estimator_, fitted.leave_out([2]))
        ]
    np.testing.assert_allclose(each[1][:, 2], (2 * Y[:, 1] - 1) * (logits[0] - logits[1])[:, 1])
    bce = [nn.functional.binary_cross_entropy_with_logits(*map(torch.as_tensor, (out, Y)),
                                                          reduction="none").mean(1)
           for out in logits]  # fmt: skip
    found = fitted.attribute(X, Y, objective="loss")[:, 2]
    np.testing.assert_allclose(found, bce[1] - bce[0], atol=1e-12)


def test_labels_are_those_whose_logits_are_positive(fitted):
    predicted = fitted.estimator_.forward(X).numpy() > 0
    np.testing.assert_array_equal(fitted.transform(X), fitted.attribute(X, predicted))
    assert fitted.classes_ is None
    with pytest.raises(ValueError, match="Several labels a row are 0 and 1"):
        fitted.attribute(X, Y + 1)


def test_a_frozen_net_and_its_module_are_explained(truth):
    trained = net().fit(X, Y)
    expected = truth.mean(0).ravel()
    frozen = SynsetAttributor(FrozenEstimator(trained), **FAST).fit(X, Y, GROUPS)
    assert np.corrcoef(frozen.attribute(X, Y).ravel(), expected)[0, 1] > 0.95
    bare = SynsetAttributor(trained.module_, task="multilabel", **FAST).fit(X, Y, GROUPS)
    assert np.corrcoef(bare.attribute(X, Y).ravel(), expected)[0, 1] > 0.7


def test_the_loss_and_its_curvature_are_those_of_torch():
    _, model = wrap(
        seeded(lambda: nn.Linear(4, L).double()),
        X,
        Y,
        classes=None,
        random_state=np.random.RandomState(0),
        loss="binary_cross_entropy",
    )
    rows, targets = torch.as_tensor(X), torch.as_tensor(Y)

    def loss(theta):
        outputs = functional_call(model.module, model.unflatten(theta), (rows,))
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets)

    own = row_loss(model, model(model.theta, rows), targets).mean()
    torch.testing.assert_close(own, loss(model.theta))
    # Of a single layer, the Gauss-Newton matrix is the Hessian.
    directions = torch.eye(model.n_parameters, dtype=torch.float64)
    products = gauss_newton_products(model, model.theta, rows, directions)
    torch.testing.assert_close(products, jacrev(jacrev(loss))(model.theta))


def converged(rows):
    """Return a single layer at the minimum of its decayed loss on some rows."""
    module = seeded(lambda: nn.Linear(4, L).double())
    inputs, targets = torch.as_tensor(X[rows]), torch.as_tensor(Y[rows])
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=200, tolerance_grad=1e-10)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(module(inputs), targets)
        loss = loss + DECAY / 2 * sum(each.square().sum() for each in module.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)
    return module


def test_rewinding_a_convex_network_finds_its_minimum_without_each_group():
    module = converged(slice(None))
    params = {"task": "multilabel", "weight_decay": DECAY, "n_steps": 400, "synset_size": 15}
    found = SynsetAttributor(module, **params, **FAST).fit(X, Y, GROUPS).attribute(X, Y)
    with torch.no_grad():
        change = [
            module(torch.as_tensor(X)) - converged(GROUPS != k)(torch.as_tensor(X))
            for k in range(N_GROUPS)
        ]
    expected = ((2 * torch.as_tensor(Y) - 1) * torch.stack(change)).mean(-1).T.numpy()
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
