"""Is the answer right, or the refusal clear, for small networks and trainings of many kinds?

    python doc/benchmarks/bench_zoo.py              # all of `_zoo.py`, some ten minutes
    python doc/benchmarks/bench_zoo.py GRU "batch norm"

Each network is trained on 90 rows in 6 groups, and explained with defaults. It works unless it is
refused (a `ValueError` or `TypeError` in `fit`), warned of (`fit` says that the training cannot be
repeated, and effects are out of line) or wrong:

outputs  the fitted attributor's outputs differ from those of the network,
nothing  leaving nothing out moves outputs,
network  effects are not those of the network that `leave_out` returns,
replay   a net's training repeated side by side differs from the same training by skorch, by more
         than a tenth of the spread of effects (but for dropout, whose masks differ, and spectral
         norms, whose singular vectors all networks share), or
effects  they are out of line with real retraining from other seeds: their correlation with the mean
         of two retrainings is more than 0.15 below that of the mean of two others, or the slope of
         that mean on them is outside of 0.6-1.67 times that on the two others. (The attributor's
         own is a mean of two. Seeds of so small trainings differ: a slope falls with their noise.)
         Twice as much is allowed for a bare module, whose training is not known.

corr, slope  of the effects of all groups on 60 queries with the mean of two retrainings
two          the same of the mean of two others
exact        root mean square difference of side by side and skorch, over the spread
"""

import argparse
import time
import warnings

import numpy as np
import torch
from _zoo import ANIMALS, rows_of

from sklearn_synset import SynsetAttributor
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._wrapping.module_rows import module_rows
from sklearn_synset.metrics import retraining

N_SEEDS = 4
BELOW_TWO, LARGEST_SLOPE, INEXACT = 0.15, 1.67, 0.1


def fitted(animal, X, y, groups):
    """Return the fitted attributor."""
    net = animal.estimator()
    if animal.bare:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = net.fit(X, y).module_.to(animal.dtype)
    objective = "loss" if animal.rows == "two values" else "auto"
    attributor = SynsetAttributor(net, objective=objective, n_probes=0, random_state=0)
    return attributor.fit(X, y, groups=groups, **animal.fit)


def margins(outputs, y):
    """Return log-odds of labels, or values."""
    outputs = torch.as_tensor(outputs).double()
    if np.asarray(y).dtype.kind == "f":
        return outputs
    own = outputs.gather(1, torch.as_tensor(y)[:, None])
    others = outputs.scatter(1, torch.as_tensor(y)[:, None], -torch.inf).logsumexp(1)
    return own[:, 0] - others


def function_of(network, X, is_classifier):
    """Return what a network makes of rows (n, ...), as logits or values."""
    rows = torch.as_tensor(X)
    rows = rows.to(_dtype(network)) if rows.is_floating_point() else rows
    with torch.no_grad():
        is_module = isinstance(network, torch.nn.Module)
        output = network.eval()(rows) if is_module else network.forward(rows)
    output = output[0] if isinstance(output, tuple) else output
    output = output.reshape(len(output), -1).double()
    if is_classifier and output.shape[1] == 1:
        return torch.cat([torch.zeros_like(output), output], dim=1)
    is_distribution = (output >= 0).all() and ((output.sum(1) - 1).abs() < 1e-3).all()
    return output.log() if is_classifier and is_distribution else output


def faults_of(attributor, X, y):
    """Name what is inconsistent in a fitted attributor."""
    model, plan = attributor._online.models[0], attributor._online.plans[0]
    is_classifier, faults = attributor.classes_ is not None, []
    precision = 0.1 if _dtype(attributor.estimator_) is torch.bfloat16 else 1e-3

    def objective(network):
        return margins(function_of(network, X, is_classifier), y)

    with torch.no_grad():
        received = module_rows(attributor.estimator_, X, None)
        own = margins(model(model.theta, attributor._online.rows_of(received)[:]), y)
    theirs = objective(attributor.estimator_)
    if not torch.allclose(own, theirs, rtol=precision, atol=precision):
        faults.append("outputs")
    if isinstance(plan, ReplayPlan) and not plan.is_generic:
        everything = torch.ones_like(attributor._online.kept[:1])
        if plan.displacements(model, everything).abs().max() > 0:
            faults.append("nothing")
    if own.ndim == 2 and own.shape[1] > 1:
        return faults
    effects = attributor.attribute(X, y)
    for k, group in enumerate(attributor.groups_[:2]):
        change = theirs - objective(attributor.leave_out([group]))
        allowed = precision * np.abs(effects).max()
        if np.abs(effects[:, k] - change.numpy().reshape(len(X))).max() > allowed:
            return [*faults, "network"]
    return faults


def is_stateful(network):
    """Tell whether a network draws masks in training, or keeps singular vectors."""
    parts = _module(network).modules()
    return any(
        (isinstance(part, torch.nn.Dropout) and part.p > 0)
        or type(part).__name__ == "_SpectralNorm"
        for part in parts
    )


def _dtype(network):
    return next(_module(network).parameters()).dtype


def _module(network):
    return network if isinstance(network, torch.nn.Module) else network.module_


def compared(found, truth):
    """Return correlation and slope of the mean of truth (s, q, K) on some effects (q, K)."""
    mean, found = truth.mean(0).ravel(), found.ravel()
    return np.corrcoef(found, mean)[0, 1], (found @ mean) / (found @ found)


def halves(effects, truth):
    """Return correlation and slope of effects, and of two retrainings, with two others."""
    pairs = [((0, 1), (2, 3)), ((2, 3), (0, 1)), ((0, 2), (1, 3)), ((1, 3), (0, 2))]
    ours = np.mean([compared(effects, truth[list(b)]) for _, b in pairs], axis=0)
    theirs = [compared(truth[list(a)].mean(0), truth[list(b)]) for a, b in pairs]
    return ours, np.mean(theirs, axis=0)


def examine(name):
    """Return the verdict on one kind, and what there is to say."""
    animal = ANIMALS[name]
    X, y, groups, X_query, y_query = rows_of(animal.rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            attributor = fitted(animal, X, y, groups)
        except (TypeError, ValueError) as error:
            return "refused", str(error).splitlines()[0]
        except Exception as error:
            return "wrong", f"raises {type(error).__name__}: {error}"
    is_warned = any("training cannot be repeated" in str(each.message) for each in caught)
    labels = y_query.argmax(1) if animal.rows == "soft" else y_query
    params = {"objective": "loss"} if animal.rows == "two values" else {}
    faults = faults_of(attributor, X_query, labels)
    params |= {"groups": groups, "random_state": 1} | animal.fit

    def retrained(n_seeds, **how):
        return retraining(
            animal.estimator(), X, y, X_query, labels, n_seeds=n_seeds, **params, **how
        )

    truth = retrained(N_SEEDS, side_by_side=False).effects
    beside, exact = retrained(1), np.nan
    if beside.how == "side by side":
        exact = np.sqrt(np.square(beside.effects[0] - truth[0]).mean()) / truth[0].std()
        if exact > INEXACT and not is_stateful(attributor.estimator_):
            faults.append("replay")
    objective = params.get("objective")
    effects = attributor.attribute(X_query, labels, objective=objective)
    (corr, slope), (two, two_slope) = halves(effects, truth)
    allowed = 2 if animal.bare else 1
    limit = LARGEST_SLOPE**allowed
    if corr < two - allowed * BELOW_TWO or not 1 / limit < slope / two_slope < limit:
        faults.append("effects")
    figures = f"corr {corr:.2f} slope {slope:.2f} two {two:.2f} {two_slope:.2f} exact {exact:.0e}"
    how = attributor.plan_.solver
    verdict = "wrong" if faults else "works"
    if faults == ["effects"] and is_warned:
        verdict = "warned"
    return verdict, f"{figures}, {how} {' '.join(faults)}".rstrip()


def main():
    """Print a line for each kind, and the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*ANIMALS, []], metavar="name")
    names = parser.parse_args().names or list(ANIMALS)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts = dict.fromkeys(("works", "refused", "warned", "wrong"), 0)
    for name in names:
        start = time.perf_counter()
        verdict, said = examine(name)
        counts[verdict] += 1
        print(f"{name:32} {verdict:8} {said} ({time.perf_counter() - start:.0f} s)", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


if __name__ == "__main__":
    main()
