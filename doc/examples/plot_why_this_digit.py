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

attributor = SynsetAttributor(FrozenEstimator(net), random_state=0)
attributor.fit(X, y)
print(f"rank correlation with the probes {attributor.fidelity_.rank_correlation:.2f}")

# %%
# From here on every answer takes milliseconds. The surest of the misread digits, with the groups
# that hold its reading up and those that pull it down, and the digits that are typical of them:

probability = net.predict_proba(X_new).max(1)
mistakes = np.flatnonzero(net.predict(X_new) != y_new)
query = mistakes[probability[mistakes].argmax()]
label = net.predict(X_new[[query]])[0]
effects = attributor.attribute(X_new[[query]], [label])[0]
order = np.argsort(-effects)
shown = np.concatenate([order[:4], order[-3:]])

figure = plt.figure(figsize=(9, 5.6))
axes = figure.add_axes((0.02, 0.35, 0.2, 0.32))
axes.imshow(X_new[query].reshape(8, 8), cmap="gray_r")
axes.set(
    xticks=[],
    yticks=[],
    title=f"read as {label}\n(p = {probability[query]:.2f}),\nis {y_new[query]}",
)
grid = figure.add_gridspec(len(shown), 4, left=0.27, right=0.53, bottom=0.12, top=0.94)
grid = grid.subplots()
for line, column in zip(grid, shown, strict=True):
    rows = X[attributor.group_labels_ == attributor.groups_[column]]
    typical = rows[np.argsort(((rows - rows.mean(0)) ** 2).sum(1))]
    for axes, row in zip(line, typical, strict=False):
        axes.imshow(row.reshape(8, 8), cmap="gray_r")
        axes.set(xticks=[], yticks=[])
axes = figure.add_axes((0.57, 0.12, 0.41, 0.82))
axes.barh(
    range(len(shown)), effects[shown], color=np.where(effects[shown] > 0, "#0072B2", "#D55E00")
)
axes.axvline(0, color="black", linewidth=0.8)
axes.set(yticks=[], ylim=(len(shown) - 0.5, -0.5))
axes.set_xlabel(f"effect of the group on the log-odds of {label} (nats)")
plt.show()

# %%
# A nat is much here: from even odds, one more makes a probability of 0.73. The bars say what would
# change if the network were trained without the group. They do not add up to the log-odds.
#
# The same question about the true label: who spoke for it?

for_true = attributor.attribute(X_new[[query]], y_new[[query]])[0]
best = for_true.argmax()
members = attributor.group_labels_ == attributor.groups_[best]
print(f"most for {y_new[query]}: {for_true[best]:+.2f} nats by {members.sum()} rows of", end=" ")
print(set(y[members].tolist()))
