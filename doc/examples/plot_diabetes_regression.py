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
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import AttributionDisplay, FidelityDisplay
from sklearn_synset.metrics import retraining

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X, X_new, y, y_new = train_test_split(X, y, test_size=100, random_state=0)
attributor = SynsetAttributor(n_groups=12, random_state=0).fit(X, y)
forecast = attributor.estimator_.predict(X_new.to_numpy())[:, 0]
print(f"R2 on new patients {1 - ((forecast - y_new) ** 2).mean() / y_new.var(ddof=0):.2f}")
print(f"rank correlation with measured effects {attributor.fidelity_.rank_correlation:.2f}")

# %%
# The new patient with the highest forecast, and the groups with the largest effects on it:

query = X_new.iloc[[forecast.argmax()]]
AttributionDisplay.from_estimator(attributor, query, X_train=X, y_train=y, unit="points")
plt.show()

# %%
# The network is small, so retrain it without each group, from three seeds, and compare.

truth = retraining(
    *(attributor.estimator_, X.to_numpy(), y, X_new.to_numpy(), y_new),
    groups=attributor.group_labels_,
    n_seeds=3,
    random_state=0,
)
FidelityDisplay.from_effects(
    attributor.transform(X_new), truth.effects, quantity="forecast", unit="points"
)
plt.show()

# %%
# The residuals of a group's rows have both signs, and a few synset rows represent such noise badly.
# With all rows as the synset, the default for a table of this size, that does not matter.
