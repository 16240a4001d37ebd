"""Whatever form rows, labels and groups have: the same answer as plain arrays, or a known error."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.bad_inputs import cases
from tests.problems import mlp, seeded, train

FAST = {"max_iter": 2, "n_steps": 4, "n_probes": 0, "random_state": 0}
KNOWN = [(case.error, case.says) for _, case in cases()]
DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint16, np.bool_, np.object_]
LAYOUTS = {
    "plain": np.array,
    "column by column": np.asfortranarray,
    "every other": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "read-only": lambda X: (
        np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape) if X.dtype != object else X
    ),
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
    "mixed frame": lambda X: pd.DataFrame(
        {f"x{i}": X[:, i].astype(np.float32 if i % 2 else float) for i in range(X.shape[1])}
    ),
}
LABELS = {
    "numbers": lambda codes: codes,
    "far apart": lambda codes: 1000 - 7 * codes,
    "floats": lambda codes: codes.astype(float),
    "words": lambda codes: np.array([f"class {code}" for code in codes]),
    "objects": lambda codes: np.array([f"class {code}" for code in codes], dtype=object),
    "bytes": lambda codes: np.array([b"%d" % code for code in codes]),
    "truth": lambda codes: codes > 0,
    "dates": lambda codes: np.datetime64("2024-02-28") + codes,
    "list": lambda codes: codes.tolist(),
    "series": lambda codes: pd.Series(codes, index=range(7, 7 + len(codes))),
    "categories": lambda codes: pd.Series(pd.Categorical(codes.astype(str))),
    "nullable": lambda codes: pd.array(codes, dtype="Int64"),
}


@st.composite
def problems(draw):
    """Draw rows with all their peculiarities, labels, and groups."""
    n, d = draw(st.integers(4, 14)), draw(st.integers(1, 3))
    rng = np.random.RandomState(draw(st.integers(0, 3)))
    X = rng.normal(size=(n, d)) * 10.0 ** draw(st.sampled_from([-300, -12, -3, 0, 0, 1, 4, 12]))
    peculiarity = draw(st.sampled_from(["none", "constant feature", "repeated rows", "all equal"]))
    if peculiarity == "constant feature":
        X[:, 0] = 3
    elif peculiarity == "repeated rows":
        X = X[np.arange(n) // 3]
    elif peculiarity == "all equal":
        X = np.ones_like(X)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = X.astype(draw(st.sampled_from(DTYPES)))
    codes = np.arange(n) % draw(st.sampled_from([1, 2, 3, n]))
    kind = draw(st.sampled_from([None, None, *LABELS]))
    groups = None if kind is None else LABELS[kind](np.arange(n) % draw(st.integers(1, n)))
    n_groups = draw(st.sampled_from(["auto", 2, 3, n]))
    labels = draw(st.sampled_from(list(LABELS)))
    return X, codes, labels, groups, n_groups, draw(st.sampled_from(list(LAYOUTS)))


def attributor_for(d, n_classes, n_groups="auto"):
    module = seeded(lambda: nn.Linear(d, n_classes).double())
    return SynsetAttributor(module, n_groups=n_groups, **FAST)


@settings(max_examples=25)
@given(problems())
@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
@pytest.mark.filterwarnings("ignore:The distillation diverged")
def test_any_form_of_input_works_or_gets_a_known_error(problem):
    X, codes, labels, groups, n_groups, layout = problem
    y = LABELS[labels](codes)
    n_classes = len(np.unique(np.asarray(y)))
    attributor = attributor_for(X.shape[1], n_classes, n_groups)
    given_rows = LAYOUTS[layout](X)
    try:
        effects = attributor.fit(given_rows, y, groups=groups).attribute(given_rows, y)
        scores = attributor.score_samples(given_rows, y)
        judged = attributor.transform(given_rows)
    except (TypeError, ValueError, FloatingPointError) as error:
        known = [says for kind, says in KNOWN if isinstance(error, kind) and says in str(error)]
        assert known, f"unknown error: {error!r}"
        return
    shape = len(X), len(attributor.groups_)
    assert effects.shape == judged.shape == shape and scores.shape == shape[:1]
    assert all(np.isfinite(each).all() for each in (effects, scores, judged))
    single = X.dtype == np.float32 and layout not in ("list", "mixed frame")
    assert effects.dtype == (np.float32 if single else np.float64)
    if layout != "plain":
        plain = attributor_for(X.shape[1], n_classes, n_groups)
        expected = plain.fit(np.asarray(given_rows, dtype=X.dtype), y, groups=groups)
        if np.asarray(given_rows).dtype == X.dtype:
            np.testing.assert_allclose(
                expected.attribute(X, y), effects, rtol=1e-6, atol=1e-9 * np.abs(effects).max()
            )


@pytest.mark.parametrize("kind", [kind for kind in LABELS if kind != "bytes"])
def test_every_kind_of_label_names_the_same_groups_and_classes(kind):
    X, codes = np.random.RandomState(0).normal(size=(12, 2)), np.arange(12) % 2
    plain = attributor_for(2, 2).fit(X, codes, groups=codes)
    named = attributor_for(2, 2).fit(X, LABELS[kind](codes), groups=LABELS[kind](codes))
    order = [0, 1] if kind != "far apart" else [1, 0]
    if kind != "far apart":  # the network's outputs are in sorted order
        np.testing.assert_array_equal(named.transform(X), plain.transform(X)[:, order])
    assert list(named.groups_) == list(np.unique(np.asarray(LABELS[kind](codes))))
    network = named.leave_out([named.groups_[0]])
    assert torch.isfinite(network.weight).all()


@settings(max_examples=6)
@given(st.integers(1, 7), st.sampled_from(["transform", "score_samples", "attribute"]))
def test_queries_do_not_depend_on_their_company(n, method):
    attributor = _FITTED.setdefault("fitted", _fitted())
    X = np.random.RandomState(n).normal(size=(n, 4))
    together = getattr(attributor, method)(X)
    alone = np.concatenate([getattr(attributor, method)(row[None]) for row in X])
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)


_FITTED = {}


def _fitted():
    rng = np.random.RandomState(0)
    return SynsetAttributor(mlp(), n_groups=6, **FAST).fit(
        rng.normal(size=(30, 4)), np.arange(30) % 3
    )


# Numerics


def trained(dtype, loss):
    rng = np.random.RandomState(3)
    X = rng.normal(size=(60, 4))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0) if loss == "labels" else X[:, 0] * X[:, 1]
    n_outputs, criterion = (3, nn.CrossEntropyLoss()) if loss == "labels" else (1, nn.MSELoss())
    module = mlp(n_outputs=n_outputs)
    train(module, X, y if loss == "labels" else y[:, None], criterion, n_steps=80)
    return module.to(dtype), X, y


@pytest.mark.parametrize("loss", ["labels", "values"])
def test_single_precision_agrees_with_double_precision(loss):
    answers = []
    for dtype in (torch.float64, torch.float32):
        module, X, y = trained(dtype, loss)
        settings = {"n_groups": 6, "max_iter": 0, "n_probes": 0, "random_state": 0}
        # Planned steps may differ by one, where rounding decides when the loss is back.
        attributor = SynsetAttributor(module, n_steps=20, rewind=0.3, solver="rewind", **settings)
        answers.append(attributor.fit(X, y).attribute(X, y))
    scale = np.abs(answers[0]).max()
    # Half the digits of single precision, against the largest effect.
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=3.5e-4 * scale)


def perfectly_fitted(loss):
    """Return a network, and rows and targets that it fits without error in some groups."""
    rng = np.random.RandomState(1)
    X, groups = rng.normal(size=(36, 4)), np.arange(36) // 6
    module = mlp(n_outputs=1 if loss == "values" else 3)
    with torch.no_grad():
        if loss == "labels":
            module[2].weight.mul_(1e4)
        outputs = module(torch.tensor(X)).numpy()
    if loss == "values":
        return module, X, outputs[:, 0] + np.where(groups < 3, 0, rng.normal(size=36)), groups
    return module, X, np.where(groups < 3, outputs.argmax(1), np.arange(36) % 3), groups


@pytest.mark.filterwarnings("ignore:Attributions agree badly")
@pytest.mark.parametrize("removal", ["leave_one_out", "subsets"])
@pytest.mark.parametrize("loss", ["labels", "values"])
def test_groups_that_are_fitted_without_error_give_finite_effects(loss, removal):
    module, X, y, groups = perfectly_fitted(loss)
    params = {"max_iter": 8, "n_steps": 10, "n_probes": 3, "n_removals": 8, "random_state": 0}
    attributor = SynsetAttributor(module, removal=removal, **params).fit(X, y, groups=groups)
    assert np.isfinite(attributor.attribute(X, y)).all()
    assert np.isfinite(attributor.score_samples(X, y)).all()
    assert np.isfinite(attributor.score(X, y))
    assert all(p.isfinite().all() for p in attributor.leave_out([0, 1]).parameters())
    assert np.isfinite(attributor.matching_loss_curve_).all()


def test_all_groups_fitted_without_error_have_next_to_no_effect():
    X = np.random.RandomState(1).normal(size=(36, 4))
    module = mlp(n_outputs=1)
    y = module(torch.tensor(X)).detach().numpy()[:, 0]
    settings = FAST | {"max_iter": 0, "synset_size": 1000}
    attributor = SynsetAttributor(module, n_groups=6, rewind=0.0, **settings).fit(X, y)
    assert np.abs(attributor.transform(X)).max() < 1e-9


@pytest.mark.filterwarnings("ignore:Attributions agree badly")
@pytest.mark.parametrize("spread", [1, 1e3, 1e6])
def test_badly_conditioned_curvature_is_followed_or_reported(spread):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 4)) * np.geomspace(1, spread, 4), rng.normal(size=40)
    module = seeded(lambda: nn.Linear(4, 1).double())
    attributor = SynsetAttributor(module, n_groups=4, max_iter=4, random_state=0)
    try:
        found = attributor.fit(X, y).attribute(X, y)
    except FloatingPointError as error:
        assert "Scale the features" in str(error)
    else:
        assert np.isfinite(found).all()


@pytest.mark.filterwarnings("ignore:Attributions agree badly")
@pytest.mark.parametrize("gain", [1, 30, 1e3])
def test_networks_that_explode_are_followed_or_reported(gain):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 4)), np.arange(40) % 3
    module = mlp(n_hidden=20)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(gain)
    attributor = SynsetAttributor(module, n_groups=4, max_iter=4, n_steps=20, random_state=0)
    try:
        found = attributor.fit(X, y).attribute(X, y)
    except FloatingPointError as error:
        assert "step_size" in str(error)
    else:
        assert np.isfinite(found).all()


def test_a_learning_rate_that_is_too_large_is_warned_of():
    X, y = np.random.RandomState(0).normal(size=(30, 4)), np.arange(30) % 3
    settings = FAST | {"max_iter": 8, "learning_rate": 1e30}
    attributor = SynsetAttributor(mlp(), n_groups=6, **settings)
    with pytest.warns(UserWarning, match="starting rows are kept; lower learning_rate"):
        attributor.fit(X, y)
    assert np.isfinite(attributor.transform(X)).all()
