"""Statistics of columns that are read a few rows at a time."""

import numpy as np
import pytest
import torch

from sklearn_synset._data.column_statistics import column_statistics


@pytest.mark.parametrize("n_rows", [37, 4096, 9000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_do_not_depend_on_the_batches(n_rows, dtype):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n_rows, 2, 3)) * [1e-3, 1, 1e3] + 100
    rows = torch.tensor(X, dtype=dtype)
    X = rows.double().numpy()
    found = column_statistics(rows)
    rtol = 1e-12 if dtype == torch.float64 else 1e-4  # of 1e-3 at 100, float32 keeps two digits
    np.testing.assert_allclose(found.mean, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, X.std(0), rtol=rtol * 10)
    np.testing.assert_array_equal(found.lower, X.min(0))
    np.testing.assert_array_equal(found.upper, X.max(0))


def test_a_constant_column_has_no_spread():
    assert column_statistics(torch.full((5, 1), 0.1)).scale.item() == 0
