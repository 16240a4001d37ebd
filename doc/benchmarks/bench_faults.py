"""Count the wrong inputs that are tried and the faults that are injected, and the results.

    python doc/benchmarks/bench_faults.py

Wrong inputs are those of doc/bad_input.rst. A fault is a network, callable or callback that raises
in the middle of a fit or a query, memory that runs out, a write that breaks off, or a saved file
with a bit turned or its end cut off.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from sklearn_synset import SynsetAttributor
from sklearn_synset._network.functional_model import FunctionalModel
from tests import faults
from tests.bad_inputs import SECTIONS, fitted
from tests.problems import mlp

FLIPS, CUTS = 2000, 200


def bad_inputs():
    """Return {section: (tried, refused with the error of the table)}."""
    for kind in ("labels", "values", "two values", "words", "images", "float32"):
        fitted(kind)
    counts = {}
    for section, found in SECTIONS.items():
        refused = 0
        for case in found:
            try:
                case.run()
            except case.error as error:
                refused += case.says in str(error)
        counts[section] = len(found), refused
    return counts


def is_as_before(attributor, run):
    """Run what raises; tell whether it raised and left the attributor as it was."""
    before = {name: id(value) for name, value in vars(attributor).items()}
    try:
        run()
    except (ValueError, KeyboardInterrupt) as error:
        same = before == {name: id(value) for name, value in vars(attributor).items()}
        return "injected" in str(error) and same
    return False


def raising_networks(n_places=25):
    """Let the network raise at many places of a fit."""
    X, y = faults.rows()
    n_calls = faults.count_calls(lambda: faults.module_attributor().fit(X, y))
    fitted_before = faults.module_attributor().fit(X, y)
    kept = []
    for error in faults.ERRORS.values():
        for place in np.linspace(40, n_calls, n_places).astype(int):
            for attributor in (faults.module_attributor(), fitted_before):
                with faults.Failing.armed(place, error):
                    kept.append(is_as_before(attributor, lambda a=attributor: a.fit(X, y)))
    return len(kept), sum(kept)


def raising_callables():
    """Let each callable parameter raise, and a callback of a net."""
    X, y = faults.rows()
    kept = []
    for error in faults.ERRORS.values():
        for name, build in faults.CALLABLES.items():
            params = faults.FAST | {name: build(error)}
            attributor = SynsetAttributor(mlp(), n_groups=6, **params)
            kept.append(is_as_before(attributor, lambda a=attributor: a.fit(X, y)))
    net = faults.net([faults.FailingCallback(faults.ERRORS["error"])])
    attributor = SynsetAttributor(net, n_groups=6, **faults.FAST)
    kept.append(is_as_before(attributor, lambda: attributor.fit(X, y)))
    return len(kept), sum(kept)


def little_memory():
    """Let memory run out on queries, in three ways, in three methods, for chunks of four sizes.

    Training again takes the synset's rows at once: calls on them are let through.
    """
    X = faults.rows()[0]
    attributor, call, went_on = faults.fitted(), FunctionalModel.__call__, []
    n_synset = len(attributor.X_synset_)
    for name in faults.OUT_OF_MEMORY:
        for method in ("transform", "score_samples", "score"):
            expected = getattr(attributor, method)(X)
            for largest in (20, 8, 3, 1):

                def limited(self, theta, rows, largest=largest, name=name):
                    if len(rows) > largest and len(rows) != n_synset:
                        faults.run_out_of_memory(name)
                    return call(self, theta, rows)

                FunctionalModel.__call__ = limited
                try:
                    with warnings.catch_warnings(record=True) as caught:
                        warnings.simplefilter("always")
                        found = getattr(attributor, method)(X)
                finally:
                    FunctionalModel.__call__ = call
                warned = any("not enough memory" in str(each.message) for each in caught)
                went_on.append(warned and np.allclose(found, expected))
    return len(went_on), sum(went_on)


def broken_writes(path):
    """Let the write of a file break off; the old file has to stay."""
    attributor = faults.fitted()
    attributor.save(path)
    content, kept = path.read_bytes(), []
    for step in ("fsync", "replace"):
        original = getattr(os, step)
        for error in faults.ERRORS.values():

            def fail(*args, error=error):
                raise error

            setattr(os, step, fail)
            try:
                kept.append(is_as_before(attributor, lambda: attributor.save(path)))
            finally:
                setattr(os, step, original)
            kept[-1] &= path.read_bytes() == content and len(list(path.parent.iterdir())) == 1
    return len(kept), sum(kept)


def damaged_files(path):
    """Flip bits of a saved attributor, and cut it off; return counts of both, and of harm."""
    attributor = faults.fitted()
    attributor.save(path)
    content, X = path.read_bytes(), faults.rows()[0]
    expected, rng = attributor.transform(X), np.random.RandomState(0)
    outcomes = {"flipped": [0, 0, 0], "cut": [0, 0, 0]}
    for kind, n in (("flipped", FLIPS), ("cut", CUTS)):
        for position in rng.randint(len(content), size=n):
            damaged = bytearray(content)
            damaged[position] ^= 1 << rng.randint(8)
            path.write_bytes(damaged if kind == "flipped" else content[:position])
            try:
                loaded = SynsetAttributor.load(path, mlp())
            except ValueError:
                outcomes[kind][0] += 1
                continue
            harmless = np.array_equal(loaded.transform(X), expected)
            outcomes[kind][1 if harmless else 2] += 1
    return outcomes


def main():
    """Print the counts."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts = bad_inputs()
    for section, (tried, refused) in counts.items():
        print(f"{section:28} {tried:5} tried, {refused:5} refused as the table says")
    totals = [sum(pair[i] for pair in counts.values()) for i in range(2)]
    print(f"{'bad inputs':28} {totals[0]:5} tried, {totals[1]:5} refused as the table says")
    print(f"{'networks that raise':28} %5d injected, %5d left all as it was" % raising_networks())
    print(f"{'callables that raise':28} %5d injected, %5d left all as it was" % raising_callables())
    print(
        f"{'memory that runs out':28} %5d injected, %5d went on, with a warning" % little_memory()
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "attributor.safetensors"
        print(
            f"{'writes that break off':28} %5d injected, %5d kept the old file"
            % broken_writes(path)
        )
        for kind, (noticed, harmless, wrong) in damaged_files(path).items():
            print(
                f"{'saved files, ' + kind:28} {noticed + harmless + wrong:5} injected, {noticed:5} "
                f"refused, {harmless} harmless, {wrong} unnoticed"
            )


if __name__ == "__main__":
    main()
