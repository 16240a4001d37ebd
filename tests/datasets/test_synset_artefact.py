import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.utils.fixes import parse_version

from sklearn_synset import SynsetAttributor
from sklearn_synset.datasets import load_synset, save_synset, synset_frame

FAST = {"max_iter": 2, "n_steps": 3, "n_probes": 0, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    """Return an attributor of text labels, named groups and named features."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, y = X.iloc[::3].set_axis(list("abcd"), axis=1), np.array(["u", "v", "w"], dtype=object)[y]
    groups = np.array(["north", "south"], dtype=object)[np.arange(len(X)) % 2]
    return SynsetAttributor(synset_size=4, **FAST).fit(X, y[::3], groups=groups)


def assert_is_synset_of(found, attributor):
    np.testing.assert_array_equal(found.data, attributor.X_synset_)
    np.testing.assert_array_equal(found.target, attributor.y_synset_)
    np.testing.assert_array_equal(found.sample_weight, attributor.sample_weight_synset_)
    np.testing.assert_array_equal(found.groups, attributor.synset_groups_)
    assert found.feature_names.tolist() == list("abcd")
    assert found.target_names.tolist() == ["u", "v", "w"]


def test_a_table_and_a_file_give_the_synset_back(fitted, tmp_path):
    assert_is_synset_of(load_synset(synset_frame(fitted)), fitted)
    save_synset(fitted, tmp_path / "synset.npz")
    assert_is_synset_of(load_synset(tmp_path / "synset.npz"), fitted)


def test_a_table_survives_text(fitted, tmp_path):
    synset_frame(fitted).to_csv(tmp_path / "synset.csv", index=False, float_format="%.17g")
    # pandas 3 always reads every digit, and warns of the option.
    is_old = parse_version(pd.__version__) < parse_version("3")
    settings = {"float_precision": "round_trip"} if is_old else {}
    assert_is_synset_of(load_synset(pd.read_csv(tmp_path / "synset.csv", **settings)), fitted)


def test_rows_of_a_table_are_a_synset_without_the_others(fitted):
    frame = synset_frame(fitted)
    rest = load_synset(frame[frame["group"] != "north"])
    assert set(rest.groups) == {"south"}
    assert rest.sample_weight.sum() < fitted.sample_weight_synset_.sum()


def test_values_have_no_target_names(tmp_path):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    attributor = SynsetAttributor(n_groups=2, objective="loss", **FAST).fit(X, y)
    save_synset(attributor, tmp_path / "values.npz")
    for found in (load_synset(synset_frame(attributor)), load_synset(tmp_path / "values.npz")):
        assert found.target_names is None
        np.testing.assert_array_equal(found.target, attributor.y_synset_)
        assert found.feature_names.tolist() == ["x0", "x1", "x2"]


def test_what_is_no_synset_is_refused(fitted, tmp_path):
    frame = synset_frame(fitted)
    with pytest.raises(ValueError, match=r"columns \['weight'\] are missing"):
        load_synset(frame.drop(columns="weight"))
    with pytest.raises(ValueError, match="needs columns that start with 'class_'"):
        load_synset(frame[["a", "group", "weight"]])
    with pytest.raises(ValueError, match="data of the synset holds something"):
        load_synset(frame.assign(a=np.nan))
    with pytest.raises(ValueError, match="sample_weight of the synset has to be positive"):
        load_synset(frame.assign(weight=0.0))
    np.savez(tmp_path / "other.npz", data=np.ones(3))
    with pytest.raises(ValueError, match="holds no synset"):
        load_synset(tmp_path / "other.npz")


def test_features_named_like_columns_of_the_synset_are_refused():
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(12, 2)), columns=["weight", "height"])
    attributor = SynsetAttributor(n_groups=2, **FAST).fit(X, np.arange(12) % 2)
    with pytest.raises(ValueError, match=r"names of columns of the synset: \['weight'\]"):
        synset_frame(attributor)
