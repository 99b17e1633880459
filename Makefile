# `make demo` and `make test` do all their own set-up; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(abspath $(VENV)/bin)
DEMO_FLAGS ?=
PYTEST_FLAGS ?=

# Real slides and reference vectors; where they are, or in CI, no test may skip for want of them.
export HISTOSAM_TEST_DATA ?= $(abspath ../shared/data)
ifneq ($(or $(wildcard $(HISTOSAM_TEST_DATA)),$(filter-out false,$(CI))),)
export HISTOSAM_REQUIRE_DATA ?= 1
endif

.PHONY: help setup setup-core demo test lint format unit bench clean distclean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup:  ## Virtual environment with everything: plugin, tests, linters
	@scripts/setup.sh all

setup-core:  # What the demo needs, nothing more
	@scripts/setup.sh core

demo: setup-core  ## Make slides, fine-tune, evaluate, write demo/report.html (about 5 minutes)
	$(BIN)/histosam demo --out demo --overwrite $(DEMO_FLAGS)

test: lint unit  ## All that CI runs: linters, types, room contracts, tests, the quick demo

lint: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two workers with one thread each: twice as many threads as cores is slower than either alone.
unit: setup  ## Every test, the quick demo and the README's commands among them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_FLAGS)

format: setup  ## Let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## Speed beside that of the peers; prints the ratios
	for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## Remove caches and outputs, keep the environment
	rm -rf demo runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache .benchmarks
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## Remove the environment too
	rm -rf $(VENV)
