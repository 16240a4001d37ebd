"""scikit-learn's own checks of an estimator, on the network that is built when none is given.

Every check that is expected to fail is listed with its reason. xfails are strict (setup.cfg), so
that an entry that starts to pass fails the run.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_synset import SynsetAttributor

SHORT = {
    "check_sample_weight_equivalence_on_dense_data": (
        "k-means groups and minibatches are of rows, whatever their weights"
    )
}
EXPECTED_FAILED_CHECKS = SHORT | {
    "check_transformer_n_iter": "nothing is distilled by default: max_iter='auto' is 0 steps"
}

# The checks' random labels leave little to agree on.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


def expected_failed_checks(estimator):
    return EXPECTED_FAILED_CHECKS


@parametrize_with_checks(
    [SynsetAttributor(solver="rewind", max_iter=2, n_steps=4, n_probes=0)],
    expected_failed_checks=lambda _: SHORT,
)
def test_a_short_distillation_passes_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([SynsetAttributor()], expected_failed_checks=expected_failed_checks)
def test_the_defaults_pass_scikit_learns_checks(estimator, check):
    check(estimator)
