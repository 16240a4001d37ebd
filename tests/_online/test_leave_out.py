"""How many networks are trained side by side."""

from types import SimpleNamespace

import pytest
import torch

from sklearn_synset._online._leave_out import LeaveOut


def leave_out(batch_size):
    fields = {"solver": "gradient_descent", "rewind": 0.5, "n_steps": 5, "step_size": "auto"}
    return SimpleNamespace(batch_size=batch_size, **fields)


@pytest.mark.parametrize(
    ("n_parameters", "dtype", "batch_size", "n_rows", "expected"),
    [
        # 256 MiB of weights, eight copies of each network's.
        (2**20, torch.float64, 10**9, 1, 4),
        (2**20, torch.float32, 10**9, 1, 8),
        (2**30, torch.float64, 10**9, 1, 1),
        # Sixteen times as many rows as in a batch.
        (1, torch.float64, 100, 50, 32),
        (1, torch.float64, 1, 10**6, 1),
    ],
)
def test_weights_and_rows_keep_to_the_budget(n_parameters, dtype, batch_size, n_rows, expected):
    model = SimpleNamespace(n_parameters=n_parameters, theta=torch.zeros(1, dtype=dtype))
    found = LeaveOut.n_networks(leave_out(batch_size), model, n_rows)
    assert found == expected
