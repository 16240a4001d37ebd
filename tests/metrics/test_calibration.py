import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import linregress
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LinearRegression

from sklearn_synset.metrics import calibration_slope


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    scores = rng.normal(1, size=(6, 9))
    return 0.5 + 1.5 * scores + rng.normal(size=(6, 9)), scores


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_it_is_scikit_learns_regression(case, fit_intercept):
    effects, scores = case
    line = LinearRegression(fit_intercept=fit_intercept).fit(scores.reshape(-1, 1), effects.ravel())
    slope = calibration_slope(effects, scores, fit_intercept=fit_intercept)
    assert slope == pytest.approx(line.coef_[0], abs=1e-10)


def test_it_is_scipys_regression(case):
    effects, scores = case
    expected = linregress(scores.ravel(), effects.ravel()).slope
    assert calibration_slope(effects, scores) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_factor_is_found_exactly_with_an_interval_of_no_width(fit_intercept):
    scores = np.arange(12.0).reshape(3, 4)
    slope, interval = calibration_slope(
        2.5 * scores, scores, fit_intercept=fit_intercept, return_interval=True
    )
    assert slope == pytest.approx(2.5)
    assert_allclose(interval, 2.5, atol=1e-12)


def test_an_offset_changes_only_the_line_through_the_origin(case):
    effects, scores = case
    assert calibration_slope(effects + 7, scores) == pytest.approx(
        calibration_slope(effects, scores)
    )
    assert calibration_slope(effects + 7, scores, fit_intercept=False) > 4


def test_effects_are_averaged_over_seeds(case):
    effects, scores = case
    value = calibration_slope([effects + 1, effects * 3 - 1], scores)
    assert value == pytest.approx(calibration_slope(2 * effects, scores))


def test_the_interval_is_that_of_the_textbook_sandwich(case):
    effects, scores = case
    line = linregress(scores.ravel(), effects.ravel())
    design = np.stack([np.ones(54), scores.ravel()], axis=1)
    residual = effects.ravel() - line.intercept - line.slope * scores.ravel()
    bread = np.linalg.inv(design.T @ design)

    def variance(labels):
        meat = np.zeros((2, 2))
        for label in np.unique(labels):
            sums = design[labels == label].T @ residual[labels == label]
            meat += np.outer(sums, sums)
        n = len(np.unique(labels))
        return n / (n - 1) * (bread @ meat @ bread)[1, 1]

    queries, groups = (index.ravel() for index in np.indices((6, 9)))
    by_query, by_group = variance(queries), variance(groups)
    both = by_query + by_group - variance(np.arange(54))
    expected = np.sqrt(max(both, by_query, by_group))
    # Student's 0.975 quantile with 5 degrees of freedom.
    slope, (low, high) = calibration_slope(effects, scores, return_interval=True)
    assert high - slope == pytest.approx(2.5705818 * expected, rel=1e-6)
    assert slope - low == pytest.approx(high - slope)


def test_a_higher_level_gives_a_wider_interval(case):
    widths = [
        np.ptp(calibration_slope(*case, return_interval=True, confidence_level=level)[1])
        for level in (0.5, 0.9, 0.99)
    ]
    assert widths == sorted(widths)


def test_the_interval_covers_the_slope_although_errors_of_a_group_are_shared():
    rng, n_covered = np.random.RandomState(0), 0
    for _ in range(400):
        # Scores and errors that are alike for all queries: pairs are far from independent.
        scores = rng.normal(size=(1, 20)) + 0.3 * rng.normal(size=(30, 20))
        errors = rng.normal(size=(1, 20)) + 0.3 * rng.normal(size=(30, 20))
        _, (low, high) = calibration_slope(1.2 * scores + errors, scores, return_interval=True)
        n_covered += low < 1.2 < high
    assert 0.90 <= n_covered / 400 <= 0.98


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_constant_scores_have_no_slope(value):
    with pytest.warns(UndefinedMetricWarning, match="constant"):
        assert np.isnan(calibration_slope(np.eye(3), np.full((3, 3), value)))


def test_constant_scores_have_a_slope_through_the_origin():
    assert calibration_slope(np.full((3, 3), 0.5), np.full((3, 3), 0.25), fit_intercept=False) == 2


@pytest.mark.parametrize(
    ("effects", "scores", "options", "message"),
    [
        (np.ones((6, 8)), np.ones((6, 9)), {}, "effects must have the shape"),
        (np.full((6, 9), np.nan), np.ones((6, 9)), {}, "effects contains NaN"),
        (np.ones((6, 1)), np.ones((6, 1)), {}, "at least 2 groups"),
        (np.ones((1, 9)), np.ones((1, 9)), {"return_interval": True}, "At least 2 queries"),
        (np.ones((6, 9)), np.ones((6, 9)), {"confidence_level": 1.0}, "confidence_level"),
    ],
)
def test_wrong_input_is_refused(effects, scores, options, message):
    with pytest.raises(ValueError, match=message):
        calibration_slope(effects, scores, **options)
