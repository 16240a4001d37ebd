"""
Forgetting a class
==================

What would the network predict for a digit that it was never trained on? With the classes as groups,
:meth:`~sklearn_synset.SynsetAttributor.leave_out` returns the network without a class.
"""

# %%
# The groups are given to `fit`: the digits themselves.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X, X_new, y, y_new = train_test_split(X, y, train_size=600, stratify=y, random_state=0)


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(64, 32), nn.Linear(32, 10)

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
    classes=range(10),
    train_split=None,
    verbose=0,
)
attributor = SynsetAttributor(net, random_state=0).fit(X, y, groups=y)
original = attributor.estimator_

# %%
# Leave out the threes, and compare with a network that was retrained without them.

FORGOTTEN = 3
forgetful = attributor.leave_out([FORGOTTEN])
torch.manual_seed(0)
retrained = net.fit(X[y != FORGOTTEN], y[y != FORGOTTEN])

is_it = y_new == FORGOTTEN
for name, network in [("original", original), ("leave_out", forgetful), ("retrained", retrained)]:
    right = network.predict(X_new) == y_new
    print(f"{name:10s} right: {right[is_it].mean():4.0%} of threes", end=", ")
    print(f"{right[~is_it].mean():.1%} of others")

# %%
# All threes are now read as other digits, and other digits about as well as before.


def counts(network):
    """Count which digits the left-out ones are read as."""
    return np.bincount(network.predict(X_new[is_it]), minlength=10)


figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
places = np.arange(10)
axes.bar(places - 0.2, counts(forgetful), 0.4, color="#0072B2", label="leave_out")
axes.bar(places + 0.2, counts(retrained), 0.4, color="#E69F00", label="retrained without threes")
axes.set(xticks=places, xlabel="read as", ylabel=f"held-out threes, of {is_it.sum()}")
axes.legend()
plt.show()

# %%
# How does each class affect the others? The image shows the mean effect on the margin of the true
# label, by the class of the digit (rows) and of the group (columns). The diagonal shows the effect
# of a class on itself as a number. Off the diagonal most effects are negative: without another
# class, the margin would be larger.

effects = attributor.attribute(X_new, y_new)
by_class = np.stack([effects[y_new == digit].mean(0) for digit in range(10)])
off_diagonal = np.where(np.eye(10, dtype=bool), np.nan, by_class)
figure, axes = plt.subplots(figsize=(6.4, 5), layout="constrained")
image = axes.imshow(off_diagonal, cmap="cividis_r")
for digit in range(10):
    axes.text(digit, digit, f"{by_class[digit, digit]:+.0f}", ha="center", va="center", fontsize=8)
axes.set(xticks=places, yticks=places, xlabel="class that is left out", ylabel="digit that is read")
figure.colorbar(image, label="effect on the margin (nats)")
plt.show()
