"""Displacements of first order, and their mixture with those of leave-out retraining."""

import pytest
import torch

from sklearn_synset._attribution.first_order_displacement import (
    blended,
    first_order_displacements,
)
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._retraining.gradient_path import retraining_path
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model
from tests.reference import gauss_newton_matrix

N_ROWS = 12
CODES = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
RETRAINING = Retraining(0.5, n_steps=10, step_size=0.05, damping=0.02)


@pytest.mark.parametrize("build", [classification_model, regression_model])
def test_it_is_the_solution_with_dense_matrices(build):
    model, X, targets = build(N_ROWS, 0.01)
    synset = Synset(X, targets, torch.ones(N_ROWS).to(X), CODES, CODES.bincount().to(X))
    rows = TrainingRows(X, targets, [(CODES == code).nonzero()[:, 0] for code in range(3)], 5)
    generator = torch.Generator().manual_seed(0)
    found = first_order_displacements(model, synset, rows, synset, RETRAINING, generator)
    path = retraining_path(model, synset, RETRAINING)
    gradients = path.gradients(model, X, targets)
    centred = gradients - gradients.mean(0)
    curvature = gauss_newton_matrix(model, model.theta, X)
    curvature += (0.01 + 0.02 + path.damping) * torch.eye(len(curvature)).to(X)
    of_rows = torch.linalg.solve(curvature, centred.T).T / N_ROWS
    torch.testing.assert_close(
        found, torch.stack([of_rows[CODES == code].sum(0) for code in range(3)])
    )
    # Leaving out every group in turn moves nothing on the whole.
    torch.testing.assert_close(found.sum(0), torch.zeros_like(model.theta))


def test_a_mixture_is_three_parts_to_one_of_equal_norm():
    generator = torch.Generator().manual_seed(0)
    displacement, first = torch.randn(2, 4, 6, generator=generator)
    expected = 0.75 * displacement + 0.25 * first * displacement.norm() / first.norm()
    torch.testing.assert_close(blended(displacement, first), expected)
    torch.testing.assert_close(blended(displacement, 50 * first), expected)
    torch.testing.assert_close(blended(displacement, 0.01 * first), expected)
    torch.testing.assert_close(blended(displacement, displacement), displacement)


def test_without_a_first_order_nothing_changes():
    displacement = torch.ones(2, 3)
    assert torch.equal(blended(displacement, torch.zeros(2, 3)), displacement)
