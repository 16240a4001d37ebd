import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import roc_auc_score
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._labels import folds
from sklearn_synset._labels.fold_scores import fold_log_posterior
from sklearn_synset.datasets import flip_labels


def classifier(n_features, n_classes, **params):
    settings = {"criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.Adam, "lr": 0.01}
    settings |= {"max_epochs": 30, "batch_size": 32, "train_split": None, "verbose": 0, **params}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, n_classes))
    return NeuralNetClassifier(net, **settings)


@pytest.fixture(scope="module")
def blobs():
    """Return rows of three classes, given labels, which are wrong, and true ones."""
    X, y = make_blobs(240, centers=3, cluster_std=1.2, random_state=1)
    names = np.array(["ant", "bee", "cat"])[y]
    given, is_wrong = flip_labels(names, rate=0.15, transition="next", random_state=0)
    X = (X / X.std(0)).astype("float32")
    attributor = SynsetAttributor(classifier(2, 3), n_groups=6, n_probes=0, random_state=0)
    return attributor.fit(X, given), X, given, is_wrong, names


def test_wrong_labels_are_found_and_mended(blobs):
    attributor, X, given, is_wrong, names = blobs
    found = attributor.suggest_labels(X, given)
    assert roc_auc_score(is_wrong, found.wrong_probability) > 0.97
    assert (found.label == names)[is_wrong].mean() > 0.8
    assert np.abs(found.wrong_probability - is_wrong).mean() < 0.1
    expected = [is_wrong[given == name].sum() for name in attributor.classes_]
    np.testing.assert_allclose(found.n_wrong, expected, atol=6)
    assert (found.probability >= 1 - found.wrong_probability - 1e-12).all()


def test_the_score_is_the_log_odds_that_the_label_is_right(blobs):
    attributor, X, given, _, _ = blobs
    found = attributor.suggest_labels(X, given)
    score = attributor.score_samples(X, given)
    np.testing.assert_allclose(expit(-score), found.wrong_probability, rtol=1e-4)


def test_each_row_is_judged_alone(blobs):
    attributor, X, given, _, _ = blobs
    whole, part = (attributor.suggest_labels(X[:n], given[:n]) for n in (240, 7))
    np.testing.assert_allclose(part.wrong_probability, whole.wrong_probability[:7], rtol=1e-5)


def test_a_row_has_no_say_in_the_networks_that_it_is_evaluated_by(blobs, monkeypatch):
    _, X, given, _, _ = blobs
    monkeypatch.setattr(folds, "_MOST_OPERATIONS", 0)  # one round: its noise model sees all rows
    other = given.copy()
    other[3] = "bee" if given[3] != "bee" else "cat"
    p, net = [], classifier(2, 3)
    for y in (given, other):
        attributor = SynsetAttributor(net, n_probes=0, random_state=0)
        attributor.fit(X, y, groups=np.arange(240) % 4)
        online = attributor._online
        own = online.folds[0]
        noiseless = folds.Folds(own.fold, own.networks)
        codes = torch.from_numpy(np.searchsorted(attributor.classes_, y))
        p.append(
            fold_log_posterior(
                noiseless,
                online.models[0],
                online.synset,
                torch.from_numpy(X),
                codes,
                torch.arange(240) % 4,
                4096,
            )
        )
    torch.testing.assert_close(p[0][3], p[1][3], rtol=0, atol=1e-6)
    assert not torch.allclose(p[0], p[1], rtol=0, atol=1e-3)


def test_rewound_networks_mend_labels_too():
    X, y = load_digits(n_class=4, return_X_y=True)
    X, y = (X[:300] / 16).astype("float32"), y[:300]
    given, is_wrong = flip_labels(y, rate=0.1, random_state=0)
    net = classifier(64, 4, max_epochs=15)
    attributor = SynsetAttributor(net, solver="rewind", n_groups=8, n_probes=0, random_state=0)
    found = attributor.fit(X, given).suggest_labels(X, given)
    assert roc_auc_score(is_wrong, found.wrong_probability) > 0.97
    is_mended = found.label != given  # fewer than with replay, as the network has seen the rows
    assert is_mended.sum() > 5
    assert (found.label == y)[is_mended].mean() > 0.9


def test_values_and_class_probabilities_have_no_labels_to_suggest():
    X = np.random.RandomState(0).normal(size=(40, 2)).astype("float32")
    net = NeuralNetRegressor(nn.Linear(2, 1), max_epochs=1, train_split=None, verbose=0)
    attributor = SynsetAttributor(net, n_groups=2, n_probes=0, random_state=0)
    attributor.fit(X, X[:, :1])
    with pytest.raises(ValueError, match="suggest_labels needs labels"):
        attributor.suggest_labels(X, X[:, :1])
