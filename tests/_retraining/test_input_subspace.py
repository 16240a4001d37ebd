import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_synset._retraining.preconditioning import input_subspace as module
from sklearn_synset._retraining.preconditioning.input_subspace import input_subspace
from sklearn_synset._retraining.synset import Synset
from tests.problems import functional, mlp, seeded

N, D, RANK = 30, 20, 3


def rows(n_rows=N, noise=0.0, shape=(D,)):
    """Return inputs that vary in three directions, but for some noise."""
    generator = torch.Generator().manual_seed(0)
    inner = torch.randn(n_rows, RANK, generator=generator, dtype=torch.float64)
    X = inner @ torch.randn(RANK, D, generator=generator, dtype=torch.float64)
    X = X + noise * torch.randn(n_rows, D, generator=generator, dtype=torch.float64)
    return X.reshape(n_rows, *shape)


def problem(build=None, X=None):
    X = rows() if X is None else X
    labels, group = torch.arange(len(X)) % 3, torch.arange(len(X)) % 2
    module = mlp(D) if build is None else seeded(build).double()
    model = functional(module, X.numpy(), labels.numpy(), np.arange(3), 0.01)
    weight = torch.ones(len(X)).double()
    return model, Synset(X, torch.eye(3).double()[labels], weight, group, group.bincount().to(X))


def layers(bias=True):
    return nn.Linear(D, 5, bias=bias), nn.Tanh(), nn.Linear(5, 3)


class Reads(nn.Module):
    """Looks up the width of its first layer, as many modules do."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(D, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x.reshape(-1, self.first.in_features))))


@pytest.mark.parametrize(
    ("build", "shape", "layer", "start"),
    [
        (None, (D,), "0", 0),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(D, 5), nn.ReLU(), nn.Linear(5, 3)),
            (4, 5),
            "1",
            0,
        ),
        (Reads, (D,), "first", 0),
        (
            lambda: nn.Sequential(nn.Sequential(nn.Linear(D, 4, bias=False)), nn.Linear(4, 3)),
            (D,),
            "0.0",
            0,
        ),
    ],
)
def test_a_narrowed_network_moves_as_the_whole_does(build, shape, layer, start):
    model, synset = problem(build, rows(shape=shape))
    found = input_subspace(model, synset, seed=0)
    assert (found.layer, found.start, found.basis.shape) == (layer, start, (D, RANK))
    narrowed = found.narrow(model)
    assert narrowed.n_parameters == model.n_parameters - found.width * (D - RANK)
    assert narrowed.names == model.names
    torch.testing.assert_close(narrowed(narrowed.theta, synset.X), model(model.theta, synset.X))
    generator = torch.Generator().manual_seed(1)
    step = torch.randn(2, narrowed.n_parameters, generator=generator, dtype=torch.float64)
    whole = found.lift(step)
    assert whole.shape == (2, model.n_parameters)
    for own, lifted in zip(step, whole, strict=True):
        torch.testing.assert_close(
            narrowed(narrowed.theta + own, synset.X), model(model.theta + lifted, synset.X)
        )
    # Lengths stay the same, and with them what weight decay and damping ask for.
    torch.testing.assert_close(whole.norm(dim=1), step.norm(dim=1))


@pytest.mark.parametrize(
    ("build", "shape", "is_chain"),
    [
        (None, (D,), True),
        (
            lambda: nn.Sequential(
                nn.Flatten(),
                nn.Linear(D, 5, bias=False),
                activation := nn.Tanh(),
                nn.Linear(5, 4),
                activation,
                nn.Linear(4, 3),
            ),
            (4, 5),
            True,
        ),
        (Reads, (D,), False),
        (lambda: nn.Sequential(nn.Sequential(*layers())), (D,), False),
    ],
)
def test_rows_of_a_chain_of_layers_are_projected_once(build, shape, is_chain):
    model, synset = problem(build, rows(shape=shape))
    found = input_subspace(model, synset, seed=0)
    narrowed = found.narrow(model)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    network, projected = found.projected(narrowed, synset)
    assert torch.equal(torch.get_rng_state(), state)
    assert (projected.X.shape == (N, RANK)) is is_chain
    assert (network is narrowed) == (projected is synset) == (not is_chain)
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(narrowed.n_parameters, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(network(theta, projected.X), narrowed(theta, synset.X))
    torch.testing.assert_close(projected.y, synset.y)


def test_a_network_that_is_watched_from_outside_is_left_whole():
    model, synset = problem()
    model.module.register_forward_hook(lambda module, given, output: 2 * output)
    found = input_subspace(model, synset, seed=0)
    narrowed = found.narrow(model)
    assert found.projected(narrowed, synset) == (narrowed, synset)


def test_flat_rows_of_images_are_projected_in_their_shape():
    images = rows(shape=(4, 5))
    model, _ = problem(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(D, 5), nn.Linear(5, 3)), images
    )
    _, synset = problem()
    shaped = replace(model, input_shape=(4, 5))
    found = input_subspace(shaped, synset, seed=0)
    narrowed = found.narrow(shaped)
    network, projected = found.projected(narrowed, synset)
    theta = narrowed.theta
    torch.testing.assert_close(network(theta, projected.X), narrowed(theta, synset.X))


def test_weights_in_front_of_the_layer_keep_their_place():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift, self.network = nn.Parameter(torch.ones(3)), nn.Sequential(*layers())

        def forward(self, x):
            return self.network(x) + self.shift

    model, synset = problem(Shifted)
    found = input_subspace(model, synset, 0)
    assert found.start == 3
    step = torch.arange(float(found.narrow(model).n_parameters), dtype=torch.float64)[None]
    lifted = found.lift(step)
    assert torch.equal(lifted[0, :3], step[0, :3])
    assert torch.equal(lifted[0, 3 + 5 * D :], step[0, 3 + 5 * RANK :])


def test_the_components_are_the_leading_eigenvectors_of_the_second_moments():
    X = rows(noise=0.05)
    model, synset = problem(X=X)
    found = input_subspace(model, synset, 0)
    moments, vectors = torch.linalg.eigh(X.T @ X / N)
    rank = len(found.moments)
    torch.testing.assert_close(found.moments, moments.flip(0)[:rank])
    overlap = (found.basis.T @ vectors.flip(1)[:, :rank]).abs()
    torch.testing.assert_close(overlap, torch.eye(rank).double())
    kept = moments.flip(0).cumsum(0) / moments.sum()
    assert kept[rank - 1] >= 0.99 > (kept[rank - 2] if rank > 1 else 0)


def test_fewer_rows_than_inputs_give_the_same_components():
    X = rows(noise=0.05)[:12]
    model, synset = problem(X=X)
    found = input_subspace(model, synset, 0)
    expected = torch.linalg.eigvalsh(X.T @ X / 12).flip(0)[: len(found.moments)]
    torch.testing.assert_close(found.moments, expected)
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(len(expected)).double())


def test_inputs_of_zeros_have_no_components_to_speak_of():
    model, synset = problem(X=torch.zeros(12, D, dtype=torch.float64))
    found = input_subspace(model, synset, 0)
    assert found.moments.tolist() == [0.0]
    narrowed = found.narrow(model)
    torch.testing.assert_close(narrowed(narrowed.theta, synset.X), model(model.theta, synset.X))


@pytest.mark.parametrize(("share", "is_found"), [(RANK / D, True), (0.99 * RANK / D, False)])
def test_no_subspace_of_almost_all_inputs(monkeypatch, share, is_found):
    model, synset = problem()
    monkeypatch.setattr(module, "_LARGEST_SHARE", share)
    assert (input_subspace(model, synset, 0) is not None) is is_found


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(D, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)) + self.first(x.flip(1)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.other, self.last = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, 3)
        self.other.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.tanh(self.other(torch.tanh(self.first(x)))))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (Twice, (D,)),
        (Tied, (D,)),
        (lambda: nn.Sequential(nn.Conv1d(1, 2, 1), nn.Flatten(), nn.Linear(2 * D, 3)), (1, D)),
        (lambda: nn.Sequential(nn.Linear(5, 5), nn.Flatten(), nn.Linear(D, 3)), (4, 5)),
        (lambda: nn.Sequential(nn.LayerNorm(D), *layers()), (D,)),
    ],
)
def test_no_subspace_where_no_layer_is_given_fixed_inputs_once(build, shape):
    model, synset = problem(build, rows(shape=shape))
    assert input_subspace(model, synset, 0) is None


def test_inputs_may_come_from_layers_that_are_not_trained():
    def build():
        frozen = nn.Linear(D, D)
        frozen.requires_grad_(False)
        return nn.Sequential(frozen, *layers())

    model, synset = problem(build)
    found = input_subspace(model, synset, 0)
    assert found.layer == "1" and found.start == 0
    inputs = model.module[0](synset.X)
    narrowed = found.narrow(model)
    projected = inputs @ found.basis @ found.basis.T
    expected = model.module[1:](projected)
    torch.testing.assert_close(narrowed(narrowed.theta, synset.X), expected)


def test_the_network_and_its_hooks_stay_as_they_were():
    model, synset = problem()
    found = input_subspace(model, synset, 0)
    found.narrow(model)
    assert not model.module[0]._forward_pre_hooks and model.module[0].weight.shape == (5, D)
    assert not any(weight.requires_grad for weight in model.module.parameters())


def test_a_module_is_not_copied_while_it_runs_on_other_weights():
    model, synset = problem()
    found, copied = input_subspace(model, synset, 0), []
    with model._turn:
        thread = threading.Thread(target=lambda: copied.append(found.narrow(model)))
        thread.start()
        thread.join(0.2)
        assert not copied
    thread.join()
    assert len(copied) == 1
