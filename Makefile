# billingd: each target does its own set-up; repeated calls are quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?=
# Tests that need the machine for themselves.
ALONE := tests/systemd tests/drills

# Of `make install`; DESTDIR collects the files for a package instead of installing them here.
DESTDIR ?=
PREFIX ?= /opt/billingd
LIBDIR ?= /usr/local/lib
INSTALLER = @DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' PYTHON='$(PYTHON)' systemd/install

FUZZ ?= 100000

.PHONY: help demo test bench drill faults mutants fuzz check clean install rollback uninstall deb lock
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

PIP := PIP_CONSTRAINT= $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(STAMP): pyproject.toml requirements/development.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --no-deps -r requirements/development.txt
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## bill the sample data with an embedded database and a fake ERP that goes down in the middle
	@$(BIN)/billingd demo

test: $(STAMP) ## all tests, on a real PostgreSQL, a real HTTP ERP and real processes
	@$(BIN)/python -m pytest -n 2 tests $(ALONE:%=--ignore=%) --ignore=tests/test_tidy.py $(PYTEST_ARGS)
	@$(BIN)/python -m pytest $(ALONE) $(PYTEST_ARGS)

$(VENV)/.bench: $(STAMP) requirements/bench.txt
	@$(PIP) --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

bench: $(VENV)/.bench ## PARTS= BENCH_ARGS=--quick: how fast, how level, how wide, as ratios; tables and plot in var/bench
	@$(BIN)/python -m benchmarks.run $(PARTS) $(BENCH_ARGS)

drill: $(STAMP) ## SEED= JOBS= every failure in every state, 20 storms, mutations that have to be noticed, Patroni
	@mkdir -p var; $(BIN)/billingd drill --json var/drill.json $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))
	@for seed in $$(seq 1 20); do $(BIN)/billingd drill --storm 60 --seed $$seed || exit 1; done
	@BILLINGD_DRILL=all $(BIN)/python -m pytest tests/drills/test_mutations.py tests/daemon/test_patroni.py

faults: $(STAMP) ## SEED= JOBS= each call to the outside fails once in each way, every order of steps (hours; goes on where it ended)
	@mkdir -p var; $(BIN)/billingd drill --calls --json var/calls.jsonl $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))
	@BILLINGD_FAULTS=all $(BIN)/python -m pytest -rP tests/model tests/interleavings
	@BILLINGD_FAULTS=all $(BIN)/python -m pytest tests/drills/test_mutations.py -k by_the_calls
	@$(BIN)/python -m tests.mutation

mutants: $(STAMP) ## MUTANTS='billing.*' judges these anew: each small change of the source has to fail a quick test (goes on where it was ended)
	@nice -n 15 $(BIN)/python -m tests.mutation $(MUTANTS)

fuzz: $(STAMP) ## FUZZ=100000 SEED= that many inputs for every parser that takes foreign bytes
	@BILLINGD_FUZZ=$(FUZZ) $(if $(SEED),BILLINGD_TEST_SEED=$(SEED)) $(BIN)/python -m pytest -n 2 --timeout 0 tests/fuzz

check: $(STAMP) ## lint, format, types, import rules, tidiness
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/test_tidy.py

install: ## PREFIX=/opt/billingd PYTHON=/usr/bin/python3: the service, its user and its configuration; upgrades it, too
	$(INSTALLER) install

rollback: ## puts the version that the last install replaced back into use
	$(INSTALLER) rollback

uninstall: ## takes away what install brought; configuration, secrets and state stay
	$(INSTALLER) uninstall

deb: ## OUT=var PYTHON=/usr/bin/python3: the same as a Debian package
	@OUT='$(or $(OUT),var)' PYTHON='$(if $(filter python3,$(PYTHON)),/usr/bin/python3,$(PYTHON))' systemd/deb

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-package billingd $(UPGRADE)
lock: ## UPGRADE=--upgrade: pins what pyproject.toml asks for, with hashes (needs uv)
	$(LOCK) --extra dev pyproject.toml -o requirements/development.txt
	$(LOCK) -c requirements/development.txt pyproject.toml -o requirements/production.txt
	$(LOCK) -c requirements/development.txt --extra otel pyproject.toml -o requirements/otel.txt
	$(LOCK) -c requirements/development.txt --extra bench pyproject.toml -o requirements/bench.txt
	echo hatchling | $(LOCK) -c requirements/development.txt - -o requirements/build.txt

clean: ## removes what the other targets made; a database that was tried out in var/ stays
	rm -rf $(VENV) mutants var/bench var/drill.json .pytest_cache .mypy_cache .ruff_cache .hypothesis
