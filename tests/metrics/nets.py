"""A small skorch net, and its log-odds."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn


class Net(nn.Module):
    def __init__(self, n_features=4, n_outputs=3, n_hidden=6):
        super().__init__()
        self.hidden = nn.Linear(n_features, n_hidden)
        self.output = nn.Linear(n_hidden, n_outputs)

    def forward(self, X):
        return self.output(torch.tanh(self.hidden(X)))


def net(kind=NeuralNetClassifier, criterion=nn.CrossEntropyLoss, n_features=4, n_outputs=3):
    return kind(
        Net,
        module__n_features=n_features,
        module__n_outputs=n_outputs,
        criterion=criterion,
        max_epochs=3,
        lr=0.1,
        batch_size=16,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def log_odds(logits, labels):
    """Return the log-odds of each row's label, written another way than in the package."""
    exponentials = np.exp(logits.astype(np.float64))
    picked = exponentials[np.arange(len(labels)), labels]
    return np.log(picked / (exponentials.sum(1) - picked))
