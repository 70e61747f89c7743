# Everything that people and CI do, by name. Needs Python 3.11 or 3.12 with pip, and make; no root, no docker, no Node.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first that really runs: a version manager's shim may be on the PATH and still fail.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; then command -v $$p; break; fi; done)
BIN := .venv/bin
ARGS ?=
SOURCES := api_rest bench clenzy config deploy engine gateway_ws loadtests ops safetap_door sim tests

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9_-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  Options go into ARGS, for example: make demo ARGS="--workers 500 --no-open"'

# ---------------------------------------------------------------- run
.PHONY: demo up run migrate doctor replay
demo: runtime  ## Start everything with demo accounts and a simulated city; Ctrl-C stops it
	@exec $(BIN)/python -m clenzy demo $(ARGS)

up: runtime  ## Start everything without demo data (settings: docs/operations.md)
	@exec $(BIN)/python -m clenzy up $(ARGS)

run: up

migrate: runtime  ## Bring the database of DATABASE_URL to this build's schema
	@$(BIN)/python -m clenzy migrate $(ARGS)

doctor: runtime  ## Look at this machine and installation and say what to do
	@$(BIN)/python -m clenzy doctor $(ARGS)

replay: runtime  ## Drive a recorded trace through the system: make replay FILE=... ARGS="--speed 60"
	@test -n "$(FILE)" || { echo 'which trace? make replay FILE=traces.csv.xz ARGS="--speed 60"' >&2; exit 2; }
	@exec $(BIN)/python -m clenzy replay "$(FILE)" $(ARGS)

# ---------------------------------------------------------------- check
.PHONY: check lint types arch rules spell
check: lint types arch rules spell  ## Lint, types, architecture contracts, house rules, spelling

lint: setup  ## Ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup  ## mypy --strict
	@$(BIN)/mypy

arch: setup  ## Import contracts between the packages
	@$(BIN)/lint-imports

rules: setup
	@$(BIN)/pytest -q tests/unit/test_house_rules.py

spell: setup
	@$(BIN)/codespell $(SOURCES) docs migrations console/src Makefile *.md

# ---------------------------------------------------------------- test
.PHONY: test load chaos drops e2e bench bench-eta bench-geo bench-stream bench-safetap bench-matcher
test: setup pages  ## All tests: real Postgres, Redis, processes, browser
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

load: setup  ## A short load run of workers and customers over the public protocol
	@exec $(BIN)/python -m clenzy load $(ARGS)

chaos: setup pages  ## Kill every process and store; nothing acknowledged may be lost (ARGS=--long: 500 kills, 100,000 alarms)
	@$(if $(filter --long,$(ARGS)),exec $(BIN)/python -m tests.acceptance.safetap_chaos $(filter-out --long,$(ARGS)),$(BIN)/pytest -m chaos $(ARGS))

drops: setup  ## Cut 10,000 connections, kill gateways, relays and Redis; no durable event may be lost or doubled
	@exec $(BIN)/python -m tests.acceptance.drops $(ARGS)

e2e: setup pages  ## The browser tests only
	@$(BIN)/pytest -m browser $(ARGS)

bench: bench-geo bench-stream bench-safetap bench-eta bench-matcher  ## All side-by-side benchmarks; each writes bench/out/NAME.json

bench-eta: setup  ## Travel times over roads beside Dijkstra, label sizes, and real trips where they are (ARGS=--huge)
	@exec $(BIN)/python -m bench.eta $(ARGS)

bench-geo: setup  ## The cell index and the mirror beside Redis' own geo commands
	@exec $(BIN)/python -m bench.geo $(ARGS)

bench-stream: setup  ## The gateway's sockets beside python-socketio and picows, and pings end to end
	@exec $(BIN)/python -m bench.stream $(ARGS)

bench-safetap: setup  ## Alarms through SafeTap's door beside a flooded gateway, forgers and a lost Postgres
	@exec $(BIN)/python -m bench.safetap $(ARGS)

bench-matcher: setup  ## The matcher's solver beside scipy and OR-Tools (ARGS=--quality: dispatch quality, some minutes)
	@exec $(BIN)/python -m bench.matcher $(ARGS)

# ---------------------------------------------------------------- prepare
.PHONY: setup runtime pages lock clean python
setup: python  ## Create .venv with the locked packages for development
	@"$(PYTHON)" deploy/environment.py dev

runtime: python
	@"$(PYTHON)" deploy/environment.py runtime

python:
	@test -n "$(PYTHON)" || { echo 'Clenzy needs Python 3.11 or 3.12 with pip; name it: make PYTHON=/path/to/python3.12 ...' >&2; exit 1; }

pages: runtime  ## Build the web pages when their sources have changed
	@$(BIN)/python -m clenzy pages

UV := .venv-uv/bin/uv
EXPORT := $(UV) export --quiet --no-emit-project --format requirements-txt --no-header --no-annotate
lock: setup  ## Resolve the dependencies anew and write the lock files
	@$(UV) lock $(ARGS)
	@$(EXPORT) --no-dev --extra embedded --output-file requirements.lock
	@$(EXPORT) --all-extras --all-groups --output-file requirements-dev.lock

clean:  ## Remove what was built or installed here; data in .clenzy stays
	@rm -rf .venv .venv-uv console/node_modules console/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
