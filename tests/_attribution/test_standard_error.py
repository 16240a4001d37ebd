"""The standard error over networks."""

import numpy as np
import pytest
from scipy.stats import sem

from sklearn_synset._attribution.standard_error import standard_error


def test_it_is_scipys():
    effects = np.random.RandomState(0).randn(5, 4, 3)
    np.testing.assert_allclose(standard_error(effects), sem(effects, axis=0), rtol=1e-12)


def test_networks_that_agree_have_none():
    assert (standard_error(np.ones((3, 2, 2))) == 0).all()


def test_one_network_tells_nothing():
    with pytest.raises(ValueError, match=r"n_models=2 or more, got n_models=1"):
        standard_error(np.ones((1, 2, 2)))


def test_two_networks_are_enough():
    np.testing.assert_allclose(standard_error(np.array([[1.0], [4.0]])), [1.5])
