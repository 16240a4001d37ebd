import numpy as np
import pytest
import torch

from sklearn_synset._attribution.datamodel import datamodel_weights, random_halves


@pytest.mark.parametrize(("n_groups", "n_kept"), [(2, 1), (7, 4), (10, 5)])
def test_halves_keep_half_of_the_groups(n_groups, n_kept):
    kept = random_halves(50, n_groups, torch.Generator().manual_seed(0))
    assert kept.shape == (50, n_groups)
    assert set(kept.unique().tolist()) == {0, 1}
    assert (kept.sum(1) == n_kept).all()


def test_every_group_is_kept_equally_often():
    kept = random_halves(4000, 8, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(kept.mean(0), 0.5, atol=0.03)


@pytest.mark.parametrize("n_groups", [5, 6])
def test_a_planted_linear_model_is_recovered(n_groups):
    rng = np.random.RandomState(0)
    kept = random_halves(60, n_groups, torch.Generator().manual_seed(0))
    effects = rng.normal(size=(3, n_groups))
    # The number of groups that are left out never changes, so their mean effect is not seen.
    effects -= effects.mean(1, keepdims=True)
    measured = effects @ (1 - kept.numpy()).T + rng.normal(size=(3, 1))
    recovered = measured @ datamodel_weights(kept).numpy()
    np.testing.assert_allclose(recovered, effects, atol=1e-10)


def test_masks_of_any_size_recover_the_mean_effect_too():
    rng = np.random.RandomState(0)
    kept = torch.as_tensor(rng.randint(2, size=(60, 5)), dtype=torch.float64)
    effects = rng.normal(size=(3, 5))
    recovered = effects @ (1 - kept.numpy()).T @ datamodel_weights(kept).numpy()
    np.testing.assert_allclose(recovered, effects, atol=1e-10)
