import numpy as np
import pytest
from scipy.stats import rankdata

from sklearn_synset._probes.fidelity import fidelity_score
from sklearn_synset._statistics.rank_correlation import mean_rank_correlation


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    measured = rng.normal(size=(6, 9))
    return measured + rng.normal(size=(6, 9)), measured


def test_the_score_is_a_correlation_of_ranks_over_removals_and_over_pairs(effects):
    predicted, measured = effects

    def ranks_beyond_means(values):
        ranks = rankdata(values.ravel()).reshape(values.shape)
        design = np.column_stack(
            [np.repeat(np.eye(len(values)), values.shape[1], 0)]
            + [np.tile(np.eye(values.shape[1]), (len(values), 1))]
        )
        return ranks.ravel() - design @ np.linalg.lstsq(design, ranks.ravel(), rcond=None)[0]

    a, b = ranks_beyond_means(predicted), ranks_beyond_means(measured)
    expected = (mean_rank_correlation(predicted, measured) + np.corrcoef(a, b)[0, 1]) / 2
    assert fidelity_score(predicted, measured) == pytest.approx(expected)


def test_the_score_is_one_for_any_unit_and_minus_one_for_the_opposite(effects):
    predicted, _ = effects
    assert fidelity_score(predicted, 3 * predicted - 1) == pytest.approx(1)
    assert fidelity_score(predicted, -predicted) == pytest.approx(-1)


def test_predictions_that_say_nothing_score_zero(effects):
    predicted, measured = effects
    assert fidelity_score(np.zeros_like(predicted), measured) == 0


def test_a_single_removal_has_no_score(effects):
    assert np.isnan(fidelity_score(effects[0][:, :1], effects[1][:, :1]))


def test_two_removals_have_a_score():
    effects = np.array([[1.0, 3.0], [2.0, 1.0]])
    assert fidelity_score(effects, effects) == pytest.approx(1)


def test_no_query_has_no_score():
    assert np.isnan(fidelity_score(np.empty((0, 4)), np.empty((0, 4))))
