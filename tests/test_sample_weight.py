"""Weights of training rows: in every criterion they act as repeated rows in a full batch."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining
from tests.problems import mlp
from tests.replayed import small_rows, weights_of

X, Y, GROUPS = small_rows()
N = len(Y)
WEIGHT = np.random.RandomState(1).randint(0, 4, N).astype(float)
REPEATED = np.repeat(np.arange(N), WEIGHT.astype(int))
SOFT = np.eye(3)[Y] * 0.8 + 0.2 / 3
FAST = {"n_probes": 0, "random_state": 0}


def net(cls=NeuralNetClassifier, module=mlp, **params):
    settings = {"lr": 0.3, "max_epochs": 6, "batch_size": -1, "train_split": None, "verbose": 0}
    if cls is NeuralNetClassifier:
        settings["criterion"] = nn.CrossEntropyLoss
    return cls(module, **settings | params)


def probabilities():
    return nn.Sequential(*mlp(), nn.Softmax(-1))


def one_output():
    return mlp(n_outputs=1)


VALUES = X[:, :1] + X[:, 1:2] ** 2
CASES = {
    "labels": (net(), Y),
    "class weights": (net(criterion__weight=torch.tensor([1.0, 4.0, 0.25]).double()), Y),
    "smoothing": (net(criterion__label_smoothing=0.2), Y),
    "ignored labels": (net(criterion__ignore_index=1), Y),
    "probabilities": (net(module=probabilities, criterion=nn.NLLLoss), Y),
    "soft labels": (net(), SOFT),
    "one logit": (net(NeuralNetBinaryClassifier, one_output), Y % 2),
    "positive weight": (
        net(
            NeuralNetBinaryClassifier, one_output, criterion__pos_weight=torch.tensor(3.0).double()
        ),
        Y % 2,
    ),
    "values": (net(NeuralNetRegressor, one_output), VALUES),
    "Huber": (net(NeuralNetRegressor, one_output, criterion=nn.HuberLoss), VALUES),
    "counts": (
        net(NeuralNet, one_output, criterion=nn.PoissonNLLLoss, lr=0.03),
        Y[:, None].astype(float),
    ),
}
SEEDED = {"random_state": 0}


@pytest.mark.parametrize("name", CASES)
def test_weights_are_repeated_rows_in_a_full_batch(name):
    estimator, y = CASES[name]
    labels = y.argmax(1) if y.ndim == 2 and y.shape[1] == 3 else y

    def effects(rows=slice(None), **params):
        params |= {"groups": GROUPS[rows], "random_state": 0}
        return retraining(estimator, X[rows], y[rows], X, labels, **params).effects

    expected = effects(REPEATED, side_by_side=False)
    for side_by_side in (True, False):
        found = effects(sample_weight=3 * WEIGHT, side_by_side=side_by_side)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert np.abs(effects(side_by_side=True) - expected).max() > 1e-3


def test_minibatches_are_weighted_alike_side_by_side_and_one_by_one():
    split = ValidSplit(5, stratified=True)
    estimator = net(batch_size=16, iterator_train__shuffle=True, train_split=split)
    params = {"groups": GROUPS, "sample_weight": WEIGHT, "random_state": 0}
    found, expected = (
        retraining(estimator, X, Y, X, Y, side_by_side=each, **params).effects
        for each in (True, False)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_sum_of_losses_is_weighted_by_weights_of_mean_one():
    estimator = net(criterion__reduction="sum", lr=0.003)
    params = {"groups": GROUPS, "random_state": 0}
    plain = retraining(estimator, X, Y, X, Y, **params).effects
    ones = retraining(estimator, X, Y, X, Y, sample_weight=np.full(N, 7), **params).effects
    np.testing.assert_allclose(ones, plain, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_another_estimator_is_given_the_weights(in_pipeline):
    classifier = LogisticRegression()
    if in_pipeline:
        classifier = make_pipeline(StandardScaler(), classifier)
    found = retraining(classifier, X, Y, X, Y, groups=GROUPS, sample_weight=WEIGHT, **SEEDED)
    final = "logisticregression__sample_weight" if in_pipeline else "sample_weight"
    weight, kept = WEIGHT / WEIGHT.mean(), GROUPS != 0
    full, without = (
        sklearn.clone(classifier).fit(X[rows], Y[rows], **{final: weight[rows]})
        for rows in (slice(None), kept)
    )
    # The log-odds of the first of three classes.
    margins = [np.log(p[:, 0] / (1 - p[:, 0])) for p in map(_probability(X), (full, without))]
    own = found.effects[0, Y == 0, 0]
    np.testing.assert_allclose(own, (margins[0] - margins[1])[Y == 0], atol=1e-9)


def _probability(rows):
    return lambda fitted: fitted.predict_proba(rows)


def test_a_net_in_a_pipeline_is_weighted():
    params = {"groups": GROUPS, "sample_weight": WEIGHT, "random_state": 0}
    alone = retraining(net(), X, Y, X, Y, **params).effects
    inside = retraining(make_pipeline(FunctionTransformer(), net()), X, Y, X, Y, **params).effects
    np.testing.assert_allclose(inside, alone, rtol=1e-6, atol=1e-9)


@pytest.fixture(scope="module")
def weighted():
    return SynsetAttributor(net(), **FAST).fit(X, Y, GROUPS, sample_weight=WEIGHT)


def test_fit_trains_with_the_weights_and_leaves_groups_out_with_them(weighted):
    repeated = SynsetAttributor(net(), **FAST).fit(X[REPEATED], Y[REPEATED], GROUPS[REPEATED])
    parts = [weights_of(each.estimator_.module_) for each in (weighted, repeated)]
    torch.testing.assert_close(*parts)
    found, expected = weighted.attribute(X, Y), repeated.attribute(X, Y)
    # The rows that outputs are compared on are the given ones: some of them several times.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    params = {"groups": GROUPS, "sample_weight": WEIGHT, "n_seeds": 2, "random_state": 0}
    truth = retraining(net(), X, Y, X, Y, **params).effects.mean(0)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.95


def test_the_net_of_fit_keeps_nothing_of_the_weights(weighted):
    fitted = weighted.estimator_
    assert fitted.iterator_train is torch.utils.data.DataLoader
    assert "get_loss" not in vars(fitted)
    sklearn.clone(fitted).fit(X, Y)


def test_a_row_of_weight_0_has_no_say(weighted):
    absent = int(np.flatnonzero(WEIGHT == 0)[0])
    y = Y.copy()
    y[absent] = (y[absent] + 1) % 3
    other = SynsetAttributor(net(), **FAST).fit(X, y, GROUPS, sample_weight=WEIGHT)
    np.testing.assert_allclose(other.attribute(X, Y), weighted.attribute(X, Y))
    shares = weighted.attribute(X, Y, level="samples")
    assert np.abs(shares[:, absent]).max() < 1e-6 * np.abs(shares).max()


def test_weights_pass_on_to_rows_left_out(weighted):
    rows = np.flatnonzero(GROUPS == 1)[:5]
    without = weighted.leave_out(rows=rows).module_
    weight = np.delete(WEIGHT, rows)
    again = SynsetAttributor(net(), **FAST)
    again.fit(*(np.delete(part, rows, axis=0) for part in (X, Y, GROUPS)), sample_weight=weight)
    networks = without, again.estimator_.module_, weighted.estimator_.module_
    with torch.no_grad():
        found, expected, before = (each(torch.as_tensor(X)) for each in networks)
    assert (found - expected).norm() < 0.3 * (before - expected).norm()


@pytest.mark.parametrize("synset_size", [1, 100])
def test_weights_are_repeated_rows_when_rewinding(synset_size):
    params = {"solver": "rewind", "max_iter": 0, "synset_size": synset_size} | FAST
    found = SynsetAttributor(mlp(), **params).fit(X, Y, GROUPS, sample_weight=WEIGHT)
    expected = SynsetAttributor(mlp(), **params).fit(X[REPEATED], Y[REPEATED], GROUPS[REPEATED])
    total = [each.sample_weight_synset_.sum() / n for each, n in ((found, N), (expected, 90))]
    np.testing.assert_allclose(total, [1, len(REPEATED) / 90], rtol=1e-6)
    if synset_size == 100:  # all rows
        answers = [each.attribute(X, Y) for each in (found, expected)]
        assert np.corrcoef(*map(np.ravel, answers))[0, 1] > 0.999
        plain = SynsetAttributor(mlp(), **params).fit(X, Y, GROUPS).attribute(X, Y)
        assert np.corrcoef(plain.ravel(), answers[1].ravel())[0, 1] < 0.99


def test_metadata_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        step = SynsetAttributor(net(), **FAST).set_fit_request(groups=True, sample_weight=True)
        inside = make_pipeline(FunctionTransformer(), step)
        inside.fit(X, Y, groups=GROUPS, sample_weight=WEIGHT)
    alone = SynsetAttributor(net(), **FAST).fit(X, Y, GROUPS, sample_weight=WEIGHT)
    np.testing.assert_array_equal(inside.transform(X), alone.transform(X))


def mean_of_all(dataset, **params):
    return torch.utils.data.DataLoader(dataset, **params)


REFUSED = {
    "negative": (net(), -WEIGHT, ValueError, "sample_weight holds negative values, such as -3"),
    "NaN": (net(), np.full(N, np.nan), ValueError, "Input sample_weight contains NaN"),
    "length": (net(), WEIGHT[1:], ValueError, r"inconsistent numbers of samples: \[60, 59\]"),
    "shape": (net(), WEIGHT[:, None], ValueError, r"should be a 1d array, got shape \(60, 1\)"),
    "zeros": (net(), 0 * WEIGHT, ValueError, "sample_weight is zero for all rows"),
    "loader": (
        net(iterator_train=mean_of_all),
        WEIGHT,
        ValueError,
        "weights the loss of each row, but the net's iterator_train is not torch's DataLoader",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.filterwarnings("ignore:The net's training cannot be repeated")
def test_wrong_weights_are_refused(what):
    estimator, weight, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        SynsetAttributor(estimator, **FAST).fit(X, Y, GROUPS, sample_weight=weight)
    with pytest.raises(error, match=message):
        retraining(estimator, X, Y, X, Y, groups=GROUPS, sample_weight=weight, **SEEDED)


def test_what_takes_no_weights_is_named():
    def train(X, y, seed):
        return LogisticRegression().fit(X, y)

    with pytest.raises(TypeError, match="train.* does not take sample_weight"):
        retraining(train, X, Y, X, Y, groups=GROUPS, sample_weight=WEIGHT, **SEEDED)


class OwnLoss(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        raise AssertionError("a training began")


def test_a_net_whose_outputs_are_not_known_is_refused_before_it_is_trained():
    estimator = net(OwnLoss, module=probabilities, criterion=nn.NLLLoss)
    with pytest.raises(ValueError, match="OwnLoss has a get_loss of its own"):
        retraining(estimator, X, Y, X, Y, groups=GROUPS, **SEEDED)
    with pytest.raises(ValueError, match="pass weights of rows as sample_weight of fit"):
        SynsetAttributor(estimator, **FAST).fit(X, Y, GROUPS)
