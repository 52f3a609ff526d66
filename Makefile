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
ETC := $(DESTDIR)/etc/billingd
UNITS := $(DESTDIR)$(LIBDIR)/systemd/system
CATALOG := $(DESTDIR)$(LIBDIR)/systemd/catalog
PREFIXED := sed 's|/opt/billingd|$(PREFIX)|g'

.PHONY: help demo test bench drill check clean install uninstall
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## bill the sample data with an embedded database and a fake ERP that goes down in the middle
	@$(BIN)/billingd demo

test: $(STAMP) ## all tests, on a real PostgreSQL, a real HTTP ERP and real processes
	@$(BIN)/python -m pytest -n 2 tests $(ALONE:%=--ignore=%) --ignore=tests/test_tidy.py $(PYTEST_ARGS)
	@$(BIN)/python -m pytest $(ALONE) $(PYTEST_ARGS)

$(VENV)/.bench: $(STAMP)
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@

bench: $(VENV)/.bench ## PARTS= BENCH_ARGS=--quick: how fast, how level, how wide, as ratios; tables and plot in var/bench
	@$(BIN)/python -m benchmarks.run $(PARTS) $(BENCH_ARGS)

drill: $(STAMP) ## SEED= JOBS= every failure in every state, 20 storms, and the mutations that have to be noticed
	@mkdir -p var; $(BIN)/billingd drill --json var/drill.json $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))
	@for seed in $$(seq 1 20); do $(BIN)/billingd drill --storm 60 --seed $$seed || exit 1; done
	@BILLINGD_DRILL=all $(BIN)/python -m pytest tests/drills/test_mutations.py

check: $(STAMP) ## lint, format, types, import rules, tidiness
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/test_tidy.py

install: ## PREFIX=/opt/billingd PYTHON=/usr/bin/python3: the service, its user and its configuration
	$(PYTHON) -m venv --clear $(DESTDIR)$(PREFIX)
	$(DESTDIR)$(PREFIX)/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(DESTDIR)$(PREFIX)/wheel .
	$(DESTDIR)$(PREFIX)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt $(DESTDIR)$(PREFIX)/wheel/*.whl
	rm -r $(DESTDIR)$(PREFIX)/wheel
	@# The service may write nothing here: what Python compiles it compiles now, under the paths that will hold.
	$(DESTDIR)$(PREFIX)/bin/python -m compileall -q -s "$(DESTDIR)" $(DESTDIR)$(PREFIX)/lib
	test -z "$(DESTDIR)" || grep -rlIF "$(DESTDIR)$(PREFIX)" $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/pyvenv.cfg \
	  | xargs sed -i 's|$(DESTDIR)$(PREFIX)|$(PREFIX)|g'
	install -d $(UNITS) $(CATALOG) $(DESTDIR)$(LIBDIR)/sysusers.d $(DESTDIR)$(LIBDIR)/tmpfiles.d $(ETC)
	install -d -m 0700 $(ETC)/credentials
	$(PREFIXED) systemd/billingd.service >$(UNITS)/billingd.service
	$(PREFIXED) systemd/billingd-failure@.service >$(UNITS)/billingd-failure@.service
	install -m 0644 systemd/billingd.sysusers $(DESTDIR)$(LIBDIR)/sysusers.d/billingd.conf
	install -m 0644 systemd/billingd.tmpfiles $(DESTDIR)$(LIBDIR)/tmpfiles.d/billingd.conf
	$(DESTDIR)$(PREFIX)/bin/python -P -m alarming.documents $(CATALOG) billingd.catalog billingd.hr.catalog
	install -d $(DESTDIR)$(PREFIX)/share/billingd
	$(DESTDIR)$(PREFIX)/bin/python -P -m alarming.documents $(DESTDIR)$(PREFIX)/share/billingd prometheus-rules.yaml
	test -e $(ETC)/billingd.yaml || sed 's|^# state_dir: |state_dir: |' config/billingd.yaml >$(ETC)/billingd.yaml
ifeq ($(DESTDIR),)
	systemd-sysusers billingd.conf
	systemd-tmpfiles --create billingd.conf
	journalctl --update-catalog
	systemctl daemon-reload
	@echo "Set database.url and erp.base_url in /etc/billingd/billingd.yaml, put the secrets into"
	@echo "/etc/billingd/credentials, then: $(PREFIX)/bin/billingd db upgrade && systemctl enable --now billingd"
endif

uninstall: ## takes away what install brought; configuration, secrets and state stay
ifeq ($(DESTDIR),)
	-systemctl disable --now billingd
endif
	rm -rf $(DESTDIR)$(PREFIX)
	rm -f $(UNITS)/billingd.service $(UNITS)/billingd-failure@.service
	rm -f $(DESTDIR)$(LIBDIR)/sysusers.d/billingd.conf $(DESTDIR)$(LIBDIR)/tmpfiles.d/billingd.conf
	rm -f $(CATALOG)/billingd.catalog $(CATALOG)/billingd.hr.catalog
ifeq ($(DESTDIR),)
	systemctl daemon-reload
	journalctl --update-catalog
	@echo "What stays: /etc/billingd, /var/lib/billingd, the user billingd"
endif

clean: ## removes what the other targets made
	rm -rf $(VENV) var dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
