"""
Why does the network read this digit as it does?
================================================

A network misreads a handwritten digit. Which of the digits that it was trained on made it do so,
and which spoke against it?
"""

# %%
# A skorch net, trained on half of scikit-learn's digits and wrapped as it is:
# :class:`~sklearn.frozen.FrozenEstimator` keeps `fit` from training it again.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import AttributionDisplay, FidelityDisplay, SynsetDisplay

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X, X_new, y, y_new = train_test_split(X, y, train_size=600, stratify=y, random_state=0)

torch.manual_seed(0)
net = NeuralNetClassifier(
    lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.SGD,
    optimizer__momentum=0.9,
    optimizer__weight_decay=1e-3,
    lr=0.1,
    batch_size=50,
    max_epochs=40,
    train_split=None,
    verbose=0,
)
net.fit(X, y)
print(f"accuracy on new digits {net.score(X_new, y_new):.3f}")

# %%
# `fit` splits the training digits into groups of about twenty that look alike, and distils a few
# synset rows for each. How far it can be trusted is known before any result is looked at.

attributor = SynsetAttributor(FrozenEstimator(net), max_iter=400, random_state=0)
attributor.fit(X, y)
print(f"rank correlation with the probes {attributor.fidelity_.rank_correlation:.2f}")

# %%
# From here on every answer takes milliseconds. The surest of the misread digits, with the groups
# that hold its reading up and those that pull it down, and digits that are typical of them:

probability = net.predict_proba(X_new).max(1)
mistakes = np.flatnonzero(net.predict(X_new) != y_new)
query = mistakes[probability[mistakes].argmax()]
AttributionDisplay.from_estimator(
    attributor, X_new[[query]], X_train=X, y_train=y, image_shape=(8, 8), n_groups=7
)
plt.show()

# %%
# A nat is much: from even odds, one more makes a probability of 0.73. The bars say what would
# change if the network were trained without the group. They do not add up to the log-odds.
#
# The same question about the true label: who spoke for it, and who against?

AttributionDisplay.from_estimator(
    attributor,
    X_new[[query]],
    y_new[[query]],
    X_train=X,
    y_train=y,
    image_shape=(8, 8),
    n_groups=7,
)
plt.show()

# %%
# What the synset is: a few rows for each group. Those that the network fits worst are kept as they
# are and count once; the others are means of digits that look alike, and count as often as the
# number below says. Their labels are soft, and learnt, as are the weights.

SynsetDisplay.from_estimator(attributor, X, y, image_shape=(8, 8))
plt.show()

# %%
# Can it be trusted? Effects that the synset predicts, against those of leaving a few groups out of
# the real rows. That is no real retraining yet; :doc:`plot_compare_with_retraining` is.

FidelityDisplay.from_estimator(attributor, X_new[:200])
plt.show()
