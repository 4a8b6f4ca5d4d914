# Everything a person or CI runs. `make demo` and `make test` need Python, make and a package index; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
STAMP := $(VENV)/.installed
CHECKS := lint types layers migrations
# The benchmark's opponent needs packages of its own; they must not change what we pin.
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed

# What is imported is compiled once, and not by each of the hundreds of processes that tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test collected coverage check format lint types layers migrations bench lock clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements-dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements-dev.txt
	@touch $(STAMP)

setup: $(STAMP)  ## Create the virtual environment and install what is pinned

demo: setup  ## Run a migration of generated data and keep the site up until Ctrl-C (ARGS=--once ends by itself)
	@$(BIN)/python manage.py demo $(ARGS)

# Neighbours share what a module sets up, and whoever is done takes from the others' ends.
PYTEST := POLARS_MAX_THREADS=1 $(BIN)/python -m pytest -n 4 --dist worksteal

test: setup  ## Check, then run every test
	@$(MAKE) --no-print-directory -j 5 $(CHECKS) collected
	@$(PYTEST) $(ARGS)

# Beside the type checker, which keeps one core busy: every process of the tests finds them compiled.
collected: setup
	@$(BIN)/python -m pytest --collect-only > .collected.log 2>&1 || { cat .collected.log; exit 1; }

coverage: setup  ## Run every test and report which lines and branches none of them reached (a third slower)
	@$(PYTEST) --cov --cov-report=term:skip-covered $(ARGS)

check: setup  ## Format, lint, types, layering, missing migrations
	@$(MAKE) --no-print-directory -j 4 $(CHECKS)

format: setup  ## Rewrite the code the way `make check` wants it
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

lint: setup
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .

types: setup
	@$(BIN)/mypy .

layers: setup
	@$(BIN)/lint-imports --no-logo > .lint-imports.log 2>&1 || { cat .lint-imports.log; exit 1; }

migrations: setup
	@$(BIN)/python manage.py makemigrations --check --dry-run -v 0
	@$(BIN)/python manage.py check --fail-level WARNING --database default

$(BENCH_STAMP): requirements-bench.txt $(STAMP)
	@test -x $(BENCH_VENV)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(BENCH_VENV)
	@$(BIN)/uv pip sync --quiet --python $(BENCH_VENV)/bin/python requirements-bench.txt
	@touch $(BENCH_STAMP)

bench: setup $(BENCH_STAMP)  ## Measure speed and memory against the alternatives (minutes; prints ratios)
	@$(BIN)/python manage.py bench $(ARGS)

lock:  ## Compile requirements*.in into pinned requirements*.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate requirements-dev.in -o requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate requirements-bench.in -o requirements-bench.txt

clean:  ## Remove what setup and runs made
	rm -rf $(VENV) $(BENCH_VENV) .lint-imports.log .collected.log var .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +
