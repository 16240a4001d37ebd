"""
Rewinding in a plane
====================

A classifier with two classes, two features and no intercept has two effective weights: the
difference of the weight vectors of its classes. So each step of rewinding, which
:class:`~sklearn_synset.SynsetAttributor` uses for modules of unknown training, can be drawn, and
compared with retraining without the group.
"""

# %%
# Six groups of rows, three in each class, and a linear classifier trained to convergence. Group 2
# lies among the rows of the other class.

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patheffects import withStroke
from scipy.optimize import minimize
from scipy.special import expit

from sklearn_synset import SynsetAttributor

WEIGHT_DECAY = 0.02
CENTRES = np.array([[-2.2, 0.6], [-1.4, -1.6], [1.1, 0.5], [1.8, 2.2], [0.6, -1.6], [2.4, -1.0]])
rng = np.random.default_rng(0)
groups = np.repeat(np.arange(6), 25)
X = CENTRES[groups] + 0.55 * rng.standard_normal((150, 2))
y = (groups >= 3).astype(int)


def objective(w, X, p, weight):
    """Mean cross-entropy on rows of weight `weight` and probability `p` of class 1, and decay."""
    z = X @ w
    loss = weight @ (np.logaddexp(0, z) - p * z) / weight.sum() + WEIGHT_DECAY / 4 * w @ w
    return loss, (weight * (expit(z) - p)) @ X / weight.sum() + WEIGHT_DECAY / 2 * w


def train(kept):
    """Find the best weights on the rows where `kept` holds."""
    rows = X[kept], y[kept], np.ones(kept.sum())
    return minimize(objective, np.zeros(2), rows, jac=True, tol=1e-10).x


trained = train(groups >= 0)
module = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
with torch.no_grad():
    module.weight.copy_(torch.from_numpy(np.stack([-trained, trained]) / 2))

# %%
# The synset has three rows for each group here, and is distilled in 800 steps.

attributor = SynsetAttributor(
    module, weight_decay=WEIGHT_DECAY, synset_size=3, max_iter=800, random_state=0
)
attributor.fit(X, y, groups=groups)

# %%
# To leave a group out, the trained weights are *rewound*: scaled down, so that residuals are as
# large as earlier in the training. From there the network is trained on the synset, once with all
# groups and once without the group. The difference between the two ends is added to the trained
# weights. The package does this for all groups at once. Here are the same paths in plain NumPy,
# from the public attributes.

synset = attributor.X_synset_, attributor.y_synset_[:, 1], attributor.sample_weight_synset_


def path(kept, rewind=0.9, n_steps=200, step_size=0.3, momentum=0.9):
    """Follow Nesterov's gradient descent on the synset rows where `kept` holds."""
    w, velocity, points = (1 - rewind) * trained, 0.0, []
    for _ in range(n_steps):
        points.append(w)
        rows = [part[kept] for part in synset]
        velocity = momentum * velocity - step_size * objective(w + momentum * velocity, *rows)[1]
        w = w + velocity
    return np.array(points)


LEFT_OUT = 2
with_all = path(attributor.synset_groups_ >= 0)
without = path(attributor.synset_groups_ != LEFT_OUT)
forgotten = attributor.leave_out([LEFT_OUT]).weight.detach().numpy()
forgotten = forgotten[1] - forgotten[0]
truth = train(groups != LEFT_OUT)

# %%
# Left: the training rows, and the synset rows among the rows that they represent. Right: the plane
# of weights with the trained network, the network of `leave_out`, and the network that was trained
# on the real rows of the other groups.

COLOURS = ["#0072B2", "#56B4E9", "black", "#D55E00", "#E69F00", "#CC79A7"]
figure, (rows_axes, axes) = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for group, colour in enumerate(COLOURS):
    members, marker = groups == group, "os"[group // 3]
    rows_axes.scatter(*X[members].T, s=16, marker=marker, color=colour, alpha=0.4, linewidths=0)
    chosen = attributor.synset_groups_ == group
    size = 12 * attributor.sample_weight_synset_[chosen]
    points = attributor.X_synset_[chosen].T
    rows_axes.scatter(*points, s=size, marker=marker, color=colour, edgecolors="white")
    place = CENTRES[group] + [0, 0.55]
    name = rows_axes.annotate(f"group {group}", place, ha="center", color=colour, weight="bold")
    name.set_path_effects([withStroke(linewidth=3, foreground="white")])
rows_axes.scatter([], [], marker="o", color="0.4", label="class 0")
rows_axes.scatter([], [], marker="s", color="0.4", label="class 1")
rows_axes.scatter([], [], s=12 * 10, color="0.4", label="synset row for 10")
rows_axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, columnspacing=1)
rows_axes.set(xlabel="feature 1", ylabel="feature 2", title="training rows and their synset")

grid = np.stack(np.meshgrid(np.linspace(-0.3, 4.4, 80), np.linspace(-1.1, 0.8, 60)), -1)
everything = X, y, np.ones(len(y))
height = [objective(w, *everything)[0] for w in grid.reshape(-1, 2)]
height = np.reshape(height, grid.shape[:2])
axes.contour(*np.moveaxis(grid, -1, 0), height, levels=20, colors="0.85", linewidths=0.8)
axes.plot(*with_all.T, color="#0072B2", linewidth=1, label="retrained on the whole synset")
label = f"retrained without group {LEFT_OUT}"
axes.plot(*without.T, color="#D55E00", linewidth=1, label=label)
arrow = {"arrowstyle": "->", "linewidth": 2, "shrinkA": 4, "shrinkB": 4}
axes.annotate("", forgotten, trained, arrowprops=arrow)
for point, marker, name, place in [
    (with_all[0], "x", "rewound", (0, -16)),
    (trained, "o", "trained", (0, -18)),
    (forgotten, "D", f"leave_out([{LEFT_OUT}])", (-8, 12)),
    (truth, "*", "retrained on real\nrows without it", (0, -32)),
]:
    axes.plot(*point, marker, color="black", markersize=9)
    axes.annotate(name, point, place, textcoords="offset points", ha="center", weight="bold")
axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12))
axes.set(xlabel="weight of feature 1", ylabel="weight of feature 2")
axes.set_title("paths to a network without the group")
plt.show()

# %%
# The same for every group and for 200 new points: the predicted effect of the group on the log-odds
# of the predicted class, and the effect by retraining.

queries = rng.uniform(-3, 3, (200, 2))
labels = module(torch.from_numpy(queries)).argmax(1).numpy()
predicted = attributor.attribute(queries, labels)
sign = np.where(labels == 1, 1, -1)
measured = np.stack([sign * (queries @ (trained - train(groups != k))) for k in range(6)], 1)

figure, axes = plt.subplots(figsize=(5.4, 5), layout="constrained")
for group, colour in enumerate(COLOURS):
    axes.scatter(predicted[:, group], measured[:, group], s=12, color=colour, label=group)
span = [measured.min(), measured.max()]
axes.plot(span, span, color="0.5", linestyle="--", label="equal", zorder=0)
axes.set(xlabel="predicted effect (nats)", ylabel="effect by retraining (nats)")
axes.legend(title="group")
plt.show()

# %%
# Positive means that the group helps: without it, the log-odds fall. Group 2 moves most predictions
# towards even odds, so its effect is mostly negative. It is so large that it is slightly
# underestimated.

print(f"correlation {np.corrcoef(predicted.ravel(), measured.ravel())[0, 1]:.3f}")
print(f"slope       {np.polyfit(predicted.ravel(), measured.ravel(), 1)[0]:.2f}")
