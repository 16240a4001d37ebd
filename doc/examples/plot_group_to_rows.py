"""
From the group to the single row
================================

A group supports a prediction. Do all of its rows, or only a few? There are three ways to find out:
divide the group's effect among its rows, at no further cost; split the group and fit again, as in
the hierarchical variant of :cite:t:`ye2024distilled`; or split it and retrain for real.
"""

# %%
# A network on scikit-learn's digits, in 20 groups.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X, X_new, y, y_new = train_test_split(X, y, train_size=500, stratify=y, random_state=0)


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(64, 24), nn.Linear(24, 10)

    def forward(self, X):
        """Return the logits."""
        return self.output(self.hidden(X).relu())


net = NeuralNetClassifier(
    Net,
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
attributor = SynsetAttributor(net, n_groups=20, random_state=0).fit(X, y)

# %%
# The query is a misread digit, with the label that the network predicts. These are the rows with
# the largest and the smallest shares in its strongest group:

probability = attributor.estimator_.predict_proba(X_new)
label = probability.argmax(1)
mistakes = np.flatnonzero(label != y_new)
query = mistakes[probability.max(1)[mistakes].argmax()]
by_group = attributor.transform(X_new[[query]])[0]
by_row = attributor.attribute(X_new[[query]], level="samples")[0]
strongest = attributor.groups_[by_group.argmax()]
members = np.flatnonzero(attributor.group_labels_ == strongest)
order = members[np.argsort(-by_row[members])]

figure, axes = plt.subplots(2, 7, figsize=(9, 3.2), layout="constrained")
for each in axes.flat:
    each.set(xticks=[], yticks=[])
    each.set_frame_on(False)
axes[0, 0].imshow(X_new[query].reshape(8, 8), cmap="gray_r")
axes[0, 0].set_title(f"is {y_new[query]},\nread as {label[query]}", fontsize=10)
for line, rows, name in [(0, order[:6], "most"), (1, order[-6:], "least")]:
    for each, row in zip(axes[line, 1:], rows, strict=True):
        each.imshow(X[row].reshape(8, 8), cmap="gray_r")
        each.set_xlabel(f"{by_row[row]:+.2f}")
    axes[line, 1].set_ylabel(name)
figure.suptitle(
    f"group {strongest}: {by_group.max():+.2f} nats, divided among its {len(members)} rows"
)
plt.show()

# %%
# Shares of a group's rows add up to the group's effect, exactly:

print(f"{by_row[members].sum():.4f} {by_group.max():.4f}")

# %%
# Split the group into four parts, and estimate their effects on 200 new digits in all three ways.

parts = KMeans(4, n_init=5, random_state=0).fit_predict(X[members])
finer = np.char.add("group ", attributor.group_labels_.astype(str))
finer[members] = np.char.add("part ", parts.astype(str))
is_part = [finer == f"part {part}" for part in range(4)]

queries, labels = X_new[:200], label[:200]
shares = attributor.attribute(queries, labels, level="samples")
shared_out = np.stack([shares[:, rows].sum(1) for rows in is_part], 1)

again = SynsetAttributor(net, random_state=0).fit(X, y, groups=finer)
columns = [name.startswith("part") for name in again.groups_]
fitted_again = again.attribute(queries, labels)[:, columns]

# %%
# The truth for these four parts, from three seeds:

codes = np.where(np.any(is_part, 0), finer, "rest")
truth = retraining(net, X, y, queries, labels, groups=codes, n_seeds=3, random_state=0)
measured = truth.effects.mean(0)[:, [name.startswith("part") for name in truth.groups]]
figure, panels = plt.subplots(1, 2, figsize=(9, 4.6), sharey=True, layout="constrained")
for axes, predicted, name in [
    (panels[0], shared_out, "rows' shares, summed"),
    (panels[1], fitted_again, "fitted again"),
]:
    axes.plot(predicted, measured, ".", markersize=4, alpha=0.5)
    axes.axline((0, 0), slope=1, color="0.5", linestyle="--")
    correlation = np.corrcoef(predicted.ravel(), measured.ravel())[0, 1]
    axes.set_title(f"{name}: correlation {correlation:.2f}")
    axes.set_xlabel("predicted effect of a part (nats)")
panels[0].set_ylabel("effect by retraining (nats)")
panels[1].legend([f"part {part}" for part in range(4)])
plt.show()

# %%
# Summed shares find the parts that matter, but overestimate small effects: the share of a row in
# its group is not the effect of its part alone. Fitting again with the strongest group split costs
# a second `fit`, and predicts both order and size.
