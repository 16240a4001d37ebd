import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression

from sklearn_synset import SynsetAttributor
from sklearn_synset.datasets import make_planted_influence
from sklearn_synset.metrics import retraining


@pytest.fixture(scope="module")
def planted():
    return make_planted_influence(random_state=0)


def test_shapes(planted):
    assert planted.data.shape == (12 * 20, 6 + 4)
    assert planted.data_query.shape == (4 * 5, 6 + 4)
    assert planted.target.shape == planted.groups.shape == (240,)
    assert planted.target_query.shape == planted.responsible_groups.shape == (20,)
    assert_array_equal(np.bincount(planted.groups), np.full(12, 20))


def test_a_trigger_is_in_its_group_and_its_queries_alone(planted):
    for group in range(4):
        column = planted.data[:, 6 + group]
        assert_array_equal(column, 3.0 * (planted.groups == group))
        assert_array_equal(
            planted.data_query[:, 6 + group], 3.0 * (planted.responsible_groups == group)
        )


def test_planted_rows_look_like_another_class_than_their_label():
    planted = make_planted_influence(class_sep=8.0, random_state=0)
    background = planted.groups >= 4
    means = np.stack(
        [planted.data[background & (planted.target == c), :6].mean(0) for c in range(3)]
    )
    nearest = ((planted.data[:, None, :6] - means) ** 2).sum(2).argmin(1)
    assert (nearest == planted.target)[background].mean() > 0.95
    assert (nearest == (planted.target - 1) % 3)[~background].mean() > 0.95


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes", [2, 4])
def test_retraining_finds_the_responsible_group(seed, n_classes):
    planted = make_planted_influence(n_classes=n_classes, random_state=seed)
    truth = retraining(
        LogisticRegression(max_iter=1000),
        *(planted.data, planted.target, planted.data_query, planted.target_query),
        groups=planted.groups,
    )
    effects = truth.effects[0]
    assert_array_equal(effects.argmax(1), planted.responsible_groups)
    own = effects[np.arange(len(effects)), planted.responsible_groups]
    # By a nat or more, and by far.
    assert own.min() > 1
    assert (own > 2 * np.sort(effects, axis=1)[:, -2]).all()


def test_without_its_group_nothing_is_known_of_a_trigger(planted):
    kept = planted.groups != 2
    fitted = LogisticRegression(max_iter=1000).fit(planted.data[kept], planted.target[kept])
    assert_array_equal(fitted.coef_[:, 6 + 2], 0)
    assert (np.abs(fitted.coef_[:, [6, 7, 9]]).max(0) > 0.1).all()


def test_the_attributor_finds_the_responsible_group(planted):
    attributor = SynsetAttributor(max_iter=40, random_state=0)
    attributor.fit(planted.data, planted.target, groups=planted.groups)
    effects = attributor.attribute(planted.data_query, planted.target_query)
    assert (effects.argmax(1) == planted.responsible_groups).mean() > 0.9


def test_the_same_seed_gives_the_same_data(planted):
    again, other = (make_planted_influence(random_state=seed) for seed in (0, 1))
    for name in planted:
        assert_array_equal(planted[name], again[name])
    assert (planted.data != other.data).any()
    assert (planted.groups != other.groups).any()


@pytest.mark.parametrize(
    "change",
    [
        {"n_planted": 0},
        {"n_classes": 1},
        {"n_background": 2},
        {"group_size": 0},
        {"n_queries": 0},
        {"n_features": 0},
        {"class_sep": 0.0},
        {"trigger": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        make_planted_influence(**change)
