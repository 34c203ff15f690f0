# BudgetGate: what people run, and what CI runs. Needs Python 3.11 or newer with venv and pip, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For the tools that read the settings without a database or a secret of this checkout.
TOOL_ENV = DJANGO_SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') BUDGETGATE_DATA_DIR=.cache/tools

.DEFAULT_GOAL := help
.PHONY: help run test lint smoke litellm-client fmt bench lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Start everything in the foreground: PostgreSQL, Valkey, gateway, worker, beat; Ctrl-C ends it
	@exec $(BIN)/python manage.py up

test: $(VENV)/.dev ## All tests, two at a time, with the coverage (ARGS="-k word" selects some)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 --dist loadgroup $(ARGS); code=$$?; \
	    $(BIN)/coverage combine -q && $(BIN)/coverage report --skip-covered; exit $$code

lint: $(VENV)/.dev ## Style, types, layers, migrations and Django's deployment checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(TOOL_ENV) sh -ec 'set -x; $(BIN)/mypy .; $(BIN)/lint-imports; \
	    $(BIN)/python -W "ignore:Got an error checking" manage.py makemigrations --check --dry-run; \
	    $(BIN)/python manage.py check --deploy --fail-level WARNING'

smoke: ## Start everything with nothing but requirements.txt installed, make a key and a call, stop
	@$(PYTHON) -m venv --clear .cache/smoke
	@.cache/smoke/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@.cache/smoke/bin/python -m tests.smoke

LITELLM := .cache/litellm
litellm-client: $(VENV)/.run ## LiteLLM's own client and command line against this gateway (installs LiteLLM; ARGS="--only keys")
	@$(PYTHON) -m venv --clear $(LITELLM)
	@$(LITELLM)/bin/python -m pip install -q --disable-pip-version-check 'litellm[proxy]==1.106.2'
	@$(BIN)/python -m tests.clients.litellm_against_up $(LITELLM)/bin/python $(ARGS)

fmt: $(VENV)/.dev ## Format the code and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## CPU of one call in the gateway, as a ratio to a raw answer (ARGS="--rounds 9" for more)
	$(BIN)/python -m benchmarks.cpu_per_call $(ARGS)

PIP_COMPILE = $(BIN)/pip-compile -q --no-emit-index-url --no-emit-find-links --strip-extras --no-header
lock: $(VENV)/.dev ## Write the locked requirements anew (ARGS="--upgrade" takes newer versions)
	$(PIP_COMPILE) $(ARGS) --output-file requirements.txt requirements.in
	$(PIP_COMPILE) $(ARGS) --output-file requirements-dev.txt requirements-dev.in

clean: ## Remove the virtual environment and caches; data in var/ stays
	rm -rf $(VENV) .cache .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Installed again when the locked requirements change. The marks are written last: a broken install is repeated.
$(VENV)/.run: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "BudgetGate needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
