# Transformer Lab. `make run` opens it, `make test` checks it; everything installs into .venv.

PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
ARGS ?=

VENV_PYTHON := $(VENV)/bin/python
MADE := $(VENV)/.made
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
TEXTS := $(VENV)/.texts

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-slow test-oldest bench pcn-report leak-table expected lint format clean browser

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) $(TEXTS) ## Open the lab; ARGS="--port 9000" passes options on
	@exec $(VENV_PYTHON) app.py $(ARGS)

# Several test processes share the cores, so threads that wait must not spin. The browser tests, which
# share one server, come first: they take one process longest.
test test-slow: export OMP_WAIT_POLICY = passive
test: $(INSTALLED_DEV) browser ## Run every test but the slow ones
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n logical --maxprocesses 8 --no-loadscope-reorder \
	  tests/browser tests/unit tests/callbacks

test-slow: $(INSTALLED_DEV) browser ## Run the slow tests
	$(VENV_PYTHON) -m pytest -m slow

# In an environment of its own, made anew each time.
test-oldest: export OMP_WAIT_POLICY = passive
test-oldest: ## Run the unit and callback tests on the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --constraint tests/oldest.txt --editable '.[dev]'
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n logical --maxprocesses 8 --dist loadfile tests/unit tests/callbacks

bench: $(INSTALLED_DEV) browser ## Measure speed; says numbers, judges none
	@for name in speed clock threads race inspection page properties newcomer load runs memory; do $(VENV_PYTHON) tests/bench/$$name.py || exit 1; done

pcn-report: $(INSTALLED) ## Run the experiments with predictive coding; writes docs/pcn_results.md
	$(VENV_PYTHON) -m transformer_lab.experiments.report docs

leak-table: $(INSTALLED) ## Count the planted leaks that the leak audit catches, and the honest models it accuses
	$(VENV_PYTHON) tests/unit/leaks.py

expected: $(INSTALLED) ## Train the recipes with several seeds, for "is this normal?" on the page; hours
	$(VENV_PYTHON) docs/make_expected.py

lint: $(INSTALLED_DEV) ## Check format, style and types
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy

format: $(INSTALLED_DEV) ## Format the code and mend what can be mended
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .

clean: ## Remove what these commands made; corpora and runs stay
	rm -rf $(VENV) $(OLDEST) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

browser: $(INSTALLED_DEV)
	@$(VENV_PYTHON) tests/browser/chromium.py install

# Made anew when it is half made (no pip in it) or its Python is gone.
$(MADE):
	@$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Transformer Lab needs Python 3.11 or newer, and $(PYTHON) is" \
	      "$$($(PYTHON) -V 2>/dev/null || echo missing): name another," \
	      "as in make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	    exit 1; }; \
	  echo "$(PYTHON) -m venv $(VENV)"; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

# Once, so that the lab works without a network from then on, and opens with a model to look into. Both give up
# soon, and the lab opens anyway.
$(TEXTS): | $(INSTALLED)
	@$(VENV_PYTHON) -m transformer_lab.cli data fetch --into data >/dev/null 2>&1 || true
	@echo "Training a first small model on this computer, to look into at once. This happens once."
	@$(VENV_PYTHON) -m transformer_lab.cli first-model >/dev/null 2>&1 || true
	@touch $@

$(INSTALLED): pyproject.toml | $(MADE)
	@echo "Installing Transformer Lab into $(VENV). This happens once; PyTorch is large."
	$(VENV_PYTHON) -m pip install --editable .
	@touch $@

$(INSTALLED_DEV): pyproject.toml | $(MADE)
	@echo "Installing Transformer Lab and its tests into $(VENV). This happens once; PyTorch is large."
	$(VENV_PYTHON) -m pip install --editable '.[dev]'
	@touch $(INSTALLED) $@
