"""Attributions to single rows: they refine the groups', and follow real retraining."""

import pickle

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._attribution import row_attributions
from sklearn_synset._attribution.row_allocation import share_out, share_out_remainder
from tests.problems import FAST, mlp, seeded, small_conv
from tests.reference import linear_module, log_odds, mean_spearman, softmax_regression

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


def sums_by_group(attributor, attributions):
    members = attributor.group_labels_[:, None] == attributor.groups_
    return attributions.astype(np.float64) @ members


def assert_rows_refine_groups(attributor, X, y, **params):
    rows = attributor.attribute(X, y, level="samples", **params)
    groups = attributor.attribute(X, y, **params)
    assert rows.shape == (len(X), len(attributor.group_labels_))
    assert rows.dtype == groups.dtype
    assert np.isfinite(rows).all() and np.ptp(rows, axis=1).min() > 0
    tolerance = 50 * np.finfo(groups.dtype).eps * np.abs(groups).max()
    np.testing.assert_allclose(sums_by_group(attributor, rows), groups, rtol=0, atol=tolerance)


# Rows add up to their group


@pytest.mark.parametrize("objective", [None, "margin", "probability", "logit", "loss"])
def test_rows_add_up_to_their_groups(explained, iris, objective):
    assert_rows_refine_groups(explained, *iris[:2], objective=objective)


def test_a_callable_objective_that_looks_at_labels_is_shared_out(explained, iris):
    def brier(outputs, y):
        return -(outputs.softmax(-1) - nn.functional.one_hot(y, 3)).square().sum(-1)

    assert_rows_refine_groups(explained, *iris[:2], objective=brier)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_add_up_to_their_groups_in_either_precision(iris, dtype):
    X, y, _ = iris
    X = X.astype(dtype)
    module = mlp(dtype=torch.float32 if dtype == np.float32 else torch.float64)
    attributor = SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
    assert_rows_refine_groups(attributor, X[:9], y[:9])


def test_rows_add_up_to_groups_that_are_regressed_from_random_halves(iris):
    X, y, module = iris
    attributor = SynsetAttributor(module, n_groups=6, removal="subsets", n_removals=12, **FAST)
    assert_rows_refine_groups(attributor.fit(X, y), X[:9], y[:9])


def test_rows_of_a_regression_add_up(iris):
    X = iris[0]
    attributor = SynsetAttributor(mlp(n_features=3, n_outputs=1), n_groups=5, **FAST)
    attributor.fit(X[:, :3], X[:, 3])
    assert_rows_refine_groups(attributor, X[:9, :3], X[:9, 3])
    assert_rows_refine_groups(attributor, X[:9, :3], X[:9, 3], objective="loss")


def test_rows_of_a_regression_of_several_targets_add_up(iris):
    X = iris[0]
    attributor = SynsetAttributor(
        mlp(n_features=2, n_outputs=2), n_groups=5, objective="loss", **FAST
    ).fit(X[:, :2], X[:, 2:])
    assert_rows_refine_groups(attributor, X[:9, :2], X[:9, 2:])


def test_rows_of_images_add_up(iris):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 16)), np.arange(40) % 3
    module = small_conv().eval()
    attributor = SynsetAttributor(module, n_groups=6, input_shape=(1, 4, 4), **FAST).fit(X, y)
    assert_rows_refine_groups(attributor, X[:9], y[:9])


@pytest.fixture(scope="module")
def networks(iris):
    X, y, _ = iris
    net = NeuralNetClassifier(
        seeded(lambda: nn.Linear(4, 3).double()),
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        train_split=None,
        verbose=0,
    )
    return SynsetAttributor(net, n_groups=6, n_models=3, **FAST).fit(X, y)


def test_rows_are_averaged_over_networks_and_have_a_standard_error(networks, iris):
    X, y, _ = iris
    assert_rows_refine_groups(networks, X[:9], y[:9])
    rows, std = networks.attribute(X[:9], y[:9], level="samples", return_std=True)
    np.testing.assert_array_equal(rows, networks.attribute(X[:9], y[:9], level="samples"))
    online, (queries, target) = networks._online, networks._check_queries(X[:9], y[:9])
    objective = networks._objective(online.models[0])
    parts = row_attributions.sample_attributions(online, queries, target, objective)
    each = np.concatenate([part for _, part in parts], axis=1)
    assert each.shape == (3, 9, len(X))
    np.testing.assert_allclose(rows, each.mean(0))
    np.testing.assert_allclose(std, each.std(0, ddof=1) / np.sqrt(3))


def test_one_network_has_no_standard_error_of_rows(explained, iris):
    with pytest.raises(ValueError, match="return_std=True needs at least two networks"):
        explained.attribute(iris[0][:2], level="samples", return_std=True)


@pytest.mark.parametrize("is_linear", [False, True])
def test_rows_share_their_groups_score_by_the_path_of_the_network(explained, iris, is_linear):
    X, y, _ = iris
    if is_linear:
        module = linear_module(softmax_regression(X, y, 3, 0.03))
        explained = SynsetAttributor(module, weight_decay=0.03, n_groups=6, **FAST).fit(X, y)
    online, (queries, target) = explained._online, explained._check_queries(X[:9], y[:9])
    objective, effects = explained._objective(online.models[0]), online.row_effects[0]
    assert effects.path.is_a_minimum == is_linear
    labels = torch.as_tensor(target)
    each = effects.effects(torch.as_tensor(queries), labels, objective).numpy()
    groups, codes = explained.attribute(X[:9], y[:9]), row_attributions.group_codes(online)
    share = share_out_remainder if is_linear else share_out
    rows = explained.attribute(X[:9], y[:9], level="samples")
    np.testing.assert_allclose(rows, share(groups, each, codes), rtol=1e-9, atol=1e-12)


# Real retraining


@pytest.fixture(scope="module")
def softmax(iris):
    """Return softmax regression on iris, trained to convergence, and every row's true effect."""
    X, y, _ = iris
    queries, labels = X[::10], y[::10]
    kept = np.arange(len(X)) % 10 != 0
    X, y = X[kept], y[kept]

    def objective(theta):
        with torch.no_grad():
            return log_odds(linear_module(theta)(torch.as_tensor(queries)), labels)

    theta = softmax_regression(X, y, 3, 0.03)
    before, measured = objective(theta), []
    for row in range(0, len(X), 3):
        rest = np.arange(len(X)) != row
        measured.append(before - objective(softmax_regression(X[rest], y[rest], 3, 0.03)))
    return theta, X, y, queries, labels, np.stack(measured, axis=1)


@pytest.mark.slow
def test_rows_of_a_convex_model_agree_with_leaving_each_out(softmax):
    theta, X, y, queries, labels, measured = softmax
    attributor = SynsetAttributor(
        linear_module(theta), weight_decay=0.03, n_groups=24, max_iter=200, random_state=0
    ).fit(X, y)
    predicted = attributor.attribute(queries, labels, level="samples")[:, ::3]
    assert mean_spearman(predicted, measured) >= 0.95
    assert 0.5 < np.polyfit(predicted.ravel(), measured.ravel(), 1)[0] < 2


# Invariances


def test_equal_rows_of_a_group_get_equal_attributions(iris):
    X, y, module = iris
    X, y = np.repeat(X[::2], 2, axis=0), np.repeat(y[::2], 2)
    attributor = SynsetAttributor(module, **FAST).fit(X, y, groups=np.arange(len(X)) // 10)
    rows = attributor.attribute(X[:9], y[:9], level="samples")
    np.testing.assert_allclose(rows[:, ::2], rows[:, 1::2], rtol=1e-9, atol=1e-12)


def test_the_order_of_the_training_rows_is_that_of_the_columns(iris):
    X, y, module = iris
    groups, order = np.arange(len(X)) % 5, np.random.RandomState(0).permutation(len(X))
    settings = FAST | {"max_iter": 0, "synset_size": 10_000}
    before = SynsetAttributor(module, **settings).fit(X, y, groups=groups)
    after = SynsetAttributor(module, **settings).fit(X[order], y[order], groups=groups[order])
    expected = before.attribute(X[:9], y[:9], level="samples")[:, order]
    actual = after.attribute(X[:9], y[:9], level="samples")
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)


def test_every_query_is_attributed_to_rows_by_itself(explained, iris, monkeypatch):
    X, y, _ = iris
    together = explained.attribute(X, y, level="samples")
    order = np.random.RandomState(0).permutation(len(X))
    shuffled = explained.attribute(X[order], y[order], level="samples")
    np.testing.assert_allclose(shuffled, together[order], rtol=1e-9, atol=1e-12)
    for name in ("_WEIGHTS_AT_ONCE", "_EFFECTS_AT_ONCE", "_SHARES_AT_ONCE"):
        with monkeypatch.context() as patch:
            patch.setattr(row_attributions, name, 700)
            parts = explained.attribute(X, y, level="samples")
        np.testing.assert_allclose(parts, together, rtol=1e-9, atol=1e-12)


def test_the_batch_size_does_not_change_the_attributions_to_rows(iris):
    X, y, module = iris
    whole, parts = (
        SynsetAttributor(module, n_groups=6, batch_size=size, **FAST)
        .fit(X, y)
        .attribute(X[:9], y[:9], level="samples")
        for size in (4096, 7)
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-6, atol=1e-9)


def test_rows_that_the_user_changes_after_fit_do_not_matter(iris):
    X, y, module = iris
    X = X.copy()
    attributor = SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
    expected = attributor.attribute(iris[0][:5], y[:5], level="samples")
    X[:] = 0
    actual = attributor.attribute(iris[0][:5], y[:5], level="samples")
    np.testing.assert_array_equal(actual, expected)


def test_asking_for_rows_changes_neither_the_attributor_nor_the_global_state(iris):
    X, y, module = iris
    attributor = SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
    before, names = attributor.attribute(X, y), set(vars(attributor))
    size = len(pickle.dumps(attributor))
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    rows = attributor.attribute(X, y, level="samples")
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert set(vars(attributor)) == names and len(pickle.dumps(attributor)) == size
    np.testing.assert_array_equal(attributor.attribute(X, y), before)
    np.testing.assert_array_equal(attributor.attribute(X, y, level="samples"), rows)


# The rows that matter most


@pytest.mark.parametrize("direction", ["both", "helpful", "harmful"])
def test_the_most_influential_rows_are_those_of_the_whole_matrix(explained, iris, direction):
    X, y, _ = iris
    matrix = explained.attribute(X, y, level="samples")
    size = {"both": np.abs(matrix), "helpful": matrix, "harmful": -matrix}[direction]
    indices, values = explained.most_influential_rows(X, y, n_rows=4, direction=direction)
    assert indices.shape == values.shape == (len(X), 4) and values.dtype == matrix.dtype
    np.testing.assert_array_equal(values, np.take_along_axis(matrix, indices, axis=1))
    found = np.take_along_axis(size, indices, axis=1)
    assert (np.diff(found, axis=1) <= 0).all()
    np.testing.assert_array_equal(found[:, -1], -np.sort(-size, axis=1)[:, 3])


def test_all_rows_may_be_asked_for(explained, iris):
    X, y, _ = iris
    indices, _ = explained.most_influential_rows(X[:3], y[:3], n_rows=len(X))
    np.testing.assert_array_equal(np.sort(indices, axis=1), [np.arange(len(X))] * 3)


def test_the_most_influential_rows_take_the_networks_own_predictions(explained, iris):
    X = iris[0]
    predicted = explained._online.predictions(X[:5])
    for own, given in zip(
        explained.most_influential_rows(X[:5]),
        explained.most_influential_rows(X[:5], predicted),
        strict=True,
    ):
        np.testing.assert_array_equal(own, given)


# What is refused, kept and dropped


@pytest.mark.parametrize("n_rows", [0, -1, 151, 2.0, "all"])
def test_an_impossible_number_of_rows_is_refused(explained, iris, n_rows):
    with pytest.raises(ValueError, match="between 1 and the number of training rows, 150"):
        explained.most_influential_rows(iris[0][:2], n_rows=n_rows)


def test_unknown_directions_and_levels_are_refused(explained, iris):
    with pytest.raises(ValueError, match="direction='up' is not known; expected 'both'"):
        explained.most_influential_rows(iris[0][:2], direction="up")
    with pytest.raises(ValueError, match="level='rows' is not known; expected 'groups'"):
        explained.attribute(iris[0][:2], level="rows")


def test_without_training_rows_only_groups_are_attributed(iris):
    X, y, module = iris
    attributor = SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
    expected, size = attributor.attribute(X, y), len(pickle.dumps(attributor))
    attributor.attribute(X[:2], level="samples")
    assert attributor.drop_training_rows() is attributor
    assert len(pickle.dumps(attributor)) < size - X.nbytes
    np.testing.assert_array_equal(attributor.attribute(X, y), expected)
    attributor.score_samples(X, y)
    for ask in (
        lambda: attributor.attribute(X[:2], level="samples"),
        lambda: attributor.most_influential_rows(X[:2]),
    ):
        with pytest.raises(ValueError, match="training rows, and they were dropped; fit again"):
            ask()


@pytest.mark.parametrize("keep", ["pickle", "file"])
def test_what_is_kept_attributes_to_rows_as_before(explained, iris, keep, tmp_path):
    X, y, module = iris
    expected = explained.attribute(X, y, level="samples")
    if keep == "pickle":
        loaded = pickle.loads(pickle.dumps(explained))
    else:
        explained.save(tmp_path / "explained")
        loaded = SynsetAttributor.load(tmp_path / "explained", module)
    np.testing.assert_array_equal(loaded.attribute(X, y, level="samples"), expected)
