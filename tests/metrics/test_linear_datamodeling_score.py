import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from sklearn_synset.metrics import linear_datamodeling_score


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    scores, subsets = rng.normal(size=(5, 8)), rng.rand(40, 8) < 0.5
    return subsets @ scores.T + rng.normal(size=(40, 5)), scores, subsets


def test_it_is_scipys_correlation_with_sums_of_kept_scores(case):
    outputs, scores, subsets = case
    expected = []
    for query in range(5):
        sums = [sum(scores[query, k] for k in np.flatnonzero(kept)) for kept in subsets]
        expected.append(spearmanr(sums, outputs[:, query]).statistic)
    values = linear_datamodeling_score(*case, average=None)
    assert_allclose(values, expected, atol=1e-10)
    assert linear_datamodeling_score(*case) == pytest.approx(np.mean(expected), abs=1e-10)


def test_a_linear_model_is_explained_exactly(case):
    _, scores, subsets = case
    assert linear_datamodeling_score(3 + subsets @ scores.T, scores, subsets) == pytest.approx(1)
    assert linear_datamodeling_score(-(subsets @ scores.T), scores, subsets) == pytest.approx(-1)


def test_three_subsets_by_hand():
    # Sums 1, 2, 3 against outputs in the order 1, 3, 2: 1 - 6 * 2 / 24.
    value = linear_datamodeling_score([[0.0], [9.0], [5.0]], [[1.0, 2.0]], [[1, 0], [0, 1], [1, 1]])
    assert value == pytest.approx(0.5, abs=1e-15)


def test_outputs_are_averaged_over_seeds(case):
    outputs, scores, subsets = case
    noise = np.random.RandomState(1).normal(size=outputs.shape)
    value = linear_datamodeling_score([outputs + noise, outputs - noise], scores, subsets)
    assert value == pytest.approx(linear_datamodeling_score(outputs, scores, subsets), abs=1e-10)


def test_order_of_groups_and_subsets_does_not_matter(case):
    outputs, scores, subsets = case
    columns, rows = (
        np.random.RandomState(1).permutation(8),
        np.random.RandomState(2).permutation(40),
    )
    moved = linear_datamodeling_score(
        outputs[rows], scores[:, columns], subsets[rows][:, columns], average=None
    )
    assert_allclose(moved, linear_datamodeling_score(*case, average=None), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": np.zeros((39, 5))}, r"outputs must have the shape \(n_subsets, n_queries\)"),
        ({"outputs": np.zeros((5, 40))}, r"outputs must have the shape"),
        ({"outputs": np.full((40, 5), np.nan)}, "outputs contains NaN"),
        ({"scores": np.full((5, 8), np.inf)}, "scores contains infinity"),
        ({"scores": np.zeros((5, 1))}, "at least 2 groups"),
        ({"scores": np.zeros((5, 7))}, "subsets must have the shape"),
        ({"subsets": np.full((40, 8), 2)}, "booleans"),
        ({"subsets": np.ones((1, 8)), "outputs": np.ones((1, 5))}, "At least 2 subsets"),
        ({"average": "samples"}, "average must be"),
    ],
)
def test_wrong_input_is_refused(case, change, message):
    arguments = dict(zip(("outputs", "scores", "subsets"), case, strict=True)) | change
    with pytest.raises(ValueError, match=message):
        linear_datamodeling_score(**arguments)
