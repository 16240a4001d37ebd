"""Wrong input is refused with what was expected and what came, before any work is spent."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.problems import seeded

FAST = {"max_iter": 4, "n_steps": 8, "n_probes": 0, "step_size": 0.05, "random_state": 0}


class NoWork(Callback):
    """Fails as soon as a training begins."""

    def on_train_begin(self, net, **kwargs):
        raise AssertionError("work was spent before the input was checked")


def untrainable(n_outputs=3, n_features=4):
    return NeuralNetClassifier(
        seeded(lambda: nn.Linear(n_features, n_outputs).double()),
        criterion=nn.CrossEntropyLoss,
        callbacks=[NoWork()],
        train_split=None,
        verbose=0,
    )


@pytest.fixture(scope="module")
def rows():
    rng = np.random.RandomState(0)
    return rng.normal(size=(60, 4)), np.arange(60) % 3


@pytest.fixture(scope="module")
def fitted(rows):
    return SynsetAttributor(seeded(lambda: nn.Linear(4, 3).double()), n_groups=6, **FAST).fit(*rows)


def spoilt(array, value):
    array = np.array(array, dtype=float)
    array.flat[-1] = value
    return array


def test_the_guard_against_work_works(rows):
    with pytest.raises(AssertionError, match="work was spent"):
        SynsetAttributor(untrainable(), **FAST).fit(*rows)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_rows_that_are_not_finite_are_refused(rows, fitted, value, name):
    X, y = rows
    with pytest.raises(ValueError, match=f"Input X contains {name}"):
        SynsetAttributor(untrainable(), **FAST).fit(spoilt(X, value), y)
    for method in (fitted.transform, fitted.attribute, fitted.score_samples, fitted.score):
        with pytest.raises(ValueError, match=f"Input X contains {name}"):
            method(spoilt(X, value))


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_targets_that_are_not_finite_are_refused(rows, fitted, value, name):
    X, y = rows
    with pytest.raises(ValueError, match=f"Input y contains {name}"):
        SynsetAttributor(untrainable(), **FAST).fit(X, spoilt(y, value))
    for method in (fitted.attribute, fitted.score_samples, fitted.score):
        with pytest.raises(ValueError, match=f"Input y contains {name}"):
            method(X, spoilt(y, value))


def test_rows_of_another_width_are_refused(rows, fitted):
    X, _ = rows
    message = "X has 3 features, but SynsetAttributor is expecting 4 features"
    for method in (fitted.transform, fitted.attribute, fitted.score_samples, fitted.score):
        with pytest.raises(ValueError, match=message):
            method(X[:, :3])


def test_a_network_for_rows_of_another_width_is_refused(rows):
    with pytest.raises(ValueError, match=r"cannot take rows of shape \(2, 4\)"):
        SynsetAttributor(untrainable(n_features=5), **FAST).fit(*rows)


def test_an_input_shape_of_another_size_is_refused(rows):
    with pytest.raises(ValueError, match=r"input_shape=\(1, 3, 3\) holds 9.*has 4 features"):
        SynsetAttributor(untrainable(), input_shape=(1, 3, 3), **FAST).fit(*rows)


def test_fewer_rows_than_groups_are_refused(rows):
    with pytest.raises(ValueError, match="fewer rows than groups: 60 rows, n_groups=61"):
        SynsetAttributor(untrainable(), n_groups=61, **FAST).fit(*rows)


def test_fewer_groups_than_classes_are_refused(rows):
    with pytest.raises(ValueError, match="fewer groups than classes: n_groups=2, 3 classes"):
        SynsetAttributor(untrainable(), n_groups=2, **FAST).fit(*rows)


def test_groups_of_another_length_are_refused(rows):
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[60, 59\]"):
        SynsetAttributor(untrainable(), **FAST).fit(*rows, groups=np.arange(59) % 5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_groups_that_are_not_finite_are_refused(rows, value):
    with pytest.raises(ValueError, match="groups holds NaN or infinity"):
        SynsetAttributor(untrainable(), **FAST).fit(*rows, groups=spoilt(np.arange(60) % 5, value))


def test_groups_of_two_dimensions_are_refused(rows):
    with pytest.raises(ValueError, match=r"should be a 1d array.*\(60, 2\)"):
        SynsetAttributor(untrainable(), **FAST).fit(*rows, groups=np.zeros((60, 2)))


def test_targets_of_another_length_are_refused(rows, fitted):
    X, y = rows
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[60, 59\]"):
        SynsetAttributor(untrainable(), **FAST).fit(X, y[:59])
    for method in (fitted.attribute, fitted.score_samples):
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[60, 59\]"):
            method(X, y[:59])


def test_labels_that_were_not_seen_are_refused(rows, fitted):
    X, y = rows
    for method in (fitted.attribute, fitted.score_samples):
        with pytest.raises(ValueError, match=r"labels that were not seen in fit.*7"):
            method(X, np.where(y == 1, 7, y))


def test_no_target_is_refused(rows):
    with pytest.raises(ValueError, match="requires y to be passed"):
        SynsetAttributor(untrainable(), **FAST).fit(rows[0], None)


def test_a_frozen_net_that_is_not_fitted_is_refused(rows):
    with pytest.raises(NotFittedError, match="frozen NeuralNetClassifier is not fitted"):
        SynsetAttributor(FrozenEstimator(untrainable()), **FAST).fit(*rows)


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_a_network_of_another_width_is_refused(rows, n_outputs):
    message = f"output width must be 3 for 3 classes, got {n_outputs}"
    with pytest.raises(ValueError, match=message):
        SynsetAttributor(untrainable(n_outputs), **FAST).fit(*rows)
    with pytest.raises(ValueError, match=message):
        SynsetAttributor(nn.Linear(4, n_outputs).double(), **FAST).fit(*rows)


def test_several_networks_need_one_that_is_trained(rows):
    for estimator in (nn.Linear(4, 3), FrozenEstimator(untrainable())):
        message = f"n_models=2 needs a network that is trained.*{type(estimator).__name__}"
        with pytest.raises(ValueError, match=message):
            SynsetAttributor(estimator, n_models=2, **FAST).fit(*rows)


@pytest.mark.parametrize("estimator", [nn.Linear, "net", 3])
def test_something_else_than_a_network_is_refused(rows, estimator):
    with pytest.raises(TypeError, match="estimator must be None, a torch.nn.Module, a skorch net"):
        SynsetAttributor(estimator, **FAST).fit(*rows)


def test_a_module_whose_rows_depend_on_their_batch_is_refused(rows):
    module = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match="cannot be evaluated row by row"):
        SynsetAttributor(module, **FAST).fit(*rows)


def test_unknown_groups_cannot_be_left_out(fitted):
    with pytest.raises(ValueError, match=r"groups holds .*9.*not in groups_"):
        fitted.leave_out([0, 9])


@pytest.mark.parametrize("params", [{"n_groups": 1}, {}])
def test_a_single_group_is_refused_before_training(rows, params):
    X, y = rows
    groups = None if params else np.zeros(len(X))
    with pytest.raises(ValueError, match="At least 2 groups are needed"):
        SynsetAttributor(untrainable(), **FAST, **params).fit(X, np.zeros(len(X), int), groups)


def test_all_groups_cannot_be_left_out(fitted):
    with pytest.raises(ValueError, match="all groups: nothing would be left"):
        fitted.leave_out(fitted.groups_)


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ([0, 999], ValueError, r"rows holds \[999\], outside of 0 to"),
        ([-1], ValueError, r"rows holds \[-1\], outside of 0 to"),
        ([True, False], ValueError, "rows marks 2 rows, but fit was given"),
        ([[0, 1]], ValueError, "rows must be one-dimensional"),
        ([0.0], TypeError, "rows must hold booleans or integers, got dtype float64"),
        (["a"], TypeError, "rows must hold booleans or integers"),
    ],
)
def test_unknown_rows_cannot_be_left_out(fitted, named, error, message):
    with pytest.raises(error, match=message):
        fitted.leave_out(rows=named)


def test_all_rows_cannot_be_left_out(fitted):
    n_rows = len(fitted.group_labels_)
    with pytest.raises(ValueError, match="rows names all training rows"):
        fitted.leave_out(rows=range(n_rows))
    first = fitted.group_labels_ == fitted.groups_[0]
    with pytest.raises(ValueError, match="all training rows: nothing would be left"):
        fitted.leave_out(fitted.groups_[:1], rows=~first)


def test_leaving_out_needs_something_to_leave_out(fitted):
    with pytest.raises(TypeError, match="needs groups, rows or both"):
        fitted.leave_out()


def test_an_objective_that_does_not_fit_the_target_is_refused_when_asking(rows, fitted):
    with pytest.raises(ValueError, match="'prediction' is not defined for class labels"):
        fitted.attribute(*rows, objective="prediction")


def test_an_objective_that_does_not_fit_the_target_is_refused_before_training(rows):
    with pytest.raises(ValueError, match="'prediction' is not defined for class labels"):
        SynsetAttributor(untrainable(), objective="prediction", **FAST).fit(*rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_groups", 0),
        ("n_groups", "many"),
        ("synset_size", 0),
        ("synset_size", 2.5),
        ("initialization", "best"),
        ("distance", "euclidean"),
        ("max_iter", -1),
        ("learning_rate", 0.0),
        ("tol", -1e-3),
        ("solver", "newton"),
        ("rewind", 1.0),
        ("rewind", -0.1),
        ("n_steps", 0),
        ("step_size", 0.0),
        ("damping", -1.0),
        ("weight_decay", -1.0),
        ("removal", "all"),
        ("n_removals", 1),
        ("objective", "margins"),
        ("n_models", 0),
        ("n_probes", -1),
        ("input_shape", 16),
        ("batch_size", 0),
        ("device", 0.5),
        ("n_jobs", "two"),
        ("random_state", "seed"),
        ("verbose", -1),
        ("warm_start", "yes"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_by_name(rows, name, value):
    estimator = SynsetAttributor(untrainable(), **FAST).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"The '{name}' parameter of SynsetAttributor must be"):
        estimator.fit(*rows)


@pytest.mark.parametrize(
    "method", ["transform", "attribute", "score_samples", "score", "leave_out"]
)
def test_nothing_works_before_fit(rows, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(SynsetAttributor(), method)(rows[0])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        SynsetAttributor().get_feature_names_out()


def test_bad_agreement_is_warned_of_with_the_parameters_to_change(rows):
    generator = torch.Generator().manual_seed(0)

    def noise(model, synset, kept, retraining):
        shape = len(kept), model.n_parameters
        return torch.randn(shape, generator=generator, dtype=model.dtype)

    attributor = SynsetAttributor(
        seeded(lambda: nn.Linear(4, 3).double()),
        n_groups=12,
        solver=noise,
        **FAST | {"n_probes": 12, "max_iter": 0},
    )
    with pytest.warns(ConvergenceWarning, match="synset_size or max_iter.*n_groups"):
        attributor.fit(*rows)


def test_without_probes_there_is_no_fidelity(rows, fitted):
    assert np.isnan(fitted.fidelity_.rank_correlation)
    assert np.isnan(fitted.fidelity_.slope)
    assert len(fitted.fidelity_.groups) == 0


def test_without_probes_there_is_no_score(rows, fitted):
    assert np.isnan(fitted.score(*rows))
