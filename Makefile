# `make` shows what there is. Everything lives in this folder: .venv (packages), .run (databases, logs, state).
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
PORT ?= 8080
WORKERS ?= 2
export PORT
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo down status unit test browser e2e cluster lint types canvas docs bench oversell agree storm clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## Make .venv and install what the project needs (a few minutes, once)

.venv/.ready: requirements.txt requirements-dev.txt pyproject.toml
	@for candidate in python3.13 python3.12 python3.11 python3; do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Crossdock needs Python 3.11, 3.12 or 3.13 on the PATH; python3 is $$(python3 --version 2>&1)." >&2; exit 1; fi; \
	if [ ! -x $(PY) ]; then echo "Setup: making .venv with $$($$found --version)"; \
	  $$found -m venv .venv || { echo "The module venv is missing: on Debian and Ubuntu, apt install python3-venv." >&2; rm -rf .venv; exit 1; }; fi
	@echo "Setup: installing $$(cat requirements.txt requirements-dev.txt | grep -c ==) packages (a few minutes, once)"
	@set -o pipefail; $(PY) -m pip install --disable-pip-version-check --no-input -r requirements.txt -r requirements-dev.txt 2>&1 \
	  | tee .venv/setup.log | awk '/^Collecting /{n++; if (n % 25 == 0) {print "Setup: fetched " n " packages"; fflush()}} \
	    /^Installing collected/{print "Setup: unpacking them (the longest part)"; fflush()} /^ERROR/{print; fflush()}' \
	  || { echo "Setup failed; the whole log is .venv/setup.log. Its end:" >&2; tail -n 12 .venv/setup.log >&2; exit 1; }
	@$(PY) -m pip install --disable-pip-version-check --no-input -q --no-deps -e . || { echo "Setup failed: the project itself could not be installed, see above." >&2; exit 1; }
	@touch $@ && echo "Setup: done"

demo: setup ## Run a month of real orders through a local Airflow, then leave it up (PORT=8080 DAYS=all DIALECT=v2|v1 FLAVOUR=contract|legacy)
	@$(PY) -m sandbox.demo up $(if $(filter-out all,$(DAYS)),--days $(DAYS)) $(if $(DIALECT),--dialect $(DIALECT)) $(if $(FLAVOUR),--flavour $(FLAVOUR))

down: ## Stop everything that `make demo` started
	@if [ -x $(PY) ]; then $(PY) -m sandbox.demo down; else echo "Nothing is installed here, so nothing runs."; fi

status: setup ## Say what is running
	@$(PY) -m sandbox.demo status

unit: setup ## Run the unit tests: no socket, no database, no sandbox; what to run all the time
	@$(PY) -m pytest tests/unit -n $(WORKERS) --dist worksteal -p no:schemathesis

test: setup ## Run all tests but those with a browser and the end-to-end run, in WORKERS=2 processes
	@$(PY) -m pytest -m "not e2e and not cluster and not browser" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

browser: setup ## Use the console in a real browser (Debian's chromium), as each role; screenshots in .run/screenshots
	@$(PY) -m pytest -m browser tests/browser

e2e: setup ## Run the demo on other ports with a real scheduler, kill things, look at both sides
	@$(PY) -m pytest -m e2e tests/e2e

cluster: setup .venv-image/.ready ## Run the compose file's services as processes (needs redis-server), kill a worker
	@$(PY) -m pytest -m cluster tests/cluster -s

.venv-image/.ready: requirements.txt requirements-image.txt pyproject.toml | setup
	@$(PY) -m venv .venv-image && .venv-image/bin/python -m pip install --disable-pip-version-check --no-input -q \
	  -r requirements.txt -r requirements-image.txt && .venv-image/bin/python -m pip install -q --no-deps -e . && touch $@

lint: setup ## Check style, that of SQL too, and that imports keep to the rooms
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports --no-cache
	@.venv/bin/sqlfluff lint --nocolor --disable-progress-bar include

types: setup ## Check types
	@.venv/bin/mypy

canvas: ## Build the mapping canvas anew (needs node 20 and npm)
	@cd plugins/console/canvas && npm ci --no-fund --no-audit && npm run build

docs: setup ## Write the generated pages anew
	@$(PY) -m crossdock_airflow.describe

bench: setup $(if $(QUICK),,.venv-bench/.ready) ## Measure speed and memory beside plain clients and peers (DATA=file, QUICK=1)
	@$(PY) -m benchmarks $(if $(DATA),--data "$(DATA)") $(if $(QUICK),--quick) --peers .venv-bench/bin/python

oversell: setup ## Let buyers take the last units while runs fail; print what was oversold (SEEDS=3)
	@set -o pipefail; OVERSELL_SEEDS=$(or $(SEEDS),3) $(PY) -m pytest tests/integration/test_oversell.py -q -s -p no:warnings | grep OVERSELL

agree: setup ## Compare both systems again and again while all flows run; print false alarms (COMPARISONS=200)
	@set -o pipefail; COMPARISONS=$(or $(COMPARISONS),200) $(PY) -m pytest tests/integration/test_agree.py -q -s -p no:warnings | grep AGREE

storm: setup ## Let both systems send events while receiver, worker and database are killed; print what was lost (EVENTS=50000)
	@set -o pipefail; STORM_TURNS=$$(($(or $(EVENTS),50000) / 120)) $(PY) -m pytest tests/integration/test_storm.py -q -s --timeout 3600 | grep STORM

.venv-bench/.ready: benchmarks/requirements.txt | setup
	@$(PY) -m venv .venv-bench && .venv-bench/bin/python -m pip install --disable-pip-version-check --no-input -q -r $< && touch $@

clean: down ## Remove all that was made here, the local databases included
	@rm -rf .run .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis && find . -name __pycache__ -prune -exec rm -rf {} +
