# make demo    train, explain and check on real data; pictures, a report and a CSV land in out/
# make test    tests and doctests, but for the slow ones
# make test-all   every test, the doctests of the package, of README.md and of doc/
# make coverage  the tests, and the lines and branches of the package that none of them runs
# make test-oldest   the tests on the oldest versions that pyproject.toml names, in .venv-oldest
# make lint    ruff, mypy, and that each folder imports only those below it
# make doc     the documentation with its executed gallery, in doc/_build/html; warnings are errors
# make clean   remove the environment, caches and outputs
#
# Each target makes its own environment in .venv first. PYTHON=... chooses the interpreter.

PYTHON ?= python3
TORCH ?= torch==2.13.0
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := .venv/.installed
TEST_STAMP := .venv/.installed-test
DOC_STAMP := .venv/.installed-doc
# One thread for each process: they run side by side, and their matrices are small.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test test-all coverage test-oldest lint doc clean

$(STAMP): pyproject.toml
	@echo "Making an environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) --upgrade pip
	@echo "Installing torch"
	@$(PIP) "$(TORCH)"
	@echo "Installing the package and what it draws with"
	@$(PIP) -e ".[plot,report]"
	@touch $@

$(TEST_STAMP): $(STAMP)
	@echo "Installing what the tests need"
	@$(PIP) -e ".[test,plot,report]"
	@touch $@

demo: $(STAMP)
	$(BIN)/python doc/examples/demo.py

test: $(TEST_STAMP)
	$(PYTEST) -n $(JOBS) -m "not slow"

test-all: $(TEST_STAMP)
	$(PYTEST) -n $(JOBS)

# Examples run in processes of their own, which are not measured.
coverage: $(TEST_STAMP)
	$(PYTEST) -n $(JOBS) --cov --cov-branch --cov-report=term --cov-fail-under=95 \
		--ignore=tests/test_examples.py

# Some gigabytes on Linux: the oldest torch is to be had with CUDA only, unless PIP_INDEX_URL says
# where its build for the CPU is.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -r .ci/oldest.txt
	.venv-oldest/bin/python -m pip install --no-deps -e .
	.venv-oldest/bin/python -m pytest -m "not slow" tests sklearn_synset

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy sklearn_synset
	$(BIN)/lint-imports

$(DOC_STAMP): $(STAMP)
	@echo "Installing what the documentation needs"
	@$(PIP) -e ".[doc,report]"
	@touch $@

# One thread for each example: they run side by side, and their matrices are small.
doc: $(DOC_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -j auto -b html doc doc/_build/html

clean:
	rm -rf doc/_build doc/auto_examples doc/generated
	rm -rf .venv .venv-oldest out build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
