# make demo   environment, install, then three things that a memory does: trained, measured, drawn
# make test   environment, install, then the tests
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed
PATHS := memogen tests $(wildcard examples benchmarks docs)

.PHONY: help install demo test test-slow lint format bench docs clean

help:
	@echo "make demo | test | test-slow | lint | format | bench | docs | clean"

install: $(STAMP)

# The stamp is newer than both files once everything is installed: the second run touches no network.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "memogen needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -q -c constraints.txt hatchling editables
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

demo: $(STAMP)
	@$(BIN)/memogen demo
	@echo
	@echo "These commands are in $(BIN). To have them in this shell:"
	@echo "   source $(BIN)/activate"

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n $(WORKERS)

lint: $(STAMP)
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

bench: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[bench]'
	$(BIN)/python -m benchmarks --out results/bench/speed.jsonl

docs: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]' --no-build-isolation
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build

clean:
	rm -rf .venv dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
