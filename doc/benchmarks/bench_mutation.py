"""Mutate the two mathematics folders, and list the changes that no test notices.

A mutant is one small change: a comparison, an operator, a number, a condition, min for max. It is
written into a copy of the package, and the tests of the mathematics run until the first failure;
those that survive meet the tests of the estimator. Each run is a fork of a process that has
imported torch already.

    python doc/benchmarks/bench_mutation.py --sample 100 --seed 0
"""

import argparse
import ast
import copy
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas  # noqa: F401
import pytest
import skorch  # noqa: F401
import torch

ROOT = Path(__file__).parents[2]
FOLDERS = ("sklearn_synset/_offline", "sklearn_synset/_online")
STAGES = (
    ["tests/_offline", "tests/_online"],
    ["tests/test_synset_attributor.py", "tests/test_synset_attributor_models.py"],
)
TIME_LIMIT = 300  # seconds; a mutant that loops for ever is noticed
PATIENCE = 1800  # for the tests without a mutant
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div, ast.MatMult: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax", "argmin": "argmax"}


def changes(node):
    """Return (name of the change, replacement) of every small change of a node."""
    found = []
    if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in OPERATORS:
        new = copy.deepcopy(node)
        new.op = OPERATORS[type(node.op)]()
        found.append(("operator", new))
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        new = copy.deepcopy(node)
        new.ops[0] = OPERATORS[type(node.ops[0])]()
        found.append(("comparison", new))
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        found.append(("number", ast.Constant(node.value * 2 + 1)))
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        found.append(("boolean", ast.Constant(not node.value)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        found.append(("sign or negation", node.operand))
    if isinstance(node, (ast.If, ast.IfExp)):
        new = copy.deepcopy(node)
        new.test = ast.UnaryOp(ast.Not(), node.test)
        found.append(("condition", new))
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        found.append(("name", ast.Attribute(node.value, NAMES[node.attr], node.ctx)))
    if isinstance(node, ast.Name) and node.id in NAMES:
        found.append(("name", ast.Name(NAMES[node.id], node.ctx)))
    return found


class Replace(ast.NodeTransformer):
    """Put another node in the place of one."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        return self.new if node is self.old else super().visit(node)


def is_annotation(node, parents):
    """Tell whether a node is part of a type annotation, which is never run."""
    while node in parents:
        parent = parents[node]
        annotations = [getattr(parent, name, None) for name in ("annotation", "returns")]
        if any(node is each for each in annotations):
            return True
        node = parent
    return False


def mutants(path):
    """Return (line, change, before, after, source of the whole file) of every mutant of a file."""
    tree = ast.parse(path.read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        for name, new in changes(node):
            if is_annotation(node, parents):
                continue
            before, after = (ast.unparse(each).splitlines()[0] for each in (node, new))
            memo = {}
            twin = copy.deepcopy(tree, memo)
            mutated = Replace(memo[id(node)], copy.deepcopy(new)).visit(twin)
            source = ast.unparse(ast.fix_missing_locations(mutated))
            found.append((node.lineno, name, before, after, source))
    return found


def is_noticed(folder, tests, time_limit=TIME_LIMIT):
    """Run tests in a fork; True if one fails or time runs out."""
    child = os.fork()
    if not child:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        marks = ["-m", "not slow", "-p", "no:cacheprovider"]
        os._exit(int(pytest.main(["-x", "-q", *marks, *tests])) % 256)
    deadline = time.time() + time_limit
    while time.time() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=None, help="mutants to try; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="1: only their own tests")
    options = parser.parse_args()
    stages = STAGES[: options.stages]
    torch.set_num_threads(1)
    start = time.time()
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("_[a-z]*.py"))
    every = [(path.relative_to(ROOT), *mutant) for path in files for mutant in mutants(path)]
    order = np.random.RandomState(options.seed).permutation(len(every))[: options.sample]
    n_tried, survivors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "cache", ".hypothesis")
        shutil.copytree(ROOT, copied, ignore=ignored)
        sys.dont_write_bytecode = True
        for tests in stages:
            if is_noticed(copied, tests, PATIENCE):
                raise SystemExit(f"{tests} fail without a mutant.")
        for index in order:
            if time.time() - start > options.seconds:
                break
            path, line, name, before, after, source = every[index]
            original = (copied / path).read_text()
            (copied / path).write_text(source)
            stage = next((i for i, tests in enumerate(stages) if is_noticed(copied, tests)), None)
            (copied / path).write_text(original)
            n_tried += 1
            if stage is None:
                survivors.append((path, line, name, before, after))
                print(f"survives: {path}:{line} {name}: {before!r} -> {after!r}", flush=True)
            else:
                print(f"noticed by {STAGES[stage][0]}: {path}:{line} {before!r}", flush=True)
    print(f"{len(every)} mutants in {len(files)} files, {n_tried} tried, {len(survivors)} survive")


if __name__ == "__main__":
    main()
