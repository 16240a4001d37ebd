"""What attributions claim: closed forms, real retraining, invariances, planted answers."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._objective.objective import margin, negative_squared_error
from tests.problems import FAST, mlp, seeded, small_conv, train
from tests.reference import (
    linear_module,
    log_odds,
    mean_spearman,
    ridge,
    ridge_leave_group_out,
    softmax_regression,
)

# The synset is the training data.
REAL_ROWS = {"max_iter": 0, "synset_size": 10_000}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


# Closed form


@pytest.fixture(scope="module")
def regression():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4))
    y = X @ rng.normal(size=4) + rng.normal(size=60)
    return X, y, np.arange(60) % 6, rng.normal(size=(8, 4))


@pytest.mark.parametrize("weight_decay", [0.0, 1.0])
def test_real_rows_give_the_closed_form_of_ridge_regression(regression, weight_decay):
    X, y, groups, queries = regression
    attributor = SynsetAttributor(
        linear_module(ridge(X, y, weight_decay)),
        weight_decay=weight_decay,
        rewind=0.0,
        n_steps=400,
        n_probes=0,
        **REAL_ROWS,
    ).fit(X, y, groups=groups)
    expected = ridge_leave_group_out(X, y, groups, queries, weight_decay)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(attributor.transform(queries), expected, atol=1e-9)


def test_leaving_out_several_groups_of_a_ridge_regression_is_a_refit(regression):
    X, y, groups, _ = regression
    attributor = SynsetAttributor(
        linear_module(ridge(X, y, 0.1)),
        weight_decay=0.1,
        rewind=0.0,
        n_steps=400,
        n_probes=0,
        **REAL_ROWS,
    ).fit(X, y, groups=groups)
    module = attributor.leave_out([1, 4])
    kept = ~np.isin(groups, [1, 4])
    theta = np.append(module.weight.detach().numpy(), module.bias.detach().numpy())
    np.testing.assert_allclose(theta, ridge(X[kept], y[kept], 0.1), atol=1e-9)


def test_rewinding_keeps_close_to_the_closed_form(regression):
    X, y, groups, queries = regression
    attributor = SynsetAttributor(
        linear_module(ridge(X, y, 0.1)), weight_decay=0.1, n_probes=0, **REAL_ROWS
    ).fit(X, y, groups=groups)
    predicted = attributor.transform(queries)
    expected = ridge_leave_group_out(X, y, groups, queries, 0.1)
    assert np.corrcoef(predicted.ravel(), expected.ravel())[0, 1] > 0.97
    assert 0.8 < np.polyfit(predicted.ravel(), expected.ravel(), 1)[0] < 1.25


def test_a_synset_of_all_rows_agrees_perfectly_with_the_probes(regression):
    X, y, groups, queries = regression
    attributor = SynsetAttributor(
        linear_module(ridge(X, y, 0.1)), weight_decay=0.1, n_probes=4, **REAL_ROWS
    ).fit(X, y, groups=groups)
    assert attributor.fidelity_.rank_correlation == pytest.approx(1)
    assert attributor.fidelity_.slope == pytest.approx(1)
    assert attributor.score(queries) == pytest.approx(1)
    assert len(attributor.fidelity_.groups) == 4
    assert set(attributor.fidelity_.groups) <= set(attributor.groups_)


# Real retraining


@pytest.fixture(scope="module")
def softmax():
    """Return an attributor of a softmax regression on wine, with its rows and queries."""
    X, y = load_wine(return_X_y=True)
    X, is_query = StandardScaler().fit_transform(X), np.arange(len(y)) % 5 == 0
    queries, labels, X, y = X[is_query], y[is_query], X[~is_query], y[~is_query]
    module = linear_module(softmax_regression(X, y, 3, 0.01))
    attributor = SynsetAttributor(module, weight_decay=0.01, n_groups=12, random_state=0)
    return attributor.fit(X, y), X, y, queries, labels


def test_defaults_agree_with_real_retraining_of_softmax_regression(softmax):
    attributor, X, y, queries, labels = softmax

    def objective(module):
        with torch.no_grad():
            return log_odds(module(torch.as_tensor(queries)), labels)

    retrained = []
    for group in attributor.groups_:
        kept = attributor.group_labels_ != group
        retrained.append(linear_module(softmax_regression(X[kept], y[kept], 3, 0.01)))
    before = objective(attributor.estimator_)
    measured = np.stack([before - objective(module) for module in retrained], axis=1)
    predicted = attributor.attribute(queries, labels)
    assert mean_spearman(predicted, measured) >= 0.8
    assert 0.7 < np.polyfit(predicted.ravel(), measured.ravel(), 1)[0] < 1.4


def test_the_synset_is_smaller_than_the_training_data_and_represents_it(softmax):
    attributor, X, _, _, _ = softmax
    assert len(attributor.X_synset_) < len(X) / 3
    assert attributor.X_synset_.shape[1:] == X.shape[1:]
    tolerance = 1e-9 * np.ptp(X, axis=0)
    assert (attributor.X_synset_ >= X.min(0) - tolerance).all()
    assert (attributor.X_synset_ <= X.max(0) + tolerance).all()
    np.testing.assert_allclose(attributor.y_synset_.sum(1), 1)
    assert (attributor.y_synset_ >= 0).all() and (attributor.sample_weight_synset_ > 0).all()
    assert set(attributor.synset_groups_) == set(attributor.groups_)


def test_fitted_arrays_are_arrays(softmax):
    attributor = softmax[0]
    for name in (
        "classes_",
        "group_labels_",
        "groups_",
        "X_synset_",
        "y_synset_",
        "sample_weight_synset_",
        "synset_groups_",
        "matching_loss_curve_",
    ):
        assert type(getattr(attributor, name)) is np.ndarray, name


def test_predicted_labels_are_what_transform_is_judged_on(softmax):
    attributor, _, _, queries, labels = softmax
    with torch.no_grad():
        predicted = attributor.estimator_(torch.as_tensor(queries)).argmax(1).numpy()
    attributions = attributor.transform(queries)
    np.testing.assert_array_equal(attributor.attribute(queries, predicted), attributions)
    np.testing.assert_array_equal(attributor.attribute(queries), attributions)
    other = attributor.attribute(queries, (labels + 1) % 3)
    assert np.abs(other - attributions).max() > 0.1


def scores_without_each_group(attributor, X, target, objective):
    """Return (n_queries, n_groups): scores of rows, were each group their own."""
    groups = range(len(attributor.groups_))
    own = [np.full(len(X), group) for group in groups]
    score = attributor._online.out_of_fold_objectives
    return np.stack([score(X, target, group, objective) for group in own], axis=1)


def test_a_row_is_scored_without_its_own_group(softmax):
    attributor, X, y, _, _ = softmax
    candidates = scores_without_each_group(attributor, X, y, margin)
    own = np.searchsorted(attributor.groups_, attributor.group_labels_)
    expected = candidates[np.arange(len(X)), own]
    scores = attributor.score_samples(X, y)
    assert np.isclose(scores, expected, atol=1e-6).mean() > 0.9
    assert np.isclose(scores[:, None], candidates, atol=1e-6).any(1).all()
    assert (np.ptp(candidates, axis=1) > 1e-3).all()


def test_a_row_of_a_regression_is_scored_by_its_loss(regression):
    X, y, groups, _ = regression
    attributor = SynsetAttributor(
        linear_module(ridge(X, y, 0.1)), weight_decay=0.1, n_probes=0, n_steps=20, random_state=0
    )
    attributor.set_params(max_iter=4).fit(X, y, groups=groups)
    loss = partial(negative_squared_error, loss_scale=2.0)
    candidates = scores_without_each_group(attributor, X, y, loss)
    scores = attributor.score_samples(X, y)
    assert (scores <= 0).all()
    assert np.isclose(scores[:, None], candidates, atol=1e-9).any(1).all()


def test_rows_left_out_of_real_rows_are_as_a_group_of_them(regression):
    X, y, groups, _ = regression
    removed = np.arange(len(X)) % 7 == 3
    common = {"weight_decay": 0.1, "n_steps": 400, "rewind": 0.0, "n_probes": 0, **REAL_ROWS}
    attributor = SynsetAttributor(linear_module(ridge(X, y, 0.1)), **common)
    module = attributor.fit(X, y, groups=groups).leave_out(rows=removed)
    theta = np.append(module.weight.detach().numpy(), module.bias.detach().numpy())
    np.testing.assert_allclose(theta, ridge(X[~removed], y[~removed], 0.1), atol=1e-9)


# Invariances


def test_removing_nothing_changes_nothing(iris, explained):
    X, y, module = iris
    for nothing in ([], np.array([], dtype=int), ()):
        same = explained.leave_out(nothing)
        weights = dict(module.named_parameters())
        assert all(torch.equal(value, weights[name]) for name, value in same.named_parameters())
    named = SynsetAttributor(module, **FAST).fit(X, y, groups=np.array(list("abc"))[y])
    assert torch.equal(named.leave_out([])[0].weight, module[0].weight)


def test_leaving_no_rows_out_changes_nothing(iris, explained):
    X, y, module = iris
    for nothing in ([], np.zeros(len(X), dtype=bool)):
        assert torch.equal(explained.leave_out(rows=nothing)[0].weight, module[0].weight)


def test_rows_are_named_by_a_mask_by_indices_or_by_their_groups(iris, explained):
    X, y, module = iris
    indices = np.array([140, 3, 7, 3])
    mask = np.isin(np.arange(len(X)), indices)
    by_mask, by_index = (explained.leave_out(rows=rows)[0].weight for rows in (mask, indices))
    assert torch.equal(by_mask, by_index)
    of_groups = np.isin(explained.group_labels_, [1, 4])
    whole, same = explained.leave_out([1, 4]), explained.leave_out(rows=of_groups)
    assert torch.equal(whole[0].weight, same[0].weight)
    both, more = (
        explained.leave_out([1], rows=indices),
        explained.leave_out(rows=mask | (explained.group_labels_ == 1)),
    )
    assert torch.equal(both[0].weight, more[0].weight)
    assert not torch.equal(both[0].weight, explained.leave_out([1])[0].weight)


def test_a_group_may_be_named_alone_or_twice(explained):
    alone, listed, twice = (explained.leave_out(groups) for groups in (3, [3], [3, 3]))
    assert torch.equal(alone[0].weight, listed[0].weight)
    assert torch.equal(alone[0].weight, twice[0].weight)


def test_leaving_groups_out_is_as_the_order_they_are_named_in(explained):
    one, other = explained.leave_out([1, 4]), explained.leave_out([4, 1])
    assert torch.equal(one[0].weight, other[0].weight)


def test_permuting_the_groups_permutes_the_columns(iris):
    X, y, module = iris
    groups, renamed = np.arange(len(X)) % 5, np.array([3, 0, 4, 1, 2])
    settings = FAST | REAL_ROWS | {"solver": "rewind"}
    before = SynsetAttributor(module, **settings).fit(X, y, groups=groups).transform(X)
    after = SynsetAttributor(module, **settings).fit(X, y, groups=renamed[groups]).transform(X)
    np.testing.assert_allclose(after[:, renamed], before, rtol=1e-6, atol=1e-10)


def test_the_order_of_the_training_rows_does_not_matter(iris):
    X, y, module = iris
    groups, order = np.arange(len(X)) % 5, np.random.RandomState(0).permutation(len(X))
    settings = FAST | REAL_ROWS | {"solver": "rewind"}
    before = SynsetAttributor(module, **settings).fit(X, y, groups=groups)
    after = SynsetAttributor(module, **settings).fit(X[order], y[order], groups=groups[order])
    np.testing.assert_allclose(after.transform(X), before.transform(X), rtol=1e-6, atol=1e-10)


def test_every_query_is_attributed_by_itself(iris, explained):
    X, y, module = iris
    order = np.random.RandomState(0).permutation(len(X))
    for method in (explained.attribute, explained.score_samples):
        together = method(X, y)
        np.testing.assert_allclose(method(X[order], y[order]), together[order], atol=1e-12)
        np.testing.assert_allclose(method(X[:1], y[:1]), together[:1], atol=1e-12)


def test_equal_rows_get_equal_attributions(iris, explained):
    X, y, module = iris
    attributions = explained.transform(np.repeat(X[:3], 2, axis=0))
    np.testing.assert_array_equal(attributions[::2], attributions[1::2])


def test_the_batch_size_does_not_change_the_result(iris):
    X, y, module = iris
    whole, parts = (
        SynsetAttributor(module, n_groups=6, batch_size=size, **FAST).fit(X, y)
        for size in (4096, 7)
    )
    np.testing.assert_allclose(parts.transform(X), whole.transform(X), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(parts.score_samples(X), whole.score_samples(X), rtol=1e-6)


def net(**params):
    return NeuralNetClassifier(
        seeded(lambda: nn.Linear(4, 3).double()),
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        train_split=None,
        verbose=0,
        **params,
    )


@pytest.mark.parametrize("kind", [pytest.param("none", marks=pytest.mark.slow), "module", "net"])
def test_the_same_seed_gives_the_same_bits(iris, kind):
    X, y, module = iris
    estimator = {"none": None, "module": module, "net": net()}[kind]
    attributor = SynsetAttributor(estimator, n_groups=6, **FAST)
    one = clone(attributor).fit(X, y)
    torch.manual_seed(1)
    np.random.seed(1)
    other = clone(attributor).fit(X, y)
    different = clone(attributor).set_params(random_state=1).fit(X, y)
    for name in ("group_labels_", "X_synset_", "y_synset_", "matching_loss_curve_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    np.testing.assert_array_equal(one.score_samples(X, y), other.score_samples(X, y))
    assert not np.array_equal(one.transform(X), different.transform(X))


def test_a_second_fit_forgets_the_first(iris):
    X, y, module = iris
    attributor = SynsetAttributor(module, n_groups=6, **FAST)
    expected = clone(attributor).fit(X, y).transform(X)
    attributor.fit(X[:140], y[:140], groups=np.arange(140) % 3)
    np.testing.assert_array_equal(attributor.fit(X, y).transform(X), expected)


# The user's things


def user_state(module):
    """Return everything of the user's that must not change, as comparable values."""
    generator = np.random.get_state()
    return {
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "torch": torch.get_rng_state(),
        "numpy": [generator[0], generator[1].tolist(), *generator[2:]],
        "python": random.getstate(),
        "n_threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad_mode": torch.is_grad_enabled(),
    }


def assert_same(before, after, name=""):
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key], f"{name}.{key}")
    elif isinstance(before, list):
        assert len(before) == len(after), name
        for one, other in zip(before, after, strict=True):
            assert_same(one, other, name)
    elif isinstance(before, torch.Tensor):
        assert torch.equal(before, after), name
    else:
        assert before == after, name


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    y = np.arange(60) % 3
    return rng.normal(size=(60, 1, 4, 4)) + y[:, None, None, None] * np.eye(4), y


@pytest.mark.parametrize("kind", ["module", "net", "frozen"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_no_method_changes_anything_of_the_users(images, kind, mode):
    X, y = images
    module = small_conv()
    nn.functional.cross_entropy(module(torch.as_tensor(X)), torch.as_tensor(y)).backward()
    module[0].bias.requires_grad_(False)
    module.train(mode == "train")
    module[3].train(mode == "eval")
    untrained = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, max_epochs=1, train_split=None, verbose=0
    )
    estimator = {"module": module, "net": untrained}.get(kind)
    if kind == "frozen":
        fitted = untrained.fit(X, y)
        module = fitted.module_.train(mode == "train")
        module[3].train(mode == "eval")
        estimator = FrozenEstimator(fitted)
    attributor = SynsetAttributor(estimator, n_groups=6, **FAST)
    before, rows = user_state(module), (X.copy(), y.copy())
    for call in (
        lambda: attributor.fit(X, y),
        lambda: attributor.transform(X),
        lambda: attributor.attribute(X, y),
        lambda: attributor.score_samples(X, y),
        lambda: attributor.score(X, y),
        lambda: attributor.leave_out([0, 1]),
        lambda: attributor.get_feature_names_out(),
    ):
        call()
        assert_same(before, user_state(module))
    np.testing.assert_array_equal(X, rows[0])
    np.testing.assert_array_equal(y, rows[1])


def test_a_callable_that_draws_at_random_does_not_move_the_users_generators(iris):
    X, y, module = iris

    def drawn_rows(rows, targets, residual, size, generator):
        np.random.rand(), random.random(), torch.rand(1)
        return torch.eye(len(rows)).to(rows)[:size], torch.full((size,), len(rows) / size)

    before = user_state(module)
    SynsetAttributor(module, n_groups=6, initialization=drawn_rows, **FAST).fit(X, y)
    assert_same(before, user_state(module))


def test_what_leave_out_returns_is_the_users_own(iris, explained):
    X, y, module = iris
    expected = explained.transform(X)
    without = explained.leave_out([0])
    assert all(p.requires_grad for p in without.parameters())
    with torch.no_grad():
        for network in (without, explained.leave_out([])):
            for parameter in network.parameters():
                parameter.fill_(0)
    np.testing.assert_array_equal(explained.transform(X), expected)


def test_methods_work_where_gradients_are_switched_off(iris):
    X, y, module = iris
    attributor = SynsetAttributor(module, n_groups=6, **FAST)
    expected = clone(attributor).fit(X, y).transform(X)
    with torch.no_grad():
        np.testing.assert_array_equal(attributor.fit(X, y).transform(X), expected)


# Planted answers


@pytest.mark.parametrize("initialization", ["random", "centroid"])
def test_a_querys_own_duplicates_support_it(initialization):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(100, 4)), np.arange(100) % 2
    X[:, 0] += 3 * y
    # Eight equal rows on the wrong side of the border between the classes.
    query = np.array([3.0, 4.0, 0.0, 0.0])
    X[:8], y[:8] = query, 0
    groups = np.where(np.arange(100) < 8, 0, 1 + np.arange(100) % 9)
    module = train(mlp(n_outputs=2, n_hidden=16), X, y, nn.CrossEntropyLoss(), n_steps=300)
    attributor = SynsetAttributor(
        module, initialization=initialization, n_steps=100, n_probes=0, random_state=0
    ).fit(X, y, groups=groups)
    effects = attributor.attribute(query[None], [0])[0]
    assert effects.argmax() == 0 and effects[0] > 0.5
    assert attributor.attribute(query[None], [1])[0, 0] < -0.5
    for objective in ("probability", "logit", "loss"):
        assert attributor.attribute(query[None], [0], objective=objective)[0, 0] > 0, objective


@pytest.fixture(scope="module")
def flipped_digits():
    """Return three hundred digits, of which a tenth got a wrong label."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300].copy()
    rng = np.random.RandomState(0)
    is_flipped = rng.rand(len(y)) < 0.1
    y[is_flipped] = (y[is_flipped] + rng.randint(1, 10, is_flipped.sum())) % 10
    return X, y, is_flipped


def test_wrong_labels_score_low(flipped_digits):
    X, y, is_flipped = flipped_digits
    module = linear_module(softmax_regression(X, y, 10, 1e-3))
    attributor = SynsetAttributor(
        module, weight_decay=1e-3, n_steps=100, n_probes=0, random_state=0
    ).fit(X, y)
    assert roc_auc_score(is_flipped, -attributor.score_samples(X, y)) >= 0.9


@pytest.mark.slow
def test_wrong_labels_score_low_with_defaults(flipped_digits):
    X, y, is_flipped = flipped_digits
    attributor = SynsetAttributor(random_state=0).fit(X, y)
    assert roc_auc_score(is_flipped, -attributor.score_samples(X, y)) >= 0.9
