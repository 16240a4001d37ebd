"""Do metrics agree with dattri's on random inputs, where both mean the same?

    python doc/benchmarks/bench_metrics.py

dattri runs in the environment that `bench_peers.py` makes. Printed is the largest difference: of
the linear datamodeling score of each query, and of the area under the ROC curve of wrong labels,
which dattri adds up in single precision. Its correlation with leaving rows out is Pearson's, where
ours is Spearman's over seeds, so there is nothing to compare.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from _peers import environment_python

from sklearn_synset.metrics import linear_datamodeling_score, mislabel_roc_auc

N_GROUPS, N_QUERIES, N_SUBSETS, N_ROWS = 40, 30, 60, 500
THEIRS = """
import sys, numpy as np, torch
from dattri.metric import lds, mislabel_detection_auc
given = {name: torch.from_numpy(value) for name, value in np.load(sys.argv[1]).items()}
score, _ = lds(given["scores"].T, (given["outputs"], given["kept"]))
area, _ = mislabel_detection_auc(-given["row_scores"], given["is_wrong"])
np.savez(sys.argv[2], lds=score.numpy(), auc=float(area))
"""


def random_inputs():
    """Return scores, outputs of networks trained on random halves, and rows with wrong labels."""
    rng = np.random.RandomState(0)
    scores = rng.normal(size=(N_QUERIES, N_GROUPS))
    kept = np.array([rng.permutation(N_GROUPS)[: N_GROUPS // 2] for _ in range(N_SUBSETS)])
    subsets = np.zeros((N_SUBSETS, N_GROUPS), bool)
    np.put_along_axis(subsets, kept, values=True, axis=1)
    outputs = subsets @ scores.T + 5 * rng.normal(size=(N_SUBSETS, N_QUERIES))
    is_wrong = rng.rand(N_ROWS) < 0.1
    row_scores = rng.normal(size=N_ROWS) - is_wrong
    return {
        "scores": scores,
        "kept": kept,
        "subsets": subsets,
        "outputs": outputs,
        "is_wrong": is_wrong,
        "row_scores": row_scores,
    }


def main():
    """Print the differences."""
    given = random_inputs()
    with tempfile.TemporaryDirectory() as folder:
        inputs, found = Path(folder) / "inputs.npz", Path(folder) / "found.npz"
        np.savez(inputs, **given)
        command = [environment_python(), "-c", THEIRS, inputs, found]
        subprocess.run([str(part) for part in command], check=True)
        theirs = dict(np.load(found))
    lds = linear_datamodeling_score(
        given["outputs"], given["scores"], given["subsets"], average=None
    )
    auc = mislabel_roc_auc(given["is_wrong"], given["row_scores"])
    print(f"linear datamodeling score, {len(lds)} queries: {np.abs(lds - theirs['lds']).max():.1e}")
    print(f"area under the ROC curve: {abs(auc - theirs['auc']):.1e}")


if __name__ == "__main__":
    main()
