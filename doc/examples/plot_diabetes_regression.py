"""
Regression: which patients raise a forecast?
============================================

A network forecasts how far a patient's diabetes will have progressed after a year. For values, an
attribution is in the unit of the target: by how many points the forecast would be lower without a
group of patients.
"""

# %%
# Without an estimator, a small network is trained in ``fit``. Groups are clusters of patients who
# are alike in their features and in their progression.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from sklearn_synset import SynsetAttributor

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X, X_new, y, y_new = train_test_split(X, y, test_size=100, random_state=0)
attributor = SynsetAttributor(n_groups=12, random_state=0).fit(X, y)
forecast = attributor.estimator_.predict(X_new.to_numpy())[:, 0]
print(f"R2 on new patients {1 - ((forecast - y_new) ** 2).mean() / y_new.var(ddof=0):.2f}")
print(f"rank correlation with the probes {attributor.fidelity_.rank_correlation:.2f}")

# %%
# The new patient with the highest forecast. Groups are named by how many patients they have, and by
# the means of their body mass index, blood pressure and progression.

query = forecast.argmax()
effects = attributor.transform(X_new)
order = np.argsort(effects[query])
names = []
for group in attributor.groups_[order]:
    members = attributor.group_labels_ == group
    bmi, pressure = X.loc[members, ["bmi", "bp"]].mean()
    names.append(f"{members.sum()}: bmi {bmi:.0f}, bp {pressure:.0f}, y {y[members].mean():.0f}")

figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
colours = np.where(effects[query, order] > 0, "#0072B2", "#D55E00")
axes.barh(names, effects[query, order], color=colours)
axes.axvline(0, color="black", linewidth=0.8)
bmi, pressure = X_new.iloc[query][["bmi", "bp"]]
axes.set_title(f"bmi {bmi:.0f}, bp {pressure:.0f}: forecast {forecast[query]:.0f} points")
axes.set_xlabel("effect of the group on the forecast (points)")
plt.show()

# %%
# Is it so? The network is small, so train it again without each group, from three seeds.

X_train, X_query = X.to_numpy(), X_new.to_numpy()


def retrained(kept, seed):
    """Train the same network on some patients; return its forecasts."""
    torch.manual_seed(seed)
    net = clone(attributor.estimator_)
    return net.fit(X_train[kept], y.to_numpy()[kept, None]).predict(X_query)[:, 0]


truth = np.zeros_like(effects)
for seed in range(3):
    with_all = retrained(attributor.group_labels_ >= 0, seed)
    for column, group in enumerate(attributor.groups_):
        truth[:, column] += (with_all - retrained(attributor.group_labels_ != group, seed)) / 3

figure, axes = plt.subplots(figsize=(5.4, 5), layout="constrained")
axes.plot(effects.ravel(), truth.ravel(), ".", color="#0072B2", alpha=0.4, markersize=4)
span = [truth.min(), truth.max()]
axes.plot(span, span, color="0.5", linestyle="--", label="equal")
axes.set(xlabel="effect by the synset (points)", ylabel="effect by training again (points)")
axes.legend()
plt.show()
slope = np.polyfit(effects.ravel(), truth.ravel(), 1)[0]
correlation = np.corrcoef(effects.ravel(), truth.ravel())[0, 1]
print(f"correlation {correlation:.2f}, slope {slope:.2f}")
