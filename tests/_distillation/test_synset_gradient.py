import pytest
import torch

from sklearn_synset._curvature.group_gradient import group_gradients
from sklearn_synset._distillation.synset_gradient import padded_layout, synset_gradients
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model
from tests.reference import group_gradients_by_loop

CODES = torch.tensor([2, 0, 1, 1, 0, 2, 1, 1, 2, 1, 0, 1])


def rows_by_group(codes=CODES):
    return [(codes == k).nonzero()[:, 0] for k in range(int(codes.max()) + 1)]


def synset_of(X, targets, weight, group, group_size):
    return Synset(X, targets, weight, group, torch.as_tensor(group_size, dtype=X.dtype))


def gradients_of(model, synset):
    position, is_row = padded_layout(synset)
    share = synset.weight[position] * is_row / synset.n_rows
    return synset_gradients(model, model.theta, synset.X[position], synset.y[position], share)


@pytest.mark.parametrize("problem", [classification_model, regression_model])
def test_the_real_rows_as_a_synset_have_the_groups_gradients(problem):
    model, X, targets = problem(len(CODES))
    order = torch.argsort(CODES, stable=True)
    synset = synset_of(
        X[order], targets[order], torch.ones(len(X), dtype=X.dtype), CODES[order], CODES.bincount()
    )
    expected = group_gradients(model, model.theta, X, targets, rows_by_group(), 4096)
    torch.testing.assert_close(gradients_of(model, synset), expected)


def test_weighted_synset_gradients_equal_a_loop():
    model, X, targets = classification_model(len(CODES))
    weight = torch.linspace(0.5, 2.0, len(X), dtype=X.dtype)
    weight = weight * len(X) / weight.sum()
    sizes = torch.zeros(3, dtype=X.dtype).index_add(0, CODES, weight)
    expected = group_gradients_by_loop(model, model.theta, X, targets, CODES, weight)
    actual = gradients_of(model, synset_of(X, targets, weight, CODES, sizes))
    torch.testing.assert_close(actual, expected)


def test_synset_gradients_are_differentiable_in_the_rows():
    model, X, targets = regression_model(4)

    def total(rows):
        share = torch.full((2, 2), 0.25, dtype=X.dtype)
        gradients = synset_gradients(
            model, model.theta, rows.reshape(2, 2, -1), targets.reshape(2, 2, -1), share
        )
        return gradients.square().sum()

    assert torch.autograd.gradcheck(total, X.clone().requires_grad_())


def test_the_layout_holds_every_row_once_in_its_groups_line():
    group = torch.tensor([1, 0, 1, 1, 3])
    rows = torch.zeros(5, 2)
    synset = synset_of(rows, rows, torch.ones(5), group, [1, 3, 1, 1])
    position, is_row = padded_layout(synset)
    assert is_row.sum(1).tolist() == [1, 3, 0, 1]
    lines = [p[line > 0].tolist() for p, line in zip(position, is_row, strict=True)]
    assert lines == [[1], [0, 2, 3], [], [4]]
