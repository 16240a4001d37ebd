import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from sklearn_synset.metrics import mislabel_recall, mislabel_roc_auc


@pytest.fixture(params=[1, 12], ids=["ties", "no ties"])
def case(request):
    rng = np.random.RandomState(0)
    flags = np.arange(100) < 20
    return flags, np.round(rng.normal(size=100) - flags, request.param)


def test_the_area_is_scipys_rank_sum_and_scikit_learns(case):
    flags, scores = case
    statistic = mannwhitneyu(scores[~flags], scores[flags]).statistic
    assert mislabel_roc_auc(*case) == pytest.approx(statistic / (20 * 80), abs=1e-10)
    assert mislabel_roc_auc(*case) == pytest.approx(roc_auc_score(~flags, scores), abs=1e-10)


def test_low_scores_are_suspicious():
    flags = [1, 0, 0]
    assert mislabel_roc_auc(flags, [-1.0, 0.0, 1.0]) == 1
    assert mislabel_roc_auc(flags, [1.0, 0.0, -1.0]) == 0
    assert mislabel_roc_auc(flags, [0.0, 0.0, 0.0]) == 0.5
    assert mislabel_recall(flags, [-1.0, 0.0, 1.0], share=0.34) == 1
    assert mislabel_recall(flags, [1.0, 0.0, -1.0], share=0.34) == 0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.35, 1.0])
def test_recall_is_the_mean_over_orders_of_tied_rows(case, share):
    flags, scores = case
    n_inspected, rng, found = round(share * 100), np.random.RandomState(1), []
    for _ in range(3000):
        order = np.lexsort((rng.permutation(100), scores))
        found.append(flags[order[:n_inspected]].sum() / 20)
    error = 4 * np.std(found) / np.sqrt(len(found)) + 1e-12
    assert mislabel_recall(flags, scores, share=share) == pytest.approx(np.mean(found), abs=error)


def test_recall_by_hand_with_a_tie_at_the_last_place():
    # Two rows are inspected: the first, and one of the three tied ones, of which one is wrong.
    flags, scores = [True, True, False, False, False], [0.0, 1.0, 1.0, 1.0, 2.0]
    assert mislabel_recall(flags, scores, share=0.4) == pytest.approx((1 + 1 / 3) / 2)


def test_equal_scores_are_found_by_chance_and_the_order_of_rows_does_not_matter(case):
    flags, scores = case
    assert mislabel_recall(flags, np.zeros(100), share=0.3) == pytest.approx(0.3)
    order = np.random.RandomState(1).permutation(100)
    assert mislabel_recall(flags[order], scores[order]) == mislabel_recall(flags, scores)
    assert mislabel_roc_auc(flags[order], scores[order]) == mislabel_roc_auc(flags, scores)


def test_at_least_one_row_is_inspected():
    assert mislabel_recall([True, False], [0.0, 1.0], share=0.01) == 1


@pytest.mark.parametrize("metric", [mislabel_roc_auc, mislabel_recall])
@pytest.mark.parametrize(
    ("flags", "scores", "message"),
    [
        ([0, 1], [1.0, 2.0, 3.0], r"shape \(n_rows,\)"),
        ([[0, 1]], [[1.0, 2.0]], r"shape \(n_rows,\)"),
        ([0, 1], [np.nan, 1.0], "scores contains NaN"),
        ([0, 2], [0.0, 1.0], "booleans"),
        ([0, 0], [0.0, 1.0], "got 0 mislabelled of 2"),
        ([True, True], [0.0, 1.0], "got 2 mislabelled of 2"),
    ],
)
def test_wrong_input_is_refused(metric, flags, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(flags, scores)


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_is_above_zero_and_at_most_one(share):
    with pytest.raises(ValueError, match="share"):
        mislabel_recall([0, 1], [0.0, 1.0], share=share)
