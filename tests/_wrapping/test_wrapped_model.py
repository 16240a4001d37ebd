import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset._wrapping.wrapped_model import FunctionalModel, restore, wrap

N, D, C = 24, 6, 3


def data(n_classes=C, dtype=np.float32):
    """Return rows (N, D), encoded labels and continuous targets."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, D)).astype(dtype)
    return X, np.arange(N) % n_classes, (X @ rng.normal(size=D)).astype(dtype)


def seeded(build):
    """Build a module from a fixed seed without moving the global one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def mlp(n_outputs=C, *tail, dtype=torch.float32):
    return seeded(
        lambda: nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, n_outputs), *tail).to(dtype)
    )


def wrapped(estimator, y=None, classes=C, **params):
    """Wrap with the labels of `data`, or with targets when `classes` is None."""
    X, labels, _ = data(classes or C)
    classes = None if classes is None else np.arange(classes)
    params = {"random_state": np.random.RandomState(0)} | params
    return wrap(estimator, X, labels if y is None else y, classes=classes, **params)


def rows_of(model, X=None):
    return torch.as_tensor(data()[0] if X is None else X, dtype=model.dtype)


def net(module=None, n_outputs=C, cls=NeuralNetClassifier, **params):
    defaults = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "lr": 0.1, "verbose": 0}
    defaults |= {"train_split": None}
    return cls(mlp(n_outputs) if module is None else module, **defaults | params)


# The function of the weights


def test_model_computes_what_the_module_computes():
    module = mlp()
    _, model = wrapped(module)
    assert torch.equal(model(model.theta, rows_of(model)), module(rows_of(model)).detach())
    assert model.n_parameters == sum(p.numel() for p in module.parameters())
    assert (model.loss, model.loss_scale, model.weight_decay) == ("cross_entropy", 1.0, 0.0)


def test_float64_is_preserved_and_dtype_overrides():
    module = mlp(dtype=torch.float64)
    assert wrapped(module)[1].dtype == torch.float64
    assert wrapped(module, dtype=torch.float32)[1].dtype == torch.float32
    assert next(module.parameters()).dtype == torch.float64


def test_vmap_over_weights_equals_a_loop():
    module = nn.Sequential(nn.BatchNorm1d(D), mlp(), nn.Dropout(0.9))
    _, model = wrapped(module)
    thetas = model.theta * torch.linspace(0.5, 1.5, 4)[:, None]
    X = rows_of(model)
    batched = torch.func.vmap(model, (0, None))(thetas, X)
    torch.testing.assert_close(batched, torch.stack([model(theta, X) for theta in thetas]))


def test_per_row_gradients_equal_autograd_on_the_module():
    module = mlp(dtype=torch.float64)
    _, model = wrapped(module)
    X, y = rows_of(model), torch.as_tensor(data()[1])

    def loss(theta, x, label):
        return nn.functional.cross_entropy(model(theta, x[None]), label[None])

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(model.theta, X, y)
    nn.functional.cross_entropy(module(X), y).backward()
    expected = torch.cat([p.grad.flatten() for p in module.parameters()])
    torch.testing.assert_close(gradients.mean(0), expected)


def test_flat_rows_are_reshaped_and_images_taken_as_they_are():
    conv = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4, C)
        )
    )
    _, model = wrapped(conv, input_shape=(1, 2, 3))
    flat = rows_of(model)
    expected = conv.eval()(flat.reshape(N, 1, 2, 3)).detach()
    assert torch.equal(model(model.theta, flat), expected)
    assert torch.equal(model(model.theta, flat.reshape(N, 1, 2, 3)), expected)


def test_only_trainable_parameters_enter_and_tied_ones_once():
    module = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, C))
    module[1].weight = module[0].weight
    module[2].requires_grad_(False)
    estimator_, model = wrapped(module)
    assert model.names == ("0.weight", "0.bias", "1.bias")
    restored = restore(estimator_, model, 2 * model.theta)
    assert restored[1].weight is restored[0].weight
    torch.testing.assert_close(restored[0].weight, 2 * module[0].weight)
    assert torch.equal(restored[2].weight, module[2].weight)
    torch.testing.assert_close(
        restored(rows_of(model)), model(2 * model.theta, rows_of(model)), check_stride=False
    )


def test_a_single_logit_becomes_two():
    for module in (mlp(1), mlp(1, nn.Flatten(0))):
        _, model = wrapped(module, classes=2)
        outputs = model(model.theta, rows_of(model))
        assert outputs.shape == (N, 2) and not outputs[:, 0].any()
        assert torch.equal(outputs[:, 1], module(rows_of(model)).detach().flatten())


def test_regression_outputs_get_a_column():
    target = data()[2]
    for module in (mlp(1), mlp(1, nn.Flatten(0))):
        _, model = wrapped(module, target, classes=None)
        assert model(model.theta, rows_of(model)).shape == (N, 1)
        assert (model.loss, model.loss_scale) == ("squared_error", 2.0)
    _, model = wrapped(mlp(4), np.stack([target] * 4, axis=1), classes=None)
    assert (model.n_outputs, model.loss_scale) == (4, 0.5)


def test_model_can_be_pickled_and_copied():
    _, model = wrapped(mlp())
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert isinstance(twin, FunctionalModel)
        X = rows_of(model)
        assert torch.equal(twin(twin.theta, X), model(model.theta, X))


# The user's objects


@pytest.mark.parametrize("is_training", [True, False])
def test_module_mode_gradients_and_generator_are_untouched(is_training):
    module = nn.Sequential(mlp(), nn.BatchNorm1d(C), nn.Dropout()).train(is_training)
    module(rows_of(wrapped(mlp())[1])).sum().backward()
    gradients = [p.grad.clone() for p in module.parameters()]
    state = copy.deepcopy(module.state_dict())
    generator = torch.get_rng_state(), np.random.get_state()[1]
    estimator_, model = wrapped(module)
    restored = restore(estimator_, model, torch.zeros_like(model.theta))
    assert all(p.grad is None for p in (*estimator_.parameters(), *restored.parameters()))
    assert estimator_.training is module.training is restored.training is is_training
    assert all(p.requires_grad for p in (*module.parameters(), *restored.parameters()))
    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), gradients, strict=True))
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    assert torch.equal(generator[0], torch.get_rng_state())
    assert np.array_equal(generator[1], np.random.get_state()[1])


def test_restoring_the_trained_weights_changes_nothing():
    module = mlp()
    estimator_, model = wrapped(module)
    restored = restore(estimator_, model, model.theta)
    assert type(restored) is type(module) and restored is not estimator_
    assert torch.equal(restored(rows_of(model)), module(rows_of(model)))


def test_a_module_that_caches_an_activation_can_be_wrapped():
    class Caching(nn.Linear):
        def forward(self, X):
            self.cache = super().forward(X)
            return self.cache

    module = Caching(D, C)
    module(torch.ones(2, D))
    estimator_, model = wrapped(module)
    assert torch.equal(restore(estimator_, model, model.theta).weight, module.weight)


def test_frozen_module_is_a_module():
    module = mlp()
    estimator_, model = wrapped(FrozenEstimator(module))
    assert isinstance(estimator_, nn.Sequential)
    assert torch.equal(model(model.theta, rows_of(model)), module(rows_of(model)).detach())


# skorch nets


def test_net_is_cloned_trained_and_restored():
    user_net = net(optimizer__weight_decay=0.02)
    estimator_, model = wrapped(user_net)
    assert not hasattr(user_net, "module_") and model.weight_decay == 0.02
    X = rows_of(model)
    torch.testing.assert_close(
        model(model.theta, X).softmax(-1), torch.as_tensor(estimator_.predict_proba(X.numpy()))
    )
    forgotten = restore(estimator_, model, torch.zeros_like(model.theta))
    np.testing.assert_allclose(forgotten.predict_proba(X.numpy()), 1 / C, rtol=1e-6)
    assert estimator_.predict_proba(X.numpy()).std() > 0.01


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_given_weight_decay_overrides_the_optimizer(optimizer):
    user_net = net(optimizer=optimizer, optimizer__weight_decay=0.02)
    assert wrapped(user_net)[1].weight_decay == 0.02
    assert wrapped(user_net, weight_decay=0.5)[1].weight_decay == 0.5
    assert wrapped(mlp(), weight_decay=0.5)[1].weight_decay == 0.5


def test_training_follows_the_random_state_and_leaves_the_global_one():
    thetas = []
    for seed in (0, 0, 1):
        np.random.rand(), torch.rand(1)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        user_net = net(nn.Linear, module__in_features=D, module__out_features=C)
        _, model = wrapped(user_net, random_state=np.random.RandomState(seed))
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])
        thetas.append(model.theta)
    assert torch.equal(thetas[0], thetas[1])
    assert not torch.equal(thetas[0], thetas[2])


def test_frozen_net_is_taken_as_it_is():
    X, y, _ = data()
    fitted = net().fit(X, y)
    estimator_, model = wrapped(FrozenEstimator(fitted))
    assert estimator_ is not fitted
    np.testing.assert_array_equal(estimator_.predict_proba(X), fitted.predict_proba(X))
    expected = torch.cat([p.detach().flatten() for p in fitted.module_.parameters()])
    assert torch.equal(model.theta, expected)


def test_probabilities_become_logits():
    X, y, _ = data()
    fitted = net(mlp(C, nn.Softmax(-1)), criterion=nn.NLLLoss).fit(X, y)
    _, model = wrapped(FrozenEstimator(fitted))
    outputs = model(model.theta, rows_of(model))
    torch.testing.assert_close(
        outputs.softmax(-1), torch.as_tensor(fitted.predict_proba(X)), rtol=1e-5, atol=1e-6
    )


def test_log_probabilities_of_a_plain_net_are_logits():
    user_net = net(mlp(C, nn.LogSoftmax(-1)), cls=NeuralNet, criterion=nn.NLLLoss)
    estimator_, model = wrapped(user_net)
    assert model.link == "identity"
    with torch.no_grad():
        expected = estimator_.module_.eval()(rows_of(model))
    torch.testing.assert_close(model(model.theta, rows_of(model)), expected)


@pytest.mark.parametrize("tail", [(), (nn.Flatten(0),)])
@pytest.mark.parametrize("cls", [NeuralNetBinaryClassifier, NeuralNet])
def test_binary_nets_have_two_logits(cls, tail):
    user_net = net(mlp(1, *tail), cls=cls, criterion=nn.BCEWithLogitsLoss)
    estimator_, model = wrapped(user_net, classes=2)
    with torch.no_grad():
        proba = estimator_.module_(rows_of(model)).sigmoid().flatten()
    torch.testing.assert_close(model(model.theta, rows_of(model)).softmax(-1)[:, 1], proba)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_regressor_is_trained_on_a_column(n_targets):
    X, _, target = data()
    y = target if n_targets == 1 else np.stack([target, -target], axis=1)
    user_net = net(n_outputs=n_targets, cls=NeuralNetRegressor, criterion=nn.MSELoss)
    estimator_, model = wrapped(user_net, y, classes=None)
    assert model.loss_scale == 2 / n_targets
    outputs = model(model.theta, rows_of(model))
    torch.testing.assert_close(outputs, torch.as_tensor(estimator_.predict(X)))


def test_columns_follow_the_classes_that_a_frozen_net_was_given():
    X, y, _ = data()
    fitted = net(classes=["b", "c", "a"]).fit(X, y)
    params = {"classes": np.array(["a", "b", "c"]), "random_state": np.random.RandomState(0)}
    _, model = wrap(FrozenEstimator(fitted), X, y, **params)
    expected = torch.as_tensor(fitted.predict_proba(X))[:, [2, 0, 1]]
    torch.testing.assert_close(model(model.theta, rows_of(model)).softmax(-1), expected)
    params["classes"] = np.array(["a", "b", "x"])
    with pytest.raises(ValueError, match=r"knows the classes \['b', 'c', 'a'\]"):
        wrap(FrozenEstimator(fitted), X, y, **params)


# Wrong input


class Named(nn.Linear):
    def forward(self, X):
        return {"logits": super().forward(X)}


class Rank(nn.Linear):
    """Subtracts the mean of the batch."""

    def forward(self, X):
        output = super().forward(X)
        return output - output.mean(0)


def poisoned():
    module = mlp()
    with torch.no_grad():
        module[2].bias[1] = torch.nan
    return module


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (poisoned, ValueError, "2.bias holds NaN or infinity"),
        (lambda: mlp(4), ValueError, "output width must be 3 for 3 classes, got 4"),
        (lambda: Named(D, C), TypeError, "a tuple whose first part is one; got dict"),
        (lambda: nn.Linear(D + 1, C), ValueError, r"cannot take rows of shape \(2, 6\)"),
        (lambda: mlp().requires_grad_(False), ValueError, "no trainable parameter"),
        (lambda: nn.LazyLinear(C), ValueError, "not initialised; run the module once"),
        (lambda: Rank(D, C), ValueError, "cannot be evaluated row by row"),
        (
            lambda: nn.Sequential(nn.BatchNorm1d(D, track_running_stats=False), mlp()),
            ValueError,
            "0 has track_running_stats=False",
        ),
        (lambda: nn.Sequential(mlp(), nn.Unflatten(1, (C, 1))), ValueError, r"\(2, 3, 1\)"),
        (lambda: net(n_outputs=4), ValueError, "must be 3 for 3 classes, got 4"),
        (lambda: net(criterion=nn.MultiMarginLoss), ValueError, "but y holds class labels"),
        (lambda: net(criterion=nn.MSELoss), ValueError, "but y holds class labels"),
        (lambda: net(criterion=nn.NLLLoss), ValueError, "expects a module that returns prob"),
        (lambda: net(n_outputs=1, criterion=nn.BCEWithLogitsLoss), ValueError, "expects 2 classes"),
        (lambda: FrozenEstimator(net()), NotFittedError, "is not fitted"),
        (lambda: "mlp", TypeError, "estimator must be None"),
        (lambda: FrozenEstimator("mlp"), TypeError, "estimator must be None"),
    ],
)
def test_what_cannot_be_explained_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        wrapped(build())


def test_a_net_of_the_wrong_width_is_not_trained_first():
    class Untouchable(NeuralNetClassifier):
        def fit(self, X, y, **fit_params):
            raise AssertionError("trained before the check")

    with pytest.raises(ValueError, match="got 4"):
        wrapped(net(n_outputs=4, cls=Untouchable))


def test_a_loss_of_the_nets_own_is_refused():
    class Regularized(NeuralNetClassifier):
        def get_loss(self, *args, **kwargs):
            return super().get_loss(*args, **kwargs)

    with pytest.raises(ValueError, match="get_loss of its own"):
        wrapped(net(cls=Regularized))


def test_different_weight_decays_are_repeated_and_averaged_for_rewinding():
    model = wrapped(net(optimizer__param_groups=[("0.*", {"weight_decay": 0.1})]))[1]
    share = sum(
        value.numel() for name, value in model.module.named_parameters() if name.startswith("0.")
    )
    assert model.weight_decay == pytest.approx(0.1 * share / model.n_parameters)
    assert "different weight decays" in model.recipe.not_rewound


def test_input_shape_has_to_hold_a_row():
    with pytest.raises(ValueError, match="holds 4 values, but a row has 6 features"):
        wrapped(mlp(), input_shape=(2, 2))
