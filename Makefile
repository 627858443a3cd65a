# Headrace: `make demo` trains on the embedded digits, `make test` runs the tests, `make help` lists the rest.
# PYTHON=/path/to/python3.12 chooses the interpreter for .venv (3.11, 3.12 or 3.13).

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FAST := not ray and not processes and not slow and not gpu
# Workers of pytest take tests from one another, so that files with much in common stay together
# and no worker ends long before the other.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

# Without compiled files every worker, and every process of Ray, compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE

# Run, not looked up: a pyenv shim exists for versions that it then refuses to start, and Debian
# ships Pythons that cannot make an environment.
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3 python)

.PHONY: help venv demo test check slow bench ui clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

venv: $(STAMP) ## make .venv and install the pinned versions

# The stamp is written last: an install that was interrupted starts again.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c '$(USABLE)' >/dev/null 2>&1; then \
	  for python in $(CANDIDATES); do \
	    if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then chosen="$$python"; break; fi; \
	  done; \
	  if [ -z "$${chosen:-}" ]; then \
	    echo "make: none of [$(CANDIDATES)] is a Python 3.11, 3.12 or 3.13 with venv; install one (Debian, Ubuntu: apt install python3.12-venv) or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$chosen" --version)"; \
	  "$$chosen" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP) ## train, evaluate and report on the handwritten digits
	$(BIN)/python -m pipelines run digits

# Those with Ray one at a time: a training starts some ten processes, which fill two cores.
test: $(STAMP) ## all tests but slow and gpu, the fast ones first
	$(PYTEST) -m "$(FAST)"
	$(PYTEST) -m "(processes or hypothesis) and not ray and not slow and not gpu" --hypothesis-profile=thorough
	$(BIN)/python -m pytest -m "ray and not slow and not gpu"

check: $(STAMP) ## format, lint, types, import rules, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q -m "$(FAST)"

slow: $(STAMP) ## the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu"

bench: $(STAMP) ## the benchmarks, with their numbers on the screen
	$(BIN)/python -m pytest tests/benchmarks -s -m "not gpu"

ui: $(STAMP) ## the MLflow page of runs/ on http://127.0.0.1:5000
	@if [ ! -f runs/mlflow.db ]; then echo "make: runs/mlflow.db does not exist yet; train first: make demo" >&2; exit 1; fi
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1 --port 5000

clean: ## remove caches and build leftovers; .venv and runs/ stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find components pipelines clusters tests -type d -name __pycache__ -prune -exec rm -rf {} +
