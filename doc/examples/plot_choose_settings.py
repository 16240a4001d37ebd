"""
Choosing settings by grid search
================================

By default the synset consists of all training rows. A smaller synset saves memory. How many rows
does a group need, and is distilling them worth the time? ``score`` measures how well the predicted
effects agree with those of leaving groups out of the *real* rows, on rows that you choose. So
:class:`~sklearn.model_selection.GridSearchCV` can choose.
"""

# %%
# The groups that ``fit`` leaves out of the real rows are the same for all settings, so the
# comparison is fair. The folds are stratified explicitly; for a wrapped skorch classifier that is
# the default.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import scale

from sklearn_synset import SynsetAttributor

X, y = load_wine(return_X_y=True)
X = scale(X)
grid = {"synset_size": [1, 2, 4], "max_iter": [0, 30]}
attributor = SynsetAttributor(n_groups=6, random_state=0)
search = GridSearchCV(attributor, grid, cv=StratifiedKFold(2, shuffle=True, random_state=0))
search.fit(X, y)
print("best:", search.best_params_)

# %%
# The bars are standard deviations over the two folds. ``max_iter=0`` keeps the starting rows.

scores = search.cv_results_["mean_test_score"].reshape(2, 3)
spread = search.cv_results_["std_test_score"].reshape(2, 3)
seconds = search.cv_results_["mean_fit_time"].reshape(2, 3)
sizes = np.arange(3)

figure, (axes, time_axes) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for i, (label, colour, marker) in enumerate(
    [("starting rows (max_iter=0)", "#E69F00", "s"), ("distilled (max_iter=30)", "#0072B2", "o")]
):
    style = {"color": colour, "marker": marker, "label": label, "capsize": 4}
    axes.errorbar(sizes + 0.06 * i, scores[i], spread[i], **style)
    time_axes.plot(sizes, seconds[i], marker, color=colour, label=label)
for each in (axes, time_axes):
    each.set(xticks=sizes, xticklabels=grid["synset_size"], xlabel="synset rows per group")
axes.set(ylabel="score: agreement with measured effects")
time_axes.set(ylabel="seconds to fit", ylim=(0, None))
axes.legend(loc="lower right")
plt.show()

# %%
# Compare what more rows gain with what distillation gains, and what each costs. Enough rows are
# those at which the score stops rising.
