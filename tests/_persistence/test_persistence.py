"""What is saved comes back: every bit of every result, or an error that says what is missing."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.problems import mlp, seeded, small_conv

FAST = {"max_iter": 4, "n_steps": 6, "n_probes": 2, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Attributions agree badly"),
    pytest.mark.filterwarnings("ignore:The net's train_split:UserWarning"),
]


class Tied(nn.Module):
    """Has a parameter twice, one that is frozen, and a buffer that no state dict holds."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 3)
        self.head.bias.requires_grad_(False)
        self.register_buffer("gain", torch.rand(4), persistent=False)

    def forward(self, X):
        return self.head(self.second(torch.tanh(self.gain * self.first(X))))


BRIEF = {"max_epochs": 2, "train_split": None, "verbose": 0}


def net(cls, n_outputs, criterion, **params):
    settings = BRIEF | {"criterion": criterion}
    return cls(
        nn.Linear, module__in_features=4, module__out_features=n_outputs, **settings, **params
    )


class Sequence(nn.Module):
    """Reads features one after the other, and returns its state, too."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, X):
        outputs, state = self.layer(X[..., None])
        return self.head(outputs[:, -1]), state


class Dropped(nn.Module):
    """Draws masks and keeps statistics in training."""

    def __init__(self):
        super().__init__()
        norm = nn.BatchNorm1d(6)
        self.layers = nn.Sequential(
            nn.Linear(4, 6), norm, nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3)
        )

    def forward(self, X):
        return self.layers(X)


def stopped():
    """Return a net whose training has everything that a plan has to repeat."""
    return NeuralNetClassifier(
        Dropped,
        criterion=nn.CrossEntropyLoss,
        criterion__label_smoothing=0.1,
        optimizer=torch.optim.Adam,
        lr=0.02,
        max_epochs=5,
        batch_size=8,
        iterator_train__shuffle=True,
        train_split=ValidSplit(4),
        callbacks=[
            ("stop", EarlyStopping(patience=2, load_best=True)),
            ("schedule", LRScheduler("StepLR", step_size=2)),
        ],
        verbose=0,
    )


def brier(outputs, y):
    """An objective of the user's own."""
    return 2 * torch.softmax(outputs, -1)[..., torch.arange(len(y)), y]


def rows(n=48):
    rng = np.random.RandomState(0)
    return rng.normal(size=(n, 4)).astype(np.float32), np.arange(n) % 3


def form(name):
    """Return estimator, X, y, groups and parameters of a named form."""
    X, y = rows()
    value = X[:, 0] ** 2
    words = np.array(["cat", "dog", "emu"])
    sites = np.array(["north", "east", "south", "west"])[np.arange(48) // 3 % 4]
    classifier = net(NeuralNetClassifier, 3, nn.CrossEntropyLoss)
    days = np.datetime64("2024-02-27") + np.arange(48) // 3 % 4
    image = np.random.RandomState(1).normal(size=(48, 16))
    forms = {
        "none": (None, X, y, None, {}),
        "none-regression": (None, X, value, None, {}),
        "module": (mlp(dtype=torch.float32), X, words[y], sites, {}),
        "module-float64": (mlp(), X.astype(float), y, pd.Series(sites, dtype=object), {}),
        "tied": (seeded(Tied).train(), X, y, days, {}),
        "images": (small_conv(), image, y, None, {"input_shape": (1, 4, 4)}),
        "regression": (mlp(n_outputs=2), X, np.c_[value, X[:, 1]], None, {"objective": "loss"}),
        "net": (classifier, X, words[y].astype(object), None, {}),
        "regressor": (net(NeuralNetRegressor, 1, nn.MSELoss), X, value, None, {}),
        "frozen": (FrozenEstimator(seeded(lambda: clone(classifier).fit(X, y))), X, y, None, {}),
        "early stopping": (stopped(), X, y, sites, {"n_probes": 0}),
        "compressed": (classifier, X, y, sites, {"synset_size": 3}),
        "rewound": (classifier, X, y, sites, {"solver": "rewind"}),
        "recurrent": (seeded(Sequence), X, y, sites, {"sample_weight": 1 + y}),
        "several labels": (
            NeuralNet(mlp, module__dtype=torch.float32, criterion=nn.BCEWithLogitsLoss, **BRIEF),
            *(X, X[:, :3] > 0, sites, {"sample_weight": 1 + y, "objective": "loss"}),
        ),
        "halves": (mlp(), X, y, None, {"removal": "subsets", "n_removals": 5}),
        "several": (classifier, X, y, None, {"n_models": 2}),
        "callables": (mlp(), X, y, None, {"objective": brier}),
        "random-state": (mlp(), X, y, None, {"random_state": np.random.RandomState(5)}),
        "device": (mlp(), X, y, None, {"device": torch.device("cpu")}),
    }
    return forms[name]


FORMS = [
    "none",
    "none-regression",
    "module",
    "module-float64",
    "tied",
    "images",
    "regression",
    "net",
    "regressor",
    "frozen",
    "early stopping",
    "compressed",
    "rewound",
    "recurrent",
    "several labels",
    "halves",
    "several",
    "callables",
    "random-state",
    "device",
]


@pytest.fixture(scope="module")
def fitted():
    """Return what fits a form, once."""
    known = {}

    def fit(name):
        if name not in known:
            estimator, X, y, groups, params = form(name)
            weight = params.pop("sample_weight", None)
            attributor = SynsetAttributor(estimator, **FAST | params)
            known[name] = attributor.fit(X, y, groups=groups, sample_weight=weight)
        return known[name]

    return fit


def blank(name):
    """Return the architecture of a form, with other weights."""
    estimator = form(name)[0]
    if isinstance(estimator, nn.Module):
        with torch.no_grad():
            for parameter in estimator.parameters():
                parameter.mul_(0).add_(0.5)
        return estimator.eval()
    return FrozenEstimator(clone(estimator.estimator)) if name == "frozen" else estimator


def results(attributor, name):
    """Return everything that a fitted attributor says about some rows."""
    _, X, y, _, params = form(name)
    X, y = X[:20], y[:20]
    objectives = ["margin", "probability", "logit", "loss", brier]
    if attributor.classes_ is None:
        objectives = ["loss"] if "objective" in params else ["prediction", "loss"]
    weights = []
    for what in ({"groups": attributor.groups_[:1]}, {"groups": attributor.groups_[:-1][:2]}):
        left_out = attributor.leave_out(**what)
        for network in left_out if isinstance(left_out, list) else [left_out]:
            module = network if isinstance(network, nn.Module) else network.module_
            weights += [each.detach().numpy() for each in module.parameters()]
    return [
        attributor.transform(X),
        attributor.attribute(X, y),
        *[attributor.attribute(X, y, objective=each) for each in objectives],
        attributor.score_samples(X, y),
        attributor.score_samples(X),
        attributor.score(X, y),
        *weights,
        attributor.get_feature_names_out(),
    ]


def assert_same_bits(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y, strict=True)


def assert_same_attributes(a, b):
    public = {name for name in vars(a) if name.endswith("_") and not name.startswith("_")}
    assert public == {name for name in vars(b) if name.endswith("_") and not name.startswith("_")}
    for name in public - {"estimator_", "estimators_", "fidelity_"}:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
    assert set(a.fidelity_) == set(b.fidelity_)
    for name in a.fidelity_:
        np.testing.assert_array_equal(a.fidelity_[name], b.fidelity_[name], strict=True)


def loaded(attributor, name, path, **params):
    attributor.save(path)
    if name == "callables":
        params = {"objective": brier} | params
    return SynsetAttributor.load(path, blank(name), **params)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_keeps_every_bit_of_every_result(fitted, name, tmp_path):
    attributor = fitted(name)
    back = loaded(attributor, name, tmp_path / "attributor.safetensors")
    assert_same_bits(results(attributor, name), results(back, name))
    assert_same_attributes(attributor, back)
    assert type(back.estimator_) is type(attributor.estimator_)
    for key, value in attributor.get_params(deep=False).items():
        if key not in ("estimator", "random_state"):
            assert back.get_params(deep=False)[key] == value
    # A second trip changes nothing either.
    again = loaded(back, name, tmp_path / "again.safetensors")
    assert_same_bits(results(attributor, name), results(again, name))


@pytest.mark.parametrize("name", FORMS)
def test_pickle_and_joblib_keep_every_bit_of_every_result(fitted, name, tmp_path):
    attributor = fitted(name)
    expected = results(attributor, name)
    pickled = pickle.loads(pickle.dumps(attributor))
    joblib.dump(attributor, tmp_path / "dump", compress=3)
    for back in (pickled, joblib.load(tmp_path / "dump")):
        assert_same_bits(expected, results(back, name))
        assert_same_attributes(attributor, back)


def test_a_memory_mapped_dump_answers_the_same(fitted, tmp_path):
    joblib.dump(fitted("module"), tmp_path / "dump")
    back = joblib.load(tmp_path / "dump", mmap_mode="r")
    assert_same_bits(results(fitted("module"), "module"), results(back, "module"))


@pytest.mark.parametrize("name", ["none", "module", "tied", "net", "frozen"])
def test_what_was_loaded_keeps_modes_and_what_is_trainable(fitted, name, tmp_path):
    attributor = fitted(name)
    back = loaded(attributor, name, tmp_path / "file")

    def facts(network):
        module = network if isinstance(network, nn.Module) else network.module_
        return (
            [(key, part.training) for key, part in module.named_modules()],
            [(key, each.requires_grad, each.dtype) for key, each in module.named_parameters()],
        )

    assert facts(back.estimator_) == facts(attributor.estimator_)
    if not isinstance(attributor.estimator_, nn.Module):
        X = rows()[0]
        for method in ("predict", "predict_proba"):
            outputs = [getattr(each.estimator_, method)(X) for each in (attributor, back)]
            np.testing.assert_array_equal(*outputs)


def test_what_was_loaded_fits_again(fitted, tmp_path):
    _, X, y, groups, _ = form("module")
    back = loaded(fitted("module"), "module", tmp_path / "file")
    estimator = form("module")[0]
    again = back.set_params(estimator=estimator).fit(X, y, groups=groups)
    assert_same_bits(results(fitted("module"), "module"), results(again, "module"))


def test_loading_leaves_the_given_network_and_the_generators_alone(fitted, tmp_path):
    fitted("tied").save(tmp_path / "file")
    given = blank("tied")
    before = {key: value.clone() for key, value in given.state_dict().items()}
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    back = SynsetAttributor.load(tmp_path / "file", given)
    assert back.estimator is given and not given.training
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())
    assert torch.equal(state[0], torch.get_rng_state())
    np.testing.assert_array_equal(state[1], np.random.get_state()[1])
    assert back.estimator_.second.weight is back.estimator_.first.weight


def test_parameters_may_be_replaced(fitted, tmp_path):
    back = loaded(fitted("module"), "module", tmp_path / "file", verbose=2, objective="logit")
    _, X, y, _, _ = form("module")
    assert back.verbose == 2
    np.testing.assert_array_equal(
        back.attribute(X, y), fitted("module").attribute(X, y, objective="logit")
    )
    with pytest.raises(TypeError, match=r"no parameters \['colour'\]"):
        loaded(fitted("module"), "module", tmp_path / "file", colour="red")


def test_output_containers_are_kept(fitted, tmp_path):
    _, X, y, groups, _ = form("module")
    attributor = clone(fitted("module")).set_output(transform="pandas").fit(X, y, groups=groups)
    back = loaded(attributor, "module", tmp_path / "file")
    pd.testing.assert_frame_equal(attributor.transform(X), back.transform(X))


# Refusals


def test_a_callable_has_to_be_given_again(fitted, tmp_path):
    fitted("callables").save(tmp_path / "file")
    with pytest.raises(ValueError, match="objective was the callable brier.*pass it again"):
        SynsetAttributor.load(tmp_path / "file", blank("callables"))
    with pytest.raises(ValueError, match="objective was the callable"):
        SynsetAttributor.load(tmp_path / "file", blank("callables"), objective="margin")


@pytest.mark.parametrize(
    ("name", "build", "error", "message"),
    [
        (
            "module",
            lambda: None,
            ValueError,
            r"saved with a torch.nn.Module as its estimator; got None",
        ),
        (
            "module",
            lambda: "mlp",
            TypeError,
            "estimator must be None or a torch.nn.Module or a skorch net",
        ),
        (
            "none",
            lambda: nn.Linear(4, 3),
            ValueError,
            "saved with None as its estimator; got Linear",
        ),
        ("net", lambda: nn.Linear(4, 3), ValueError, "saved with a skorch net as its estimator"),
        (
            "module",
            lambda: nn.Linear(4, 3),
            ValueError,
            r"its parameters, weight is \(3, 4\).*was missing",
        ),
        ("module", lambda: mlp(n_hidden=6), ValueError, r"0.weight is \(6, 4\), and was \(5, 4\)"),
        (
            "module",
            lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
            ValueError,
            "its outputs on the synset are others",
        ),
        (
            "module",
            lambda: nn.Sequential(nn.LazyLinear(5), nn.Tanh(), nn.Linear(5, 3)),
            ValueError,
            r"0.weight is not initialised, and was \(5, 4\)",
        ),
        (
            "module",
            lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.BatchNorm1d(3)),
            ValueError,
            "3.weight is .*, and was missing",
        ),
    ],
)
def test_another_network_is_refused(fitted, tmp_path, name, build, error, message):
    fitted(name).save(tmp_path / "file")
    with pytest.raises(error, match=message):
        SynsetAttributor.load(tmp_path / "file", build())


def test_nothing_is_saved_before_fit(tmp_path):
    with pytest.raises(NotFittedError):
        SynsetAttributor().save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_attributes_that_cannot_be_saved_are_refused(fitted, tmp_path):
    attributor = pickle.loads(pickle.dumps(fitted("module")))
    attributor.own_ = object()
    with pytest.raises(TypeError, match="object cannot be saved"):
        attributor.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_attributes_that_hide_methods_are_refused(fitted, tmp_path):
    attributor = pickle.loads(pickle.dumps(fitted("module")))
    vars(attributor)["transform"] = 3
    attributor.save(tmp_path / "file")
    with pytest.raises(ValueError, match="attributes that would hide methods"):
        SynsetAttributor.load(tmp_path / "file", blank("module"))


def test_damage_anywhere_in_the_file_is_noticed(fitted, tmp_path):
    path = tmp_path / "file"
    attributor = fitted("module")
    attributor.save(path)
    content = path.read_bytes()
    rng = np.random.RandomState(0)
    for position in rng.randint(len(content), size=40):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randint(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|was not written by|version"):
            SynsetAttributor.load(path, blank("module"))
    for length in rng.randint(len(content), size=10):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            SynsetAttributor.load(path, blank("module"))


def test_rows_that_are_left_out_by_replay_are_so_after_loading(fitted, tmp_path):
    attributor = fitted("early stopping")
    back = loaded(attributor, "early stopping", tmp_path / "file")
    assert back.plan_ == attributor.plan_ and back.plan_.solver == "replay"
    networks = [each.leave_out(rows=[1, 5, 8]) for each in (attributor, back)]
    assert_same_bits(*[[p.detach().numpy() for p in n.module_.parameters()] for n in networks])


def test_a_net_that_trains_in_another_way_is_refused(fitted, tmp_path):
    fitted("early stopping").save(tmp_path / "file")
    other = stopped().set_params(callbacks__stop__monitor="f1")
    with pytest.raises(ValueError, match="the training watches 'f1'"):
        SynsetAttributor.load(tmp_path / "file", other)


def test_a_file_keeps_preconditioned_plans(tmp_path):
    X, y = rows(1800)
    X = X[:, :1] * np.arange(1, 7, dtype=np.float32)  # six features, of one component
    module = mlp(6, dtype=torch.float32)
    settings = FAST | {"solver": "rewind", "max_iter": 0, "synset_size": 150, "n_groups": 3}
    attributor = SynsetAttributor(module, **settings).fit(X, y)
    plan = attributor._online.plans[0]
    assert plan.preconditioner.subspace.basis.shape == (6, 1) and plan.n_fitted <= plan.n_steps
    attributor.save(tmp_path / "attributor")
    back = SynsetAttributor.load(tmp_path / "attributor", mlp(6, dtype=torch.float32))
    kept = back._online.plans[0]
    assert torch.equal(kept.preconditioner.scale, plan.preconditioner.scale)
    for groups in ([1], [0, 2]):
        parts = [list(each.leave_out(groups).state_dict().values()) for each in (attributor, back)]
        assert_same_bits(*parts)
    level = {"level": "samples"}
    assert_same_bits(*[each.attribute(X[:3], y[:3], **level) for each in (attributor, back)])
