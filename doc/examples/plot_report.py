"""
A report to pass on
===================

A colleague who decides about patients, and has no Python, wants to know which data a model's
predictions depend on. One HTML file shows it. It opens in any browser, without a server or a
network connection.
"""

# %%
# The model: a pipeline that scales the features of scikit-learn's breast cancer table, and a small
# network that the attributor trains itself. Two networks from different seeds give every effect a
# standard error.

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import AttributionReport

table, is_benign = load_breast_cancer(return_X_y=True, as_frame=True)
diagnosis = np.where(is_benign, "benign", "malignant")
X, X_new, y, y_new = train_test_split(table, diagnosis, test_size=150, random_state=0)

pipeline = make_pipeline(StandardScaler(), SynsetAttributor(n_models=2, random_state=0))
pipeline.fit(X, y)

# %%
# The report takes the fitted pipeline, the patients to explain, and the training rows, of which it
# shows some. Rows appear as the pipeline takes them, in their own units.

report = AttributionReport(
    pipeline,
    X_new,
    y_new,
    X_train=X,
    y_train=y,
    title="Benign or malignant: the training data behind each prediction",
    description="Rows are patients, named by their number in scikit-learn's table.",
)

# %%
# `write_html` makes the file, and `open` shows it in the browser of this machine.

with TemporaryDirectory() as folder:
    path = Path(folder) / "report.html"
    report.write_html(path)
    print(f"{path.stat().st_size / 1e6:.2f} MB")

# %%
# In a notebook, and on this page, the report shows itself. Start with *Can it be trusted?*, then
# look at the wrong predictions.

report
