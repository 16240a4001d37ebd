"""
Why does the network read this digit as it does?
================================================

A network misreads a handwritten digit. Which of the digits that it was trained on support the
prediction, and which oppose it?
"""

# %%
# A skorch net, trained on a third of scikit-learn's digits.
# :class:`~sklearn.frozen.FrozenEstimator` keeps `fit` from training it once more.

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
# `fit` splits the training digits into groups of about twenty similar ones, repeats the training
# without each group, and measures how far the result can be trusted.

attributor = SynsetAttributor(FrozenEstimator(net), random_state=0)
attributor.fit(X, y)
print(attributor.plan_)
print(f"rank correlation with measured effects {attributor.fidelity_.rank_correlation:.2f}")

# %%
# Now each query takes milliseconds. This is the misread digit with the highest probability, with
# the groups that support its prediction and those that oppose it, and typical digits of each group:

probability = net.predict_proba(X_new).max(1)
mistakes = np.flatnonzero(net.predict(X_new) != y_new)
query = mistakes[probability[mistakes].argmax()]
AttributionDisplay.from_estimator(
    attributor, X_new[[query]], X_train=X, y_train=y, image_shape=(8, 8), n_groups=7
)
plt.show()

# %%
# From even odds, one nat more gives a probability of 0.73. A bar shows how much the log-odds would
# fall if the network were trained without the group. The bars do not add up to the log-odds.
#
# The same for the true label: which groups support it, and which oppose it?

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
# Can it be trusted? Predicted effects, against those of leaving a few groups out of a further
# repeated training. :doc:`plot_compare_with_retraining` compares with real retraining.

FidelityDisplay.from_estimator(attributor, X_new[:200])
plt.show()

# %%
# The synset can be compressed to a few rows for each group. Those that the network fits worst are
# kept and count once; the others are means of similar digits, and count as often as the number
# below them says.

compressed = SynsetAttributor(FrozenEstimator(net), synset_size=4, random_state=0).fit(X, y)
SynsetDisplay.from_estimator(compressed, X, y, image_shape=(8, 8))
plt.show()
