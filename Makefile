# billingd: each target does its own set-up; repeated calls are quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?=

.PHONY: help demo test check clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## bill the sample data with an embedded database and a fake ERP that goes down in the middle
	@$(BIN)/billingd demo

test: $(STAMP) ## all tests, on a real PostgreSQL, a real HTTP ERP and real processes
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(STAMP) ## lint, format, types, import rules, tidiness
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/unit/test_tidy.py

clean: ## removes what the other targets made
	rm -rf $(VENV) var dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
