import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq

from sklearn_synset._attribution import row_allocation as module
from sklearn_synset._attribution.row_allocation import share_out, share_out_remainder

CODES = np.array([0, 2, 1, 0, 2, 2, 1, 0, 2, 0])
MEMBERSHIP = np.eye(3)[CODES]


def problem(seed=0, n_queries=4):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n_queries, 3)), rng.normal(size=(n_queries, len(CODES)))


def share_by_root_finding(scores, effects):
    """Share one query's scores out, with a tilt that is searched for."""
    sums = effects @ MEMBERSHIP
    norms = np.linalg.norm(scores) * np.linalg.norm(sums)
    effects = effects * max(scores @ sums, 0.1 * norms) / (sums @ sums)
    floor = np.abs(effects).mean() / 2
    helpful = (np.sqrt(effects**2 + 4 * floor**2) + effects) / 2
    harmful = helpful - effects
    shares = np.empty_like(effects)
    for group, score in enumerate(scores):
        p, m = helpful[group == CODES], harmful[group == CODES]
        log_tilt = brentq(
            lambda t, p=p, m=m, score=score: (p * np.exp(t) - m * np.exp(-t)).sum() - score,
            *(-50, 50),
            xtol=1e-14,
        )
        shares[group == CODES] = p * np.exp(log_tilt) - m * np.exp(-log_tilt)
    return shares


@pytest.mark.parametrize("seed", range(5))
def test_shares_equal_those_whose_tilt_is_searched_for(seed):
    scores, effects = problem(seed)
    expected = [share_by_root_finding(*query) for query in zip(scores, effects, strict=True)]
    np.testing.assert_allclose(share_out(scores, effects, CODES), expected, rtol=1e-9, atol=1e-11)


finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.mark.parametrize("share", [share_out, share_out_remainder])
@given(
    scores=arrays(np.float64, (2, 3), elements=finite),
    effects=arrays(np.float64, (2, 10), elements=finite),
)
@settings(deadline=None, max_examples=200)
def test_shares_are_finite_and_add_up_to_the_groups_score(share, scores, effects):
    shares = share(scores, effects, CODES)
    assert np.isfinite(shares).all()
    scale = np.abs(scores).max() + np.abs(shares).max()
    np.testing.assert_allclose(shares @ MEMBERSHIP, scores, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("share", [share_out, share_out_remainder])
def test_effects_that_already_add_up_stay_as_they_are(share):
    _, effects = problem()
    np.testing.assert_allclose(share(effects @ MEMBERSHIP, effects, CODES), effects)


@pytest.mark.parametrize("factor", [1e-30, 3.0, 1e30])
def test_the_unit_of_the_effects_does_not_matter(factor):
    scores, effects = problem()
    expected = share_out(scores, effects, CODES)
    np.testing.assert_allclose(share_out(scores, factor * effects, CODES), expected)


def test_shares_have_the_unit_of_the_scores():
    scores, effects = problem()
    expected = share_out(scores, effects, CODES)
    np.testing.assert_allclose(share_out(7 * scores, effects, CODES), 7 * expected)


def test_rows_keep_their_order_within_the_group_and_equal_rows_their_equality():
    scores, effects = problem()
    effects[:, 3] = effects[:, 0]
    shares = share_out(scores, effects, CODES)
    np.testing.assert_array_equal(shares[:, 3], shares[:, 0])
    for group in range(3):
        members = group == CODES
        order = np.argsort(effects[:, members], axis=1, kind="stable")
        sorted_shares = np.take_along_axis(shares[:, members], order, axis=1)
        assert (np.diff(sorted_shares, axis=1) >= 0).all()


@pytest.mark.parametrize("score", [-2.0, 0.0, 2.0])
def test_effects_that_cancel_do_not_blow_up(score):
    scores = np.array([[1.0, 1.0, score]])
    effects = np.zeros((1, len(CODES)))
    effects[0, CODES == 0] = effects[0, CODES == 1] = 0.5
    effects[0, CODES == 2] = [1.0, -1.0, 1e-3, -1e-3]
    assert np.abs(share_out(scores, effects, CODES)).max() < 4


@pytest.mark.parametrize("share", [share_out, share_out_remainder])
def test_where_no_row_has_an_effect_shares_are_equal(share):
    scores, effects = problem()
    expected = (scores / MEMBERSHIP.sum(0))[:, CODES]
    np.testing.assert_allclose(share(scores, 0 * effects, CODES), expected)


def test_effects_against_the_scores_still_order_the_rows():
    scores, effects = problem()
    scores = -(effects @ MEMBERSHIP)
    shares = share_out(scores, effects, CODES)
    first = CODES == 0
    assert (np.argsort(shares[:, first]) == np.argsort(effects[:, first])).all()
    assert np.ptp(shares[:, first], axis=1).min() > 0


@pytest.mark.parametrize("share", [share_out, share_out_remainder])
def test_permuting_rows_or_queries_permutes_the_shares(share):
    scores, effects = problem()
    expected = share(scores, effects, CODES)
    rows, queries = np.random.RandomState(0).permutation(len(CODES)), [2, 0, 3, 1]
    actual = share(scores[queries], effects[queries][:, rows], CODES[rows])
    np.testing.assert_allclose(actual, expected[queries][:, rows])


@pytest.mark.parametrize("seed", range(3))
def test_a_remainder_goes_to_the_rows_of_its_direction_by_their_squared_effects(seed):
    scores, effects = problem(seed)
    shares = share_out_remainder(scores, effects, CODES)
    for query in range(len(scores)):
        for group in range(3):
            own, change = effects[query, group == CODES], (shares - effects)[query, group == CODES]
            remainder = scores[query, group] - own.sum()
            claims = np.where(own * remainder > 0, own, 0) ** 2
            if not claims.any():
                claims = np.ones_like(claims)
            expected = remainder * claims / claims.sum()
            np.testing.assert_allclose(change, expected, rtol=0, atol=0.02 * abs(remainder))


def test_a_remainder_that_no_row_acts_in_the_direction_of_is_shared_equally():
    effects = np.array([[-1.0, -2.0, -3.0, 1.0]])
    shares = share_out_remainder(np.array([[0.0, 1.0]]), effects, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(shares, [[1.0, 0.0, -1.0, 1.0]], atol=1e-12)


def test_a_remainder_and_its_rows_have_one_unit():
    scores, effects = problem()
    expected = share_out_remainder(scores, effects, CODES)
    shares = share_out_remainder(7 * scores, 7 * effects, CODES)
    np.testing.assert_allclose(shares, 7 * expected)


def test_effects_far_above_all_scores_are_no_measure_of_size():
    scores, effects = problem()
    shares = share_out_remainder(scores, 1e9 * effects, CODES)
    assert np.abs(shares).max() < 30 * np.abs(scores).max()


@pytest.mark.parametrize("share", [share_out, share_out_remainder])
def test_the_arguments_stay_as_they_were(share):
    scores, effects = problem()
    copies = scores.copy(), effects.copy()
    share(scores, effects, CODES)
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(effects, copies[1])


@pytest.mark.parametrize("seed", range(3))
def test_a_remainder_is_shared_by_the_formula(seed):
    scores, effects = problem(seed)
    expected = effects.copy()
    for query in range(len(scores)):
        size = np.abs(effects[query]).mean()
        for group in range(3):
            own = effects[query, group == CODES]
            remainder = scores[query, group] - own.sum()
            claims = (np.maximum(own * np.sign(remainder), 0) / size + 1e-3) ** 2
            expected[query, group == CODES] += remainder * claims / claims.sum()
    np.testing.assert_allclose(share_out_remainder(scores, effects, CODES), expected, rtol=1e-9)


def test_what_rounding_left_is_spread_evenly_over_each_group():
    scores, shares = np.array([[6.0, 1.0]]), np.array([[1.0, 2.0, 2.0]])
    codes = np.array([0, 0, 1])
    membership = module._membership(codes, 2)
    spread = module._without_rounding(shares, scores, codes, membership)
    np.testing.assert_allclose(spread, [[2.5, 3.5, 1.0]])


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_effects_whose_squares_cannot_be_held_are_shared_by(factor):
    scores, effects = problem()
    expected = share_out(scores, effects, CODES)
    np.testing.assert_allclose(share_out(scores, factor * effects, CODES), expected)


def test_nothing_is_divided_by_what_is_almost_nothing():
    values = np.array([[1.0], [1.0], [1.0]])
    divisor = np.array([[2.0], [1e-150], [1e-160]])
    np.testing.assert_allclose(module._ratio(values, divisor), [[0.5], [1e150], [0.0]])
