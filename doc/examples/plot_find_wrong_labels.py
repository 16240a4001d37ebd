"""
Finding wrong labels in Fashion-MNIST
=====================================

Somebody labelled a thousand pictures of clothing and got one in ten wrong. Which would you look at
first? Those whose label the network would contradict, had it not been taught that very label.
"""

# %%
# :func:`~sklearn_synset.datasets.load_fashion_mnist` reads the files of :cite:t:`xiao2017fashion`
# from this machine and downloads nothing. Where they are missing, scikit-learn's small digits take
# their place, so that the example still runs. What it says is about clothing: of the digits, a
# network hardly learns a wrong label, and its own probability finds them as well.

import matplotlib.pyplot as plt
import numpy as np
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
# The network learns some of the wrong labels by heart, so its own loss on them says little.

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
attributor = SynsetAttributor(net, n_groups=30, max_iter=200, random_state=0).fit(X, y)
codes = np.searchsorted(attributor.classes_, y)
probability = attributor.estimator_.predict_proba(X)
learnt = probability.argmax(1) == codes
print(f"learnt: {learnt[~is_wrong].mean():.0%} of the right labels,", end=" ")
print(f"{learnt[is_wrong].mean():.0%} of the wrong ones")

# %%
# ``score_samples`` also asks a network that has only begun to train again, without the synset row
# that stands for the row: how sure is it by the *other* data? The lowest scores come first.

MislabelDisplay.from_estimator(attributor, X, y, image_shape=image_shape)
plt.show()

# %%
# How many of the wrong labels are found when the most suspicious rows are looked through first? Two
# controls: the trained network's own probability of the label, which costs nothing, and that of
# networks trained on the other four fifths of the rows, which costs five trainings.

controls = cross_val_predict(net, X, codes, cv=5, method="predict_proba")
rankings = {
    "score_samples": attributor.score_samples(X, y),
    "network's own probability": probability[np.arange(len(y)), codes],
    "five-fold cross-validation": controls[np.arange(len(y)), codes],
}
figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
looked_through = np.arange(1, len(y) + 1) / len(y)
for (name, ranking), style in zip(rankings.items(), ["-", ":", "--"], strict=True):
    found = np.cumsum(is_wrong[np.argsort(ranking)]) / is_wrong.sum()
    axes.plot(looked_through, found, style, linewidth=2, label=name)
    print(f"{name:27s} ROC-AUC {mislabel_roc_auc(is_wrong, ranking):.3f}", end=", ")
    print(f"found in the first tenth {mislabel_recall(is_wrong, ranking):.0%}")
axes.plot([0, 0.1, 1], [0, 1, 1], color="0.7", label="best possible", zorder=0)
axes.plot([0, 1], [0, 1], color="0.7", linestyle="-.", label="chance", zorder=0)
axes.set(xlabel="share of the rows looked through", ylabel="share of the wrong labels found")
axes.legend(loc="lower right")
plt.show()

# %%
# Far better than the network's own probability, from the same single training. Cross-validation
# finds some more, where five more trainings are no burden.
