import numpy as np
import pytest
from scipy.special import softmax

from sklearn_synset._labels.label_noise import LabelNoise, fit_label_noise
from sklearn_synset._labels.label_suggestions import label_suggestions

TRANSITION = np.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.05, 0.05, 0.9]])


def drawn(transition=TRANSITION, n_rows=20_000, sharpness=2.0):
    """Draw log-probabilities, true and given labels of the model that is fitted."""
    rng = np.random.RandomState(0)
    log_p = np.log(softmax(rng.normal(scale=2.0, size=(n_rows, 3)), axis=1))
    draw = rng.uniform(size=(2, n_rows, 1))
    true = (draw[0] > softmax(sharpness * log_p, axis=1).cumsum(1)).sum(1)
    given = (draw[1] > transition[true].cumsum(1)).sum(1)
    return log_p, true, given


def test_the_posterior_is_that_of_bayes():
    noise = LabelNoise(TRANSITION + 0.01, 1.5, np.array([0.3, 0.0, -0.3]))
    p, y = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]), np.array([1, 0])
    joint = p**1.5 * np.exp(noise.shift) * noise.transition[:, y].T
    expected = joint / joint.sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(noise.log_posterior(np.log(p), y)), expected)


def test_the_noise_that_labels_were_drawn_from_is_found():
    log_p, _, given = drawn()
    noise = fit_label_noise(log_p, given)
    np.testing.assert_allclose(noise.transition, TRANSITION, atol=0.02)
    assert noise.sharpness == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(noise.shift, 0, atol=0.1)


def test_the_probability_of_a_wrong_label_is_calibrated():
    log_p, true, given = drawn()
    posterior = np.exp(fit_label_noise(log_p, given).log_posterior(log_p, given))
    wrong = 1 - posterior[np.arange(len(given)), given]
    bins = (10 * wrong).astype(int)
    excess = np.bincount(bins, wrong - (true != given))
    assert np.abs(excess).sum() / len(given) < 0.01
    assert np.bincount(bins, minlength=10).min() > 100


def test_few_wrong_labels_are_expected_where_there_are_none():
    log_p, _, given = drawn(np.eye(3), n_rows=600, sharpness=3.0)
    posterior = np.exp(fit_label_noise(log_p, given).log_posterior(log_p, given))
    found = label_suggestions(posterior, given, np.array(["a", "b", "c"]))
    assert found.n_wrong.sum() < 0.04 * len(given)


def test_a_class_without_rows_gets_none():
    log_p, _, given = drawn(n_rows=500)
    posterior = fit_label_noise(log_p[given != 2], given[given != 2])
    assert np.isfinite(posterior.log_posterior(log_p, given)).all()


def test_suggestions_are_read_off_the_posterior():
    posterior = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.25, 0.75, 0.0]])
    found = label_suggestions(posterior, np.array([0, 0, 1]), np.array(["a", "b", "c"]))
    assert found.label.tolist() == ["a", "c", "b"]
    np.testing.assert_allclose(found.probability, [0.9, 0.5, 0.75])
    np.testing.assert_allclose(found.wrong_probability, [0.1, 0.8, 0.25])
    np.testing.assert_allclose(found.n_wrong, [0.9, 0.25, 0.0])
