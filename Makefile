# `make help` lists the targets. Everything runs inside .venv, made on first use.
PYTHON ?= python3
# For pip, such as an index with CPU builds of torch.
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all test-faults lint format docs docs-tables clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(STAMP) ## train with the default configuration (make train ARGS="schedule=cosine")
	$(BIN)/python -m chord.train $(ARGS)

test: $(STAMP) ## the fast tests
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: $(STAMP) ## every test
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-faults: $(STAMP) ## the tests that inject faults, in full (make test-faults SEED=7: other faults)
	FAULTS=full FAULTS_SEED=$(SEED) $(BIN)/python -m pytest -n 2 -m faults $(ARGS)

lint: $(STAMP) ## ruff, mypy, and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## build the site into site/
	$(BIN)/pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-tables: $(STAMP) ## rewrite the lists and tables that follow from the options
	$(BIN)/python docs/tables.py

clean: ## remove caches and builds (never outputs/)
	rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis
