"""
Do attributions agree with real retraining?
===========================================

An attribution predicts an experiment: retrain the network without a group. On a small table the
experiment is cheap. This example runs it, for every group and three seeds, and compares.
"""

# %%
# A small network on scikit-learn's breast cancer table, trained by AdamW.

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import FidelityDisplay
from sklearn_synset.metrics import (
    calibration_slope,
    leave_one_out_ceiling,
    leave_one_out_correlation,
    linear_datamodeling_score,
    retraining,
)

X, y = load_breast_cancer(return_X_y=True)
X = scale(X).astype("float32")
X, X_new, y, y_new = train_test_split(X, y, train_size=360, stratify=y, random_state=0)


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(30, 16), nn.Linear(16, 2)

    def forward(self, X):
        """Return the logits."""
        return self.output(self.hidden(X).relu())


net = NeuralNetClassifier(
    Net,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.AdamW,
    lr=0.003,
    batch_size=60,
    max_epochs=30,
    iterator_train__shuffle=True,
    train_split=None,
    verbose=0,
)
start = time.perf_counter()
attributor = SynsetAttributor(net, n_groups=12, random_state=0).fit(X, y)
scores = attributor.attribute(X_new, y_new)
print(f"fit and attribute {time.perf_counter() - start:.0f} s")

# %%
# The experiment. :func:`~sklearn_synset.metrics.retraining` trains the net on all rows and without
# each group, for three seeds, and on random halves of the groups. With ``cache_dir`` an interrupted
# run can be continued.

start = time.perf_counter()
data = net, X, y, X_new, y_new
groups = attributor.group_labels_
truth = retraining(*data, groups=groups, n_seeds=3, random_state=0)
halves = retraining(*data, groups=groups, leave_one_out=False, subsets=30, random_state=0)
print(f"{3 * (1 + 12) + 1 + 30} trainings {time.perf_counter() - start:.0f} s")

# %%
# Each point is a group and a new patient. The title gives the rank correlation over the groups, for
# each patient, beside that of one more retraining from another seed.

FidelityDisplay.from_effects(scores, truth.effects)
plt.show()

# %%
# The same as numbers, beside the fidelity that ``fit`` measured.

effects = truth.effects.mean(0)
print(f"rank correlation over groups  {leave_one_out_correlation(effects, scores):.2f}")
print(f"  of one retraining (ceiling) {leave_one_out_ceiling(truth.effects):.2f}")
print(f"  measured by fit (fidelity_) {attributor.fidelity_.rank_correlation:.2f}")
print(f"slope of truth on prediction  {calibration_slope(effects, scores):.2f}")
lds = linear_datamodeling_score(halves.outputs[0], scores, halves.subsets)
print(f"linear datamodeling score     {lds:.2f}")

# %%
# The linear datamodeling score concerns more than single groups: whether *sums* of attributions
# order random halves of the data as the networks trained on them do. A slope near 1 means that the
# sizes are right on average.
#
# Small effects are smaller than the noise from seed to seed. Three seeds do not agree on their
# sign, and then no prediction can be reliable:

same_sign = np.abs(np.sign(truth.effects).sum(0)) == 3
right_sign = np.sign(effects) == np.sign(scores)
edges = np.quantile(np.abs(scores), np.linspace(0, 1, 9))
size = np.digitize(np.abs(scores), edges[1:-1])
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
centres = [np.abs(scores)[size == i].mean() for i in range(8)]
for values, label, style in [
    (right_sign, "sign predicted as of the mean of three seeds", "o-"),
    (same_sign, "sign the same in all three seeds", "s--"),
]:
    axes.plot(centres, [values[size == i].mean() for i in range(8)], style, label=label)
axes.set(xscale="log", ylim=(0, 1.02), xlabel="size of the predicted effect (nats)")
axes.set_ylabel("share of group × patient pairs")
axes.legend(loc="lower right")
plt.show()
