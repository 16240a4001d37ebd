import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from sklearn_synset import SynsetAttributor
from sklearn_synset._probes.fidelity import fidelity_score
from sklearn_synset._statistics.rank_correlation import mean_rank_correlation
from sklearn_synset.inspection import FidelityDisplay
from tests.fitted import OPTIONS
from tests.inspection.reading import assert_readable


def effects_of(n_queries, n_groups, n_seeds=3):
    rng = np.random.RandomState(0)
    predicted = rng.normal(size=(n_queries, n_groups))
    return predicted, 1.3 * predicted + 0.5 * rng.normal(size=(n_seeds, n_queries, n_groups))


@pytest.mark.parametrize("n_queries", [1, 10, 200])
@pytest.mark.parametrize("n_groups", [2, 100])
def test_every_size_is_readable_and_shows_every_pair(n_queries, n_groups):
    predicted, seeds = effects_of(n_queries, n_groups)
    display = FidelityDisplay.from_effects(predicted, seeds)
    points = np.column_stack([predicted.ravel(), seeds.mean(0).ravel()])
    np.testing.assert_allclose(display.scatter_.get_offsets(), points)
    assert_readable(display.figure_)


def test_correlation_slope_and_ceiling_are_those_of_scipy():
    predicted, seeds = effects_of(20, 7)
    display = FidelityDisplay.from_effects(predicted, seeds)
    pairs = zip(predicted, seeds.mean(0), strict=True)
    rank = np.mean([spearmanr(a, b).statistic for a, b in pairs])
    assert display.rank_correlation == pytest.approx(rank)
    fit = linregress(predicted.ravel(), seeds.mean(0).ravel())
    assert display.slope == pytest.approx(fit.slope)
    np.testing.assert_allclose(
        display.line_.get_ydata(), fit.intercept + fit.slope * display.line_.get_xdata()
    )
    ceiling = np.mean(
        [
            spearmanr(seeds[i, q], np.delete(seeds, i, 0)[:, q].mean(0)).statistic
            for i in range(3)
            for q in range(20)
        ]
    )
    assert display.ceiling == pytest.approx(ceiling)
    assert f"{ceiling:.2f}" in display.ax_.get_title()


def test_one_measurement_has_no_ceiling():
    predicted, seeds = effects_of(5, 4, n_seeds=1)
    for measured in (seeds, seeds[0]):
        display = FidelityDisplay.from_effects(predicted, measured)
        assert display.ceiling is None
        assert "retraining" not in display.ax_.get_title()


def test_both_axes_span_the_same_and_name_the_unit():
    predicted, seeds = effects_of(5, 4)
    ax = FidelityDisplay.from_effects(predicted, seeds, quantity="prediction", unit="cm").ax_
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlabel() == "predicted effect on the prediction (cm)"
    expected = "effect on the prediction (cm)\nmeasured by retraining, mean of 3 seeds"
    assert ax.get_ylabel() == expected


def test_constant_predictions_have_no_line():
    display = FidelityDisplay.from_effects(np.ones((2, 3)), effects_of(2, 3)[1])
    assert display.line_ is None
    assert len(display.ax_.get_legend().get_texts()) == 1


def test_effects_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"same shape .* got \(2, 3\) and \(2, 4\)"):
        FidelityDisplay.from_effects(np.ones((2, 3)), np.ones((2, 4)))


@pytest.mark.parametrize("case", ["digits", "wine", "diabetes"])
def test_from_estimator_compares_with_the_probes(case, request):
    case = request.getfixturevalue(case)
    display = FidelityDisplay.from_estimator(case.estimator, case.X_query, case.y_query)
    score = case.estimator.score(case.X_query, case.y_query)
    assert fidelity_score(display.predicted, display.measured) == pytest.approx(score, nan_ok=True)
    expected = mean_rank_correlation(display.predicted, display.measured)
    assert display.rank_correlation == pytest.approx(expected, nan_ok=True)
    columns = np.searchsorted(case.attributor.groups_, case.attributor.fidelity_.groups)
    inputs = (
        case.X_query
        if case.attributor is case.estimator
        else case.estimator[:-1].transform(case.X_query)
    )
    effects = case.attributor.attribute(inputs, case.y_query)[:, columns]
    np.testing.assert_allclose(display.predicted, effects, rtol=1e-6)
    assert "probes" in display.ax_.get_ylabel()
    assert_readable(display.figure_)


def test_without_probes_there_is_nothing_to_compare_with():
    X = np.random.RandomState(0).normal(size=(30, 3))
    attributor = SynsetAttributor(n_groups=4, **{**OPTIONS, "n_probes": 0})
    attributor.fit(X, np.arange(30) % 2)
    with pytest.raises(ValueError, match="fit with n_probes above 0"):
        FidelityDisplay.from_estimator(attributor, X)


def test_it_draws_on_given_axes():
    _, ax = plt.subplots()
    assert FidelityDisplay.from_effects(*effects_of(5, 4), ax=ax).ax_ is ax
