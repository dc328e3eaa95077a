# `make` lists what there is. Everything lives in .venv; a stamp says which lock file it was made from.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
FOLDER ?= screenshots
PYTHON ?= $(shell scripts/find-python)

# The lock holds the whole set, so that pip must not resolve again (docs/decisions/0001-locked-dependencies.md).
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

.PHONY: help demo notebooks test test-newest check screenshots notebook-screenshots bench lock clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.lock pyproject.toml | $(BIN)/python
	$(install) --require-hashes -r requirements/run.lock
	$(install) --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock pyproject.toml | $(BIN)/python
	$(install) --require-hashes -r requirements/dev.lock
	$(install) --no-build-isolation --editable .
	@touch $@ $(VENV)/run.stamp $(VENV)/notebooks.stamp

$(VENV)/notebooks.stamp: requirements/notebooks.lock $(VENV)/run.stamp
	$(install) --require-hashes -r requirements/notebooks.lock
	@touch $@

demo: $(VENV)/run.stamp ## Start the service on a demonstration clinic (PORT=8000)
	@$(BIN)/caregrant demo --serve --port $(PORT) --database sqlite:///demo.db

notebooks: $(VENV)/notebooks.stamp ## JupyterLab on the audit notebooks and the demonstration clinic (PORT=8888)
	@test -e demo.db || $(BIN)/caregrant demo --database sqlite:///demo.db
	@$(BIN)/caregrant notebooks --database sqlite:///demo.db --port $(if $(filter command line,$(origin PORT)),$(PORT),8888)

test: ## Every check and every test (CI=true leaves none out)
	@scripts/system-packages & packages=$$!; $(MAKE) --no-print-directory check && wait $$packages
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

test-newest: ## The reader and the compiler of policies on Python 3.13, if there is one
	scripts/test-newest

check: $(VENV)/dev.stamp ## Formatter, linter, types, import contracts, installed versions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	scripts/check-installed $(BIN)/python

screenshots: $(VENV)/dev.stamp ## A picture of every page and state (FOLDER=screenshots)
	@scripts/system-packages
	$(BIN)/python -m tests.support.screenshots $(FOLDER)

notebook-screenshots: $(VENV)/dev.stamp ## A picture of every notebook on three records (FOLDER=screenshots)
	@scripts/system-packages
	$(BIN)/python -m tests.support.notebook_screenshots $(FOLDER)

bench: $(VENV)/dev.stamp requirements/bench.lock ## The benchmarks; benchmarks/README.md holds the table
	$(install) --require-hashes -r requirements/bench.lock
	$(BIN)/python -m benchmarks

lock: ## Resolve the lock files anew (needs uv)
	scripts/lock

clean: ## Remove what these commands made, but no database
	rm -rf $(VENV) .venv-newest .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
