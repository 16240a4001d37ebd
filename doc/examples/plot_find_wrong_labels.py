"""
Finding wrong labels in Fashion-MNIST
=====================================

In a thousand pictures of clothing, one label in ten is wrong. Which labels should be checked first?
Those that a network would contradict if it had not been trained on them.
"""

# %%
# :func:`~sklearn_synset.datasets.load_fashion_mnist` reads the files of :cite:t:`xiao2017fashion`
# from this machine and downloads nothing. If they are missing, the example uses scikit-learn's
# digits. The text is about clothing: on the digits, a network learns few wrong labels, and its own
# probability finds them as well.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.datasets import flip_labels, load_fashion_mnist
from sklearn_synset.inspection import MislabelDisplay
from sklearn_synset.metrics import mislabel_recall, mislabel_roc_auc

try:
    clothing = load_fashion_mnist(n_rows=1000, random_state=0)
    X, names = clothing.data, np.array(clothing.target_names)
    true, image_shape = names[clothing.target], (28, 28)
except FileNotFoundError:
    X, true = load_digits(return_X_y=True)
    X, true, image_shape = (X[:1000] / 16).astype("float32"), true[:1000].astype(str), (8, 8)
y, is_wrong = flip_labels(true, rate=0.1, random_state=0)

# %%
# The network memorises some of the wrong labels, so its own loss on these is low.

torch.manual_seed(0)
net = NeuralNetClassifier(
    lambda: nn.Sequential(nn.Linear(X.shape[1], 32), nn.ReLU(), nn.Linear(32, 10)),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.SGD,
    optimizer__momentum=0.9,
    optimizer__weight_decay=1e-3,
    lr=0.05,
    batch_size=50,
    max_epochs=40,
    train_split=None,
    verbose=0,
)
attributor = SynsetAttributor(net, n_groups=30, random_state=0).fit(X, y)
codes = np.searchsorted(attributor.classes_, y)
probability = attributor.estimator_.predict_proba(X)
learnt = probability.argmax(1) == codes
print(f"learnt: {learnt[~is_wrong].mean():.0%} of the right labels,", end=" ")
print(f"{learnt[is_wrong].mean():.0%} of the wrong ones")

# %%
# ``suggest_labels`` evaluates each row by networks that were trained without it: the training is
# repeated without each of five folds of the rows, side by side. How often each class is labelled as
# another is estimated from all rows. The percentage is the probability that the given label is
# wrong.

MislabelDisplay.from_estimator(attributor, X, y, image_shape=image_shape)
plt.show()

# %%
# A threshold of one half selects the labels that are more likely wrong than right. The sum of the
# probabilities is the expected number of wrong labels. It is too high here, as some kinds of
# clothing look alike, so that right labels look wrong, too.

found = attributor.suggest_labels(X, y)
flagged = found.wrong_probability > 0.5
print(f"expected wrong labels: {found.n_wrong.sum():.0f}; there are {is_wrong.sum()}")
mended = (found.label == true)[is_wrong]
print(f"above one half: {flagged.sum()}, of which {is_wrong[flagged].mean():.0%} are wrong")
print(f"wrong labels whose suggestion is the true label: {mended.mean():.0%}")
table = {"given": y, "suggested": found.label, "wrong": found.wrong_probability}
print(pd.DataFrame(table).nlargest(5, "wrong").round(3))

# %%
# How many of the wrong labels are found if the most suspicious rows are checked first? There are
# two controls: the trained network's own probability of the label, which costs nothing, and
# five-fold cross-validation with scikit-learn, which costs five trainings.

controls = cross_val_predict(net, X, codes, cv=5, method="predict_proba")
rankings = {
    "score_samples": attributor.score_samples(X, y),
    "network's own probability": probability[np.arange(len(y)), codes],
    "five-fold cross-validation": controls[np.arange(len(y)), codes],
}
figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
checked = np.arange(1, len(y) + 1) / len(y)
for (name, ranking), style in zip(rankings.items(), ["-", ":", "--"], strict=True):
    found = np.cumsum(is_wrong[np.argsort(ranking)]) / is_wrong.sum()
    axes.plot(checked, found, style, linewidth=2, label=name)
    print(f"{name:27s} ROC-AUC {mislabel_roc_auc(is_wrong, ranking):.3f}", end=", ")
    print(f"found in the first tenth {mislabel_recall(is_wrong, ranking):.0%}")
axes.plot([0, 0.1, 1], [0, 1, 1], color="0.7", label="best possible", zorder=0)
axes.plot([0, 1], [0, 1], color="0.7", linestyle="-.", label="chance", zorder=0)
axes.set(xlabel="share of the rows checked", ylabel="share of the wrong labels found")
axes.legend(loc="lower right")
plt.show()

# %%
# ``score_samples``, the log-odds that a label is right, is itself a cross-validation. It looks
# along the whole training and weights the rows, which finds more than the control. Both find more
# than the network's own probability where labels are memorised.
