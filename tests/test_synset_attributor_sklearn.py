"""The attributor as a citizen of scikit-learn: pipelines, searches, frames, names and routing."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.problems import FAST, mlp, seeded, train

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def frame():
    X, y = load_iris(return_X_y=True, as_frame=True)
    # Folds that are not shuffled need rows that are.
    order = np.random.RandomState(0).permutation(len(X))
    return X.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True)


@pytest.fixture(scope="module")
def module(frame):
    X, y = frame
    rows = StandardScaler().fit_transform(X)
    return train(mlp(), rows, y.to_numpy(), nn.CrossEntropyLoss(), n_steps=60)


def attributor_of(module, **params):
    return SynsetAttributor(module, **{"n_groups": 6} | FAST | params)


def test_the_last_step_of_a_pipeline_sees_scaled_rows(frame, module):
    X, y = frame
    pipeline = make_pipeline(StandardScaler(), attributor_of(module)).fit(X, y)
    rows = StandardScaler().fit_transform(X)
    expected = attributor_of(module).fit(rows, y)
    np.testing.assert_array_equal(pipeline.transform(X), expected.transform(rows))
    assert pipeline.score(X, y) == expected.score(rows, y)
    np.testing.assert_array_equal(pipeline.score_samples(X), expected.score_samples(rows))
    assert list(pipeline.get_feature_names_out()) == [f"group_{k}" for k in range(6)]


def test_a_middle_step_of_a_pipeline_hands_attributions_on(frame, module):
    X, y = frame
    pipeline = make_pipeline(StandardScaler(), attributor_of(module), LogisticRegression())
    assert pipeline.fit(X, y).predict(X).shape == (len(X),)
    assert pipeline[-1].n_features_in_ == 6


def test_part_of_a_feature_union(frame, module):
    X, y = frame
    union = FeatureUnion([("scaled", StandardScaler()), ("groups", attributor_of(module))])
    columns = union.fit(X, y).transform(X)
    assert columns.shape == (len(X), 4 + 6)
    assert list(union.get_feature_names_out())[4:] == [f"groups__group_{k}" for k in range(6)]


def test_part_of_a_column_transformer(frame):
    X, y = frame
    chosen = list(X.columns[:2])
    network = seeded(lambda: nn.Linear(2, 3))
    transformer = ColumnTransformer([("groups", attributor_of(network), chosen)])
    columns = transformer.set_output(transform="pandas").fit_transform(X, y)
    assert list(columns) == [f"groups__group_{k}" for k in range(6)]
    expected = attributor_of(network).fit(X[chosen], y).transform(X[chosen])
    np.testing.assert_array_equal(columns.to_numpy(), expected)


def test_pandas_output_keeps_the_index_and_names_the_groups(frame, module):
    X, y = frame
    X = X.set_index(X.index + 1000)
    groups = np.where(np.arange(len(X)) % 2, "odd", "even")
    attributor = attributor_of(module).set_output(transform="pandas").fit(X, y, groups=groups)
    table = attributor.transform(X)
    assert list(table.columns) == ["group_even", "group_odd"]
    assert table.index.equals(X.index)
    np.testing.assert_array_equal(attributor.fit_transform(X, y, groups=groups), table)


def test_frames_give_what_arrays_give_and_their_names_are_kept(frame, module):
    X, y = frame
    framed = attributor_of(module).fit(X, y)
    plain = attributor_of(module).fit(X.to_numpy(), y.to_numpy())
    np.testing.assert_array_equal(framed.transform(X), plain.transform(X.to_numpy()))
    assert list(framed.feature_names_in_) == list(X.columns)
    assert framed.n_features_in_ == 4
    assert not hasattr(plain, "feature_names_in_")
    with pytest.raises(ValueError, match="feature names"):
        framed.transform(X[X.columns[::-1]])


@pytest.mark.parametrize("kind", [np.array, list, pd.Series])
def test_string_groups_name_the_columns(frame, module, kind):
    X, y = frame
    groups = np.array(["north", "east", "south"])[np.arange(len(X)) % 3]
    attributor = attributor_of(module).fit(X, y, groups=kind(groups))
    assert list(attributor.groups_) == ["east", "north", "south"]
    names = attributor.get_feature_names_out()
    assert names.dtype == object
    assert list(names) == ["group_east", "group_north", "group_south"]
    np.testing.assert_array_equal(attributor.group_labels_, groups)
    assert set(attributor.synset_groups_) == set(groups)
    assert set(attributor.fidelity_.groups) <= set(groups)
    coded = attributor_of(module).fit(X, y, groups=np.array([1, 0, 2])[np.arange(len(X)) % 3])
    np.testing.assert_array_equal(coded.transform(X), attributor.transform(X))
    moved = attributor.leave_out(["north"])(torch.tensor(X.to_numpy()))
    np.testing.assert_array_equal(
        moved.detach(), coded.leave_out([1])(torch.tensor(X.to_numpy())).detach()
    )


def test_groups_need_not_be_numbered_from_zero(frame, module):
    X, y = frame
    attributor = attributor_of(module).fit(X, y, groups=10 * (np.arange(len(X)) % 4) - 7)
    assert list(attributor.groups_) == [-7, 3, 13, 23]
    assert list(attributor.get_feature_names_out()) == [
        "group_-7",
        "group_3",
        "group_13",
        "group_23",
    ]


def test_a_clone_is_unfitted_and_fits_the_same(frame, module):
    X, y = frame
    attributor = attributor_of(module).fit(X, y)
    copied = clone(attributor)
    assert not hasattr(copied, "groups_")
    np.testing.assert_array_equal(copied.fit(X, y).transform(X), attributor.transform(X))


def test_a_grid_search_over_its_own_parameters_maximises_score(frame):
    X, y = frame
    grid = {"initialization": ["centroid", "random"], "synset_size": [1, 25]}
    # Of a single layer: rewound on rows, and without a first order.
    layer = seeded(lambda: nn.Linear(4, 3).double())
    layer = train(layer, X.to_numpy(), y.to_numpy(), nn.CrossEntropyLoss(), n_steps=60)
    params = FAST | {"max_iter": 0, "n_steps": 200}
    estimator = attributor_of(layer, **params | {"n_probes": 4})
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all() and (np.abs(scores) <= 1 + 1e-9).all()
    # A synset of all rows agrees with the probes for certain, if it is evaluated in the same way.
    assert search.best_params_["synset_size"] == 25
    assert (scores[search.cv_results_["param_synset_size"] == 1] < search.best_score_).all()
    assert search.best_score_ == pytest.approx(1)
    assert search.transform(X).shape == (len(X), 6)


def test_a_grid_search_reaches_into_the_network(frame):
    X, y = frame
    net = NeuralNetClassifier(
        seeded(lambda: nn.Linear(4, 3).double()),
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        train_split=None,
        verbose=0,
    )
    grid = {"attributor__estimator__lr": [0.001, 0.1], "attributor__n_groups": [3, 6]}
    pipeline = sklearn.pipeline.Pipeline(
        [("scale", StandardScaler()), ("attributor", attributor_of(net))]
    )
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[-1]
    assert best.estimator_.lr == search.best_params_["attributor__estimator__lr"]
    assert len(best.groups_) == search.best_params_["attributor__n_groups"]
    assert net.lr not in (0.001, 0.1)


def test_groups_are_routed_through_a_pipeline(frame, module):
    X, y = frame
    groups = np.array(["a", "b", "c"])[np.arange(len(X)) % 3]
    with sklearn.config_context(enable_metadata_routing=True):
        step = attributor_of(module).set_fit_request(groups=True)
        pipeline = make_pipeline(StandardScaler(), step).fit(X, y, groups=groups)
        assert list(pipeline[-1].groups_) == ["a", "b", "c"]
        refused = make_pipeline(StandardScaler(), attributor_of(module))
        with pytest.raises(ValueError, match="groups"):
            refused.fit(X, y, groups=groups)


def test_groups_are_routed_through_a_grid_search(frame, module):
    X, y = frame
    groups = np.arange(len(X)) % 4
    with sklearn.config_context(enable_metadata_routing=True):
        step = attributor_of(module).set_fit_request(groups=True)
        search = GridSearchCV(step, {"max_iter": [0, 4]}, cv=2, error_score="raise")
        search.fit(X, y, groups=groups)
    assert list(search.best_estimator_.groups_) == [0, 1, 2, 3]
