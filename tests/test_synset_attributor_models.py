"""Every form of network that can be wrapped, and every form of rows, labels and settings."""

import numpy as np
import pytest
import torch
from scipy.stats import sem
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.problems import FAST, REWOUND, mlp, seeded, small_conv, train

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


def linear(n_outputs, *tail, n_features=4, dtype=torch.float32):
    return seeded(lambda: nn.Sequential(nn.Linear(n_features, n_outputs), *tail).to(dtype))


def net(cls, module, **params):
    defaults = {"max_epochs": 3, "lr": 0.1, "train_split": None, "verbose": 0}
    return cls(module, **defaults | params)


def problem(name, X, y):
    """Return the targets and the network of a named form of estimator."""
    labels, values = np.where(y == 2, 0, y), X[:, 0] + X[:, 1] ** 2
    logits = {"criterion": nn.CrossEntropyLoss}
    forms = {
        "none-multiclass": (y, None),
        "none-binary": (labels, None),
        "none-regression": (values, None),
        "linear-multiclass": (y, linear(3)),
        "linear-binary": (labels, linear(2)),
        "linear-single-logit": (labels, linear(1)),
        "linear-regression": (values, linear(1)),
        "mlp-multiclass": (y, mlp(dtype=torch.float32)),
        "mlp-regression": (values, mlp(n_outputs=1, dtype=torch.float32)),
        "skorch-cross-entropy": (y, net(NeuralNetClassifier, linear(3), **logits)),
        "skorch-nll": (y, net(NeuralNetClassifier, linear(3, nn.Softmax(-1)))),
        "skorch-binary": (labels, net(NeuralNetBinaryClassifier, linear(1))),
        "skorch-regressor": (values, net(NeuralNetRegressor, linear(1), lr=0.01)),
    }
    y, estimator = forms[name]
    if isinstance(estimator, nn.Module):
        loss = nn.CrossEntropyLoss() if y.dtype.kind == "i" else nn.MSELoss()
        if estimator[-1].out_features == 1:
            loss = nn.BCEWithLogitsLoss() if y.dtype.kind == "i" else nn.MSELoss()
            train(estimator, X, y.astype(np.float32)[:, None], loss, n_steps=30)
        else:
            train(estimator, X, y, loss, n_steps=30)
    return y, estimator


FORMS = [
    "none-multiclass",
    "none-binary",
    "none-regression",
    "linear-multiclass",
    "linear-binary",
    "linear-single-logit",
    "linear-regression",
    "mlp-multiclass",
    "mlp-regression",
    "skorch-cross-entropy",
    "skorch-nll",
    "skorch-binary",
    "skorch-regressor",
]


def outputs_of(network, X):
    """Return logits, log-probabilities or predictions (n, C) of a wrapped network."""
    if not isinstance(network, nn.Module):
        network = network.module_
    parameter = next(network.parameters())
    network = network.eval()
    with torch.no_grad():
        output = network(torch.as_tensor(X, dtype=parameter.dtype)).reshape(len(X), -1)
    ends_in_softmax = isinstance(network, nn.Sequential) and isinstance(network[-1], nn.Softmax)
    return (output.log() if ends_in_softmax else output).double().numpy()


def margin_of(outputs, code):
    if outputs.shape[1] == 1:
        outputs = np.column_stack([np.zeros(len(outputs)), outputs])
    rows = np.arange(len(outputs))
    own = outputs[rows, code]
    others = np.where(np.arange(outputs.shape[1]) == code[:, None], -np.inf, outputs)
    return own - np.log(np.exp(others).sum(1))


def effect_of(attributor, network, X, y):
    """Return what the objective loses when the network takes the place of the wrapped one."""
    before, after = outputs_of(attributor.estimator_, X), outputs_of(network, X)
    if attributor.classes_ is None:
        return (before - after)[:, 0]
    code = np.searchsorted(attributor.classes_, y)
    return margin_of(before, code) - margin_of(after, code)


@pytest.mark.parametrize("name", FORMS)
def test_attributions_are_what_the_network_without_a_group_loses(iris, name):
    X, labels = iris
    y, estimator = problem(name, X, labels)
    attributor = SynsetAttributor(estimator, n_groups=6, **FAST).fit(X, y)
    attributions = attributor.attribute(X[:20], y[:20])
    assert attributions.shape == (20, 6) and attributions.dtype == X.dtype
    assert np.isfinite(attributions).all() and attributions.any()
    for column in (0, 4):
        network = attributor.leave_out(attributor.groups_[column])
        assert type(network) is type(attributor.estimator_)
        expected = effect_of(attributor, network, X[:20], y[:20])
        np.testing.assert_allclose(attributions[:, column], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["skorch-cross-entropy", "skorch-binary", "skorch-regressor"])
def test_a_frozen_net_is_explained_as_it_is(iris, name):
    X, labels = iris
    y, untrained = problem(name, X, labels)
    target = y.astype(np.float32) if "cross" not in name else y
    fitted = clone(untrained).fit(X, target[:, None] if "regressor" in name else target)
    settings = FAST | {"n_groups": 6, "solver": "rewind"}
    attributor = SynsetAttributor(FrozenEstimator(fitted), **settings).fit(X, y)
    np.testing.assert_array_equal(outputs_of(attributor.estimator_, X), outputs_of(fitted, X))
    module = SynsetAttributor(fitted.module_, **settings).fit(X, y)
    np.testing.assert_array_equal(attributor.transform(X), module.transform(X))


def test_a_net_that_is_trained_in_fit_learns(iris):
    X, y = iris
    module = linear(3)
    estimator = net(
        NeuralNetClassifier, module, criterion=nn.CrossEntropyLoss, max_epochs=20, lr=0.5
    )
    before = outputs_of(module, X).copy()
    attributor = SynsetAttributor(estimator, n_groups=6, **FAST).fit(X, y)
    assert attributor.estimator_.score(X, y) > 0.8
    assert not hasattr(estimator, "module_")
    np.testing.assert_array_equal(outputs_of(module, X), before)


def test_leave_out_returns_a_net_that_predicts(iris):
    X, y = iris
    estimator = net(NeuralNetClassifier, linear(3), criterion=nn.CrossEntropyLoss)
    attributor = SynsetAttributor(estimator, n_groups=6, **FAST).fit(X, y)
    without = attributor.leave_out(attributor.groups_[:2])
    assert without.predict(X).shape == (len(X),)
    assert np.abs(without.predict_proba(X) - attributor.estimator_.predict_proba(X)).max() > 1e-4


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 1, 4, 4)) + y[:, None, None, None] * np.eye(4)
    return X, y, train(small_conv(), X, y, nn.CrossEntropyLoss(), n_steps=40)


def test_flat_rows_with_an_input_shape_equal_images(images):
    X, y, module = images
    flat = X.reshape(len(X), -1)
    shaped = SynsetAttributor(module, n_groups=6, **REWOUND).fit(X, y)
    reshaped = SynsetAttributor(module, n_groups=6, input_shape=(1, 4, 4), **REWOUND).fit(flat, y)
    np.testing.assert_array_equal(shaped.group_labels_, reshaped.group_labels_)
    np.testing.assert_allclose(shaped.transform(X), reshaped.transform(flat), rtol=1e-9, atol=1e-12)
    assert shaped.X_synset_.shape[1:] == (1, 4, 4) and reshaped.X_synset_.shape[1:] == (16,)


def test_a_network_with_normalisation_and_dropout_is_evaluated_row_by_row(images):
    X, y, module = images
    attributor = SynsetAttributor(module, n_groups=6, **REWOUND).fit(X, y)
    together = attributor.transform(X[:10])
    alone = np.concatenate([attributor.transform(X[[i]]) for i in range(10)])
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)
    without = attributor.leave_out([0])
    buffers = dict(module.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in without.named_buffers())
    network = {name: value for name, value in module.named_parameters()}
    assert any(not torch.equal(p, network[name]) for name, p in without.named_parameters())


def test_a_module_in_training_mode_gives_the_same_and_stays_in_it(images):
    X, y, module = images
    expected = SynsetAttributor(module, n_groups=6, **REWOUND).fit(X, y).transform(X[:5])
    try:
        module.train()
        attributor = SynsetAttributor(module, n_groups=6, **REWOUND).fit(X, y)
        assert module.training and attributor.leave_out([0]).training
    finally:
        module.eval()
    np.testing.assert_array_equal(attributor.transform(X[:5]), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_rows_is_preserved(iris, dtype):
    X, y = iris
    attributor = SynsetAttributor(linear(3), n_groups=6, **FAST).fit(X.astype(dtype), y)
    assert attributor.transform(X.astype(dtype)).dtype == dtype
    assert attributor.score_samples(X.astype(dtype), y).dtype == dtype


def test_string_labels_give_what_integers_give(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])
    module = train(linear(3), X, y, nn.CrossEntropyLoss(), n_steps=30)
    coded = SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
    named = SynsetAttributor(module, n_groups=6, **FAST).fit(X, names[y])
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.transform(X), coded.transform(X))
    np.testing.assert_array_equal(named.attribute(X, names[y]), coded.attribute(X, y))
    np.testing.assert_array_equal(named.score_samples(X, names[y]), coded.score_samples(X, y))


def test_several_networks_are_averaged(iris):
    X, y = iris
    estimator = net(NeuralNetClassifier, linear(3), criterion=nn.CrossEntropyLoss, lr=0.5)
    estimator.set_params(iterator_train__shuffle=True)
    attributor = SynsetAttributor(estimator, n_groups=6, n_models=2, **FAST).fit(X, y)
    first, second = attributor.estimators_
    assert attributor.estimator_ is first
    assert np.abs(outputs_of(first, X) - outputs_of(second, X)).max() > 1e-3
    networks = attributor.leave_out([3])
    assert isinstance(networks, list) and len(networks) == 2
    effects = [
        margin_of(outputs_of(old, X), y) - margin_of(outputs_of(new, X), y)
        for old, new in zip(attributor.estimators_, networks, strict=True)
    ]
    attributions, std = attributor.attribute(X, y, return_std=True)
    np.testing.assert_array_equal(attributions, attributor.attribute(X, y))
    np.testing.assert_allclose(attributions[:, 3], np.mean(effects, axis=0), rtol=1e-3, atol=1e-5)
    assert std.shape == attributions.shape and std.dtype == X.dtype
    np.testing.assert_allclose(std[:, 3], sem(effects, axis=0), rtol=1e-3, atol=1e-5)


def test_standard_errors_are_as_large_as_seeds_move_attributions(iris):
    X, y = iris
    estimator = net(NeuralNetClassifier, linear(3), criterion=nn.CrossEntropyLoss, lr=0.5)
    estimator.set_params(iterator_train__shuffle=True)
    params = FAST | {"n_models": 6, "max_iter": 0, "n_probes": 0}
    groups = y * 2 + np.arange(len(y)) % 2
    fits = [
        SynsetAttributor(estimator, **params | {"random_state": seed}).fit(X, y, groups=groups)
        for seed in range(2)
    ]
    (first, std), (second, other) = (fit.attribute(X, y, return_std=True) for fit in fits)
    # The difference of two independent means is as large as their errors together.
    ratio = np.sqrt(((first - second) ** 2).mean() / (std**2 + other**2).mean())
    assert 0.3 < ratio < 3


def test_standard_errors_of_one_network_are_as_large_as_seeds_move_its_attributions(iris):
    X, y = iris
    estimator = net(NeuralNetClassifier, linear(3), criterion=nn.CrossEntropyLoss, lr=0.5)
    estimator.set_params(iterator_train__shuffle=True, batch_size=10, max_epochs=5)
    groups = y * 2 + np.arange(len(y)) % 2
    fits = [
        SynsetAttributor(estimator, n_probes=6, random_state=seed).fit(X, y, groups=groups)
        for seed in range(6)
    ]
    found, errors = zip(*(fit.attribute(X, y, return_std=True) for fit in fits), strict=True)
    assert errors[0].shape == found[0].shape and np.ptp(errors[0], axis=1).max() == 0
    ratio = np.mean(np.square(errors)) / np.var(found, axis=0, ddof=1).mean()
    assert 0.2 < ratio < 5


def test_one_network_that_is_rewound_has_no_standard_error(iris):
    X, y = iris
    attributor = SynsetAttributor(nn.Linear(4, 3), n_groups=6, **FAST).fit(X, y)
    with pytest.raises(ValueError, match="n_models of at least 2"):
        attributor.attribute(X, y, return_std=True)


@pytest.mark.slow
def test_a_parallel_training_gives_the_same_networks(iris):
    X, y = iris
    estimator = net(NeuralNetClassifier, linear(3), criterion=nn.CrossEntropyLoss)
    serial, parallel = (
        SynsetAttributor(estimator, n_groups=6, n_models=2, n_jobs=n_jobs, **FAST).fit(X, y)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(serial.transform(X), parallel.transform(X))


@pytest.fixture(scope="module")
def fitted(iris):
    X, y = iris
    module = train(mlp(dtype=torch.float32), X, y, nn.CrossEntropyLoss(), n_steps=60)
    return SynsetAttributor(module, n_groups=6, **FAST).fit(X, y), X, y


@pytest.mark.parametrize("objective", ["margin", "probability", "logit", "loss"])
def test_an_objective_is_chosen_in_fit_or_when_asking(fitted, objective):
    attributor, X, y = fitted
    # Without probes, which choose a stage of the distillation by the objective.
    attributor = clone(attributor).set_params(n_probes=0).fit(X, y)
    chosen = clone(attributor).set_params(objective=objective).fit(X, y)
    asked = attributor.attribute(X, y, objective=objective)
    np.testing.assert_allclose(chosen.attribute(X, y), asked, rtol=1e-4, atol=1e-6)
    is_the_default = np.array_equal(asked, attributor.attribute(X, y))
    assert is_the_default == (objective == "margin")


def test_a_callable_objective_is_evaluated(fitted):
    attributor, X, y = fitted

    def probability(outputs, labels):
        return torch.softmax(outputs, -1)[..., torch.arange(len(labels)), labels]

    np.testing.assert_allclose(
        attributor.attribute(X, y, objective=probability),
        attributor.attribute(X, y, objective="probability"),
        rtol=1e-5,
        atol=1e-7,
    )


def test_the_loss_keeps_its_sign_turned(fitted):
    attributor, X, y = fitted
    network = attributor.leave_out([2])
    loss = nn.CrossEntropyLoss(reduction="none")
    losses = [
        loss(torch.as_tensor(outputs_of(model, X)), torch.as_tensor(y)).numpy()
        for model in (attributor.estimator_, network)
    ]
    attributions = attributor.attribute(X, y, objective="loss")[:, 2]
    np.testing.assert_allclose(attributions, losses[1] - losses[0], rtol=1e-3, atol=1e-5)


def test_regression_explains_the_prediction_or_the_loss(iris):
    X, _ = iris
    y = X[:, 0] + X[:, 1] ** 2
    module = train(mlp(n_outputs=1, dtype=torch.float32), X, y[:, None], nn.MSELoss(), n_steps=60)
    attributor = SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
    np.testing.assert_array_equal(
        attributor.attribute(X, y), attributor.attribute(X, y, objective="prediction")
    )
    network = attributor.leave_out([1])
    errors = [
        np.square(outputs_of(model, X)[:, 0] - y) for model in (attributor.estimator_, network)
    ]
    np.testing.assert_allclose(
        attributor.attribute(X, y, objective="loss")[:, 1], errors[1] - errors[0], atol=1e-5
    )


def test_several_targets_are_explained_by_their_loss(iris):
    X, _ = iris
    y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    module = train(mlp(n_outputs=2, dtype=torch.float32), X, y, nn.MSELoss(), n_steps=30)
    attributor = SynsetAttributor(module, n_groups=6, objective="loss", **FAST).fit(X, y)
    network = attributor.leave_out([1])
    errors = [
        np.square(outputs_of(model, X) - y).mean(1) for model in (attributor.estimator_, network)
    ]
    np.testing.assert_allclose(
        attributor.attribute(X, y)[:, 1], errors[1] - errors[0], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("distance", ["prediction", "squared_error", "cosine"])
@pytest.mark.parametrize("initialization", ["centroid", "random"])
def test_every_distance_and_initialisation_distils(fitted, distance, initialization):
    attributor, X, y = fitted
    named = clone(attributor).set_params(distance=distance, initialization=initialization)
    assert np.isfinite(named.fit(X, y).matching_loss_curve_).all()
    assert named.n_iter_ == len(named.matching_loss_curve_) == FAST["max_iter"]
    np.testing.assert_allclose(named.sample_weight_synset_ > 0, True)


def test_callables_take_the_place_of_names(fitted):
    attributor, X, y = fitted

    def first_rows(rows, targets, residual, size, generator):
        return torch.eye(len(rows)).to(rows)[:size], torch.full((size,), len(rows) / size)

    def error(synset, real):
        return (synset - real).square().sum()

    own = clone(attributor).set_params(initialization=first_rows, distance=error, n_probes=0)
    assert np.isfinite(own.fit(X, y).transform(X)).all()
    assert len(own.matching_loss_curve_) == FAST["max_iter"]


@pytest.mark.parametrize("max_iter", [0, 5, 6])
def test_the_distillation_takes_the_steps_it_is_given(fitted, max_iter):
    attributor, X, y = fitted
    attributor = clone(attributor).set_params(max_iter=max_iter, tol=0).fit(X, y)
    assert attributor.n_iter_ == len(attributor.matching_loss_curve_) == max_iter


@pytest.mark.parametrize("max_iter", [1, 2, 3])
def test_the_distillation_may_be_shorter_than_its_rounds(fitted, max_iter):
    attributor, X, y = fitted
    attributor = clone(attributor).set_params(max_iter=max_iter).fit(X, y)
    assert attributor.n_iter_ == max_iter


def test_random_halves_regress_the_effects_of_groups(fitted):
    attributor, X, y = fitted
    halves = clone(attributor).set_params(removal="subsets", n_removals=60, n_steps=30)
    singles = clone(halves).set_params(removal="leave_one_out")
    regressed, single = (each.fit(X, y).attribute(X, y) for each in (halves, singles))
    assert regressed.shape == single.shape
    # Halves see the effects up to a number that all groups share.
    regressed, single = (each - each.mean(1, keepdims=True) for each in (regressed, single))
    assert np.corrcoef(regressed.ravel(), single.ravel())[0, 1] > 0.8
    assert np.isfinite(halves.score_samples(X, y)).all()
    assert -1 <= halves.score(X, y) <= 1


def test_progress_is_shown_only_when_asked_for(fitted, capsys):
    attributor, X, y = fitted
    clone(attributor).fit(X, y)
    assert capsys.readouterr().err == ""
    clone(attributor).set_params(verbose=1).fit(X, y)
    assert "Distilling" in capsys.readouterr().err
