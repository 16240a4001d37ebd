import math

import pytest
import torch

from sklearn_synset._retraining.preconditioning.preconditioner import Preconditioner, preconditioner
from sklearn_synset._retraining.removal import mean_loss
from sklearn_synset._retraining.rewinding import on_the_way
from tests._retraining.test_input_subspace import RANK, D, problem, rows


def bowl(curvature):
    """Return a loss with a curvature of its own along each weight."""
    return lambda network, theta: 0.5 * (curvature * theta.square()).sum()


def of_layers(model, *values):
    """Return a value (D,) for each weight, the same throughout a layer."""
    sizes = [math.prod(shape) for shape in model.shapes]
    per_parameter = torch.tensor(values).double().repeat_interleave(2)
    return per_parameter.repeat_interleave(torch.tensor(sizes))


@pytest.fixture
def whole(monkeypatch):
    """Return a network whose inputs vary everywhere, so that there is no subspace."""
    model, synset = problem(X=rows(noise=5.0))
    return model, synset


@pytest.mark.parametrize(
    ("curvatures", "expected"),
    [((64.0, 1.0), (1 / 32, 1.0)), ((64.0, 4.0), (1 / 32, 0.5)), ((1.0, 1.0), (1 / 32, 1 / 32))],
)
def test_layers_are_slowed_down_to_a_thirtysecond_of_the_largest_curvature(
    whole, curvatures, expected
):
    model, synset = whole
    found = preconditioner(model, synset, bowl(of_layers(model, *curvatures)), 0.5, 0)
    assert found.subspace is None and found.narrow(model) is model
    torch.testing.assert_close(found.scale, of_layers(model, *expected), rtol=0.02, atol=0)
    step = torch.ones(2, model.n_parameters)
    assert found.lift(step) is step


def test_components_of_the_inputs_are_slowed_down_by_their_moments():
    model, synset = problem()
    found = preconditioner(model, synset, bowl(torch.tensor(64.0)), 0.5, 0)
    subspace, width = found.subspace, 5
    assert len(found.scale) == found.narrow(model).n_parameters
    first, shift, rest = found.scale.split([width * RANK, width, len(found.scale) - width - 15])
    curvature = 64 * subspace.moments / subspace.moments[0]
    expected = (2 / curvature).clamp(max=1.0)
    torch.testing.assert_close(
        first.reshape(width, RANK), expected.expand(width, -1), rtol=0.02, atol=0
    )
    assert (shift == 1).all() and expected.unique().numel() == RANK
    torch.testing.assert_close(rest, torch.full_like(rest, 1 / 32), rtol=0.02, atol=0)


def test_the_largest_curvature_on_the_way_counts(whole):
    model, synset = whole
    asked = []

    def loss(network, theta):
        asked.append(theta.detach().clone())
        # Along the last layer the loss bends the more the farther the weights have come.
        bend = of_layers(model, 64.0, 0.0) + of_layers(model, 0.0, 32.0) * reached(theta)
        return 0.5 * (bend * (theta - theta.detach()).square()).sum()

    start, _, end = on_the_way(model, 0.5)

    def reached(theta):
        share = ((theta - start) @ (end - start)) / (end - start).square().sum()
        return share.detach().clamp(0, 1)

    found = preconditioner(model, synset, loss, 0.5, 0)
    torch.testing.assert_close(found.scale, of_layers(model, 1 / 32, 1 / 16), rtol=0.05, atol=0)
    assert asked


def test_it_lengthens_the_steps_of_a_network(monkeypatch):
    model, synset = problem()
    everything = torch.ones(2).double()

    def loss(network, theta):
        return mean_loss(network, synset, 0.0, theta, everything)

    def largest(scale, network):
        points = on_the_way(network, 0.5)
        dense = [torch.autograd.functional.hessian(lambda t: loss(network, t), p) for p in points]
        root = scale.sqrt()
        return max(
            float(torch.linalg.eigvalsh(root[:, None] * each * root).abs().max()) for each in dense
        )

    found = preconditioner(model, synset, loss, 0.5, 0)
    narrowed = found.narrow(model)
    before = largest(torch.ones_like(found.scale), narrowed)
    assert largest(found.scale, narrowed) < before / 4
    assert ((found.scale > 0) & (found.scale <= 1)).all()


def test_of_its_work_each_network_has_all_but_the_projection(whole):
    model, synset = problem()
    narrow = preconditioner(model, synset, bowl(torch.tensor(1.0)), 0.5, 0)
    assert narrow.flops_of_gradient(model, synset.X) == 3 * 2 * (RANK * 5 + 5 * 3)
    model, synset = whole
    assert Preconditioner(model.theta, None).flops_of_gradient(model, synset.X) == 3 * 2 * (
        D * 5 + 5 * 3
    )
