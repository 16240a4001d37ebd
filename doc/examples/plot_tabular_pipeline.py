"""
Which hospital's data spoil the model?
======================================

A table of patients from six hospitals, prepared by a :class:`~sklearn.compose.ColumnTransformer`.
In one of them, a part of the diagnoses is wrong. Can the hospital be found without inspecting
single patients, and how good would the model be without it?
"""

# %%
# The patients are from scikit-learn's breast cancer table. The hospitals and the scanners are
# invented, and so is the error: hospital D records a wrong diagnosis for three patients in ten.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PowerTransformer, StandardScaler

from sklearn_synset import SynsetAttributor

rng = np.random.default_rng(0)
table, diagnosis = load_breast_cancer(return_X_y=True, as_frame=True)
table["hospital"] = rng.choice(list("ABCDEF"), len(table))
table["scanner"] = rng.choice(["old", "new"], len(table))
diagnosis = np.where(diagnosis == 1, "benign", "malignant")
X, X_new, y, y_new = train_test_split(table, diagnosis, test_size=200, random_state=0)

mixed_up = (X["hospital"] == "D") & (rng.random(len(X)) < 0.3)
y = np.where(mixed_up, np.where(y == "benign", "malignant", "benign"), y)

# %%
# Sizes are skewed, scanners are words, and the hospital is no feature: the transformer drops it.
# The attributor at the end trains a small network of its own. Its groups are the hospitals.

skewed = [name for name in table if "area" in name or "error" in name]
others = [name for name in table.columns[:30] if name not in skewed]
pipeline = make_pipeline(
    make_column_transformer(
        (PowerTransformer(), skewed),
        (StandardScaler(), others),
        (OneHotEncoder(), ["scanner"]),
        remainder="drop",
    ),
    SynsetAttributor(random_state=0),
)
pipeline.fit(X, y, synsetattributor__groups=X["hospital"])

# %%
# For the true diagnoses of new patients, a hospital that helps has a positive effect. A box covers
# the middle half of the new patients.

preparation, attributor = pipeline[:-1], pipeline[-1]
effects = attributor.attribute(preparation.transform(X_new), y_new)

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.boxplot(effects, tick_labels=attributor.groups_, showfliers=False, medianprops={"color": "k"})
axes.axhline(0, color="0.5", linewidth=0.8)
axes.set(xlabel="hospital", ylabel="effect on the log-odds\nof the true diagnosis (nats)")
plt.show()

# %%
# Without hospital D the true diagnosis would get a higher probability for almost every new patient.
# `leave_out` returns that network; beside it is one that was retrained on the other hospitals. The
# mean loss shows the difference better than the accuracy on 200 patients.

forgetful = attributor.leave_out(["D"])
kept = (X["hospital"] != "D").to_numpy()
codes = np.searchsorted(attributor.classes_, y[kept])
torch.manual_seed(0)
retrained = clone(attributor.estimator_).fit(preparation.transform(X[kept]), codes)

networks = {
    "all hospitals": attributor.estimator_,
    "leave_out D": forgetful,
    "retrained without D": retrained,
}
for name, network in networks.items():
    probability = network.predict_proba(preparation.transform(X_new))
    accuracy = (attributor.classes_[probability.argmax(1)] == y_new).mean()
    loss = log_loss(y_new, probability.astype(float))
    print(f"{name:20s} mean loss {loss:.3f} nats, accuracy {accuracy:.3f}")
