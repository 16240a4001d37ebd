"""Mutate the folders of the mathematics, and list the changes that no test notices.

A mutant is one small change: an operator, a comparison, a number, a condition, a sign, min for max,
a call left out. Only tests that run the changed line are used, those of the mathematics first and
the quickest first, until one fails or the time for a mutant is over. Results are kept in
doc/benchmarks/cache/mutation: a run that was broken off goes on where it was. Why no test notices
some survivors, nor need, is in mutants_explained.txt.

    python doc/benchmarks/bench_mutation.py cover             # which test runs which line; slow
    python doc/benchmarks/bench_mutation.py cover tests/_probes/test_probes.py  # after a change
    python doc/benchmarks/bench_mutation.py run --near        # by the tests of the mathematics
    python doc/benchmarks/bench_mutation.py again             # survivors, by tests not yet asked
    python doc/benchmarks/bench_mutation.py report

Why not an existing tool: mutmut 3 does not change what is outside functions or in decorated ones,
so neither constants nor properties nor anything under no_grad, and cosmic-ray starts an interpreter
for each mutant, which takes longer to import torch than most mutants live. Here a single process
imports everything and collects the tests, with all mutants in the modules at once (_mutants.py);
each mutant is a fork of it. Changes of what runs at import have a fork that imports anew. Worker
processes that a test starts run the package as it is. A test that fails is run once without a
mutant, and does not count if it fails then, too (not for changes at import).
"""

import argparse
import ast
import collections
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # threads do not survive a fork

import coverage
import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import pytest
import sklearn.cluster
import sklearn.utils.estimator_checks  # noqa: F401
import skorch  # noqa: F401
import torch
from _mutants import Mutator

ROOT = Path(__file__).parents[2]
CACHE = Path(__file__).parent / "cache" / "mutation"
COVERAGE, SECONDS, RESULTS = (
    CACHE / name for name in ("coverage", "seconds.json", "results.jsonl")
)
EXPLAINED = Path(__file__).parent / "mutants_explained.txt"
FOLDERS = ("_statistics", "_objective", "_curvature", "_retraining", "_distillation",
           "_attribution", "_probes")  # fmt: skip
FILES = ("_data/partition.py", "_data/group_assignment.py", "_network/norm_of_the_batch.py",
         "_network/normalised_rows.py")  # fmt: skip
PLAIN = ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--rootdir", str(ROOT)]
BROKEN = 77  # exit status of a fork that failed outside of a test
SLOWEST = 60  # seconds; slower tests are not asked


class Recorder:
    """Note how long each test takes, with what it sets up."""

    def __init__(self):
        self.seconds = collections.Counter()

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration


def cover(files):
    """Run tests, and note the lines that each runs and the time it takes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    recorder, known = Recorder(), {}
    os.environ["COVERAGE_FILE"] = str(COVERAGE)
    if files and SECONDS.exists():
        known = json.loads(SECONDS.read_text())
    append = ["--cov-append"] if files else ["--ignore=tests/test_examples.py"]
    options = ["--cov", "--cov-branch", "--cov-context=test", "--cov-report=", *append]
    code = pytest.main([*PLAIN, *options, *files], plugins=[recorder])
    SECONDS.write_text(json.dumps({**known, **recorder.seconds}, indent=0))
    return int(code)


class Tests:
    """Which tests run which lines."""

    def __init__(self, *, only_near=False):
        self.seconds, self.only_near = json.loads(SECONDS.read_text()), only_near
        data = coverage.CoverageData(str(COVERAGE))
        data.read()
        self._by_line, self._in_set_up = {}, set()
        for file in data.measured_files():
            path = file[file.rindex("sklearn_synset/") :]
            by_line = self._by_line[path] = collections.defaultdict(set)
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    test, _, phase = context.rpartition("|")
                    if phase == "setup":
                        self._in_set_up.add((path, line, test))
                    by_line[line].add(test)
                by_line[line].discard("")
        self._mentions = collections.defaultdict(set)
        for path in self._by_line:
            if (ROOT / path).exists():
                for node in ast.walk(ast.parse((ROOT / path).read_text())):
                    name = getattr(node, "id", getattr(node, "attr", None))
                    if name:
                        self._mentions[name].add((path, node.lineno))

    def of(self, mutant, sharing):
        """Return the tests that can notice a mutant, in the order in which to ask them.

        What a fixture runs for a whole module is noted with the first test that wants it; `sharing`
        maps a test to all that get the same.
        """
        places = {(mutant.path, line) for line in mutant.lines}
        found = {test for path, line in places for test in self._by_line[path][line]}
        if mutant.at_import and not found:
            places = {place for name in mutant.names for place in self._mentions[name]}
            found = {test for path, line in places for test in self._by_line[path][line]}
        for path, line in places:
            for test in self._by_line[path][line]:
                if (path, line, test) in self._in_set_up:
                    found |= sharing.get(test, set())

        def order(test):
            file = test.partition("::")[0]
            folder, name = Path(mutant.path).parts[1:]
            is_own = file in (f"tests/{folder}/test_{name}", mutant.path)
            is_near = file.startswith(tuple(f"tests/{near}/" for near in (*FOLDERS, folder)))
            return not is_own, not is_near, self.seconds.get(test, SLOWEST)

        quick = [test for test in found if self.seconds.get(test, SLOWEST) < SLOWEST]
        if self.only_near:
            quick = [test for test in quick if not all(order(test)[:2])]
        return sorted(quick, key=order)


class Hunt:
    """A pytest plugin that runs no test itself, but forks of it for each mutant."""

    def __init__(self, mutants, tests, asked, seconds, until):
        self.mutants, self.tests, self.asked = mutants, tests, asked
        self.seconds, self.until = seconds, until
        self._sound, self._failed = {}, False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self._items = {item.nodeid: item for item in session.items}
        sharing = self._sharing(session)
        for mutant in self.mutants:
            if time.time() > self.until:
                break
            tests = [
                test
                for test in self.tests.of(mutant, sharing)
                if test in self._items and test not in self.asked.get(mutant.key, ())
            ]
            start = time.time()
            passed, killer = self._ask(mutant, tests)
            took, before = time.time() - start, self.asked.get(mutant.key, ())
            _note(mutant, [*before, *passed], killer, len(before) + len(tests), took)
        return True

    def pytest_runtest_logreport(self, report):
        self._failed |= report.failed

    @staticmethod
    def _sharing(session):
        """Map each test to those that use the same fixture of a module, package or session."""
        users, sharing = collections.defaultdict(set), collections.defaultdict(set)
        for item in session.items:
            for definitions in getattr(item, "_fixtureinfo", None).name2fixturedefs.values():
                for definition in definitions:
                    if definition.scope != "function":
                        users[definition].add(item.nodeid)
        for together in users.values():
            for test in together if len(together) < 200 else ():
                sharing[test] |= together
        return sharing

    def _ask(self, mutant, tests):
        """Return the tests that pass, and the one that fails, if any does."""
        passed, deadline = [], time.time() + self.seconds
        while True:
            more, killer = self._fork(mutant.number, tests[len(passed) :], deadline)
            passed += more
            if killer is None:
                return passed, None
            test = killer.removeprefix("time: ").removeprefix("crash: ")
            if mutant.at_import:
                return passed, killer  # what is imported cannot be unmutated here
            if test not in self._sound:
                self._sound[test] = self._fork(0, [test], time.time() + 600)[1] is None
            if self._sound[test]:
                return passed, killer
            print(f"fails without a mutant: {test}", file=sys.stderr)
            passed.append(test)

    def _fork(self, number, tests, deadline):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(reading)
                self._live(number, tests, deadline, writing)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(BROKEN)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = b""
            while not said.endswith(b"-") and (part := os.read(pipe.fileno(), 1)):
                said += part
        status = os.waitpid(child, 0)[1]
        try:
            os.killpg(child, signal.SIGKILL)  # workers that a test has started
        except ProcessLookupError:
            pass
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN:
            raise RuntimeError(f"mutant {number} could not be tried; see above")
        n_passed = said.count(b"+")
        passed = tests[:n_passed]
        if said.endswith(b"-"):
            return passed, tests[n_passed]
        if said.endswith(b"?"):
            late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
            return passed, ("time: " if late else "crash: ") + tests[n_passed]
        return passed, None

    def _live(self, number, tests, deadline, writing):
        """Be a mutant, and tell of each test that it begins and how it ends."""
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        Mutator.be(number)
        items = [self._items[test] for test in tests]
        for i, item in enumerate(items):
            expected = self.tests.seconds.get(item.nodeid, 1)
            if i and time.time() + expected > deadline:
                break
            os.write(writing, b"?")
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(20 + 10 * expected))
            following = items[i + 1] if i + 1 < len(items) else None
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            signal.alarm(0)
            os.write(writing, b"-" if self._failed else b"+")
            if self._failed:
                break


def _note(mutant, passed, killer, n_tests, took):
    """Append what became of a mutant to the results."""
    result = {
        "key": mutant.key, "path": mutant.path, "line": mutant.line, "name": mutant.name,
        "before": mutant.before, "after": mutant.after, "killer": killer, "passed": passed,
        "all_asked": killer is None and len(passed) >= n_tests, "seconds": round(took, 1),
    }  # fmt: skip
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")
    verdict = f"noticed by {killer}" if killer else f"SURVIVES {len(passed)} tests"
    if not killer and not n_tests:
        verdict = "NO TEST runs it"
    change = f"{mutant.before} -> {mutant.after}".splitlines()[0]
    print(f"{mutant.path}:{mutant.line} {change}: {verdict}, {took:.1f} s", flush=True)


def results():
    """Return {key: latest result}."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else ()
    return {result["key"]: result for result in map(json.loads, lines)}


def hunt(mutator, mutants, asked, options, number=0):
    """Collect the tests as mutant `number`, in a fork, and ask them."""
    child = os.fork()
    if not child:
        os.chdir(ROOT)
        sys.path.insert(0, str(ROOT))
        os.environ["PYTHONPATH"] = str(ROOT)
        sys.meta_path.insert(0, mutator)
        mutator.be(number)
        tests = Tests(only_near=options.near)
        files = []
        if number:
            nodes = tests.of(mutants[0], {})
            files = sorted({test.partition("::")[0] for test in nodes if "::" in test})
        # Without capturing, as the forks would write into one file; they write nowhere.
        plugin = Hunt(mutants, tests, asked, options.seconds, options.until)
        code = pytest.main(["-s", *PLAIN, *files], plugins=[plugin])
        os._exit(int(code) and 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(mutator, options):
    """Try all mutants that there is no result of, or all survivors again."""
    known = results()
    survivors = {key for key, result in known.items() if result["killer"] is None}
    wanted = [
        mutant
        for mutant in mutator.mutants
        if (mutant.key in survivors if options.what == "again" else mutant.key not in known)
        and options.only in f"{mutant.path}:{mutant.line}"
    ]
    asked = {key: known[key]["passed"] for key in survivors}
    hunt(mutator, [each for each in wanted if not each.at_import], asked, options)
    for mutant in wanted:
        if mutant.at_import and time.time() < options.until:
            if hunt(mutator, [mutant], asked, options, mutant.number):
                _note(mutant, [], "crash: collecting the tests", 0, 0.0)


def explanations():
    """Return {key: why no test can or need notice it}, of survivors that were looked at."""
    lines = EXPLAINED.read_text().splitlines()
    pairs = [line.split()[:2] for line in lines if line and not line.startswith("#")]
    return {key: reason for reason, key in pairs}


def report(mutator):
    """List the survivors that nothing explains, and count."""
    known, explained = results(), explanations()
    current = [known[each.key] for each in mutator.mutants if each.key in known]
    survivors = [result for result in current if result["killer"] is None]
    for result in survivors:
        if result["key"] not in explained:
            note = "" if result["all_asked"] else ", more could be asked"
            change = f"{result['before']} -> {result['after']}"
            asked = f"({len(result['passed'])} tests{note})"
            print(f"{result['path']}:{result['line']} {result['name']}: {change} {asked}")
    keys = [result["key"] for result in survivors if result["key"] in explained]
    for reason, n in sorted(collections.Counter(map(explained.get, keys)).items()):
        print(f"{n} survivors explained: {reason}")
    late = sum(str(result["killer"]).startswith("time") for result in current)
    print(f"{len(mutator.mutants)} mutants, {len(current)} tried, ", end="")
    print(f"{len(survivors)} survive, {len(current) - len(survivors)} are noticed, ", end="")
    print(f"{late} of them by taking too long")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["cover", "run", "again", "report"])
    parser.add_argument("files", nargs="*", help="cover: only these tests, added to the others")
    parser.add_argument("--seconds", type=float, default=60, help="of tests for each mutant")
    parser.add_argument("--only", default="", help="part of path:line of the mutants to try")
    parser.add_argument("--near", action="store_true", help="only tests of the mathematics")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    if options.what == "cover":
        raise SystemExit(cover(options.files))
    torch.set_num_threads(1)
    package = ROOT / "sklearn_synset"
    files = [path for folder in FOLDERS for path in (package / folder).glob("[a-z]*.py")]
    mutator = Mutator(ROOT, sorted([*files, *(package / file for file in FILES)]))
    if options.what == "report":
        return report(mutator)
    options.until = time.time() + 60 * options.minutes
    run(mutator, options)
    report(mutator)
    return None


if __name__ == "__main__":
    main()
