# raftlog: `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test
BENCH_ARGS ?= --local 3
SIM_FIRST ?= $(shell date +%s)
# Half as many again as processors: a test that waits for a process or a timer leaves its own free.
WORKERS = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) * 3 // 2)')
SHARED = -n $(WORKERS) --dist worksteal
# Tests that count or measure what the company of others would change: they run one after another.
ALONE := tests/client/test_lock.py tests/integration/test_round_budget.py
# Tests of real processes: the longer ones put a load on them and measure, one after another as well.
PROCESSES := tests/cli tests/integration tests/local tests/server tests/testing tests/deploy \
	tests/client/test_lock.py tests/machines/test_example.py tests/test_files.py
# Nodes and commands are processes by the hundred: each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test long sim mutants lint proto sync diagrams bench compose-smoke wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "raftlog needs Python 3.11 or later: make PYTHON=python3.14 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(TEST_STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(STAMP) $@

demo: $(STAMP) ## a real cluster under load: two kill -9 of the leader, a transfer, then the check
	$(BIN)/raftlog demo

test: $(TEST_STAMP) ## set up and run the tests (about five minutes on two cores)
	$(BIN)/python -m pytest -m "not long" -q $(SHARED) $(addprefix --ignore=,$(ALONE)) $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m "not long" -q $(ALONE) $(PYTEST_ARGS)

long: $(TEST_STAMP) ## the longer batches: planted bugs, a million lines under kill -9, containers
	$(BIN)/python -m pytest -m long -q $(SHARED) $(addprefix --ignore=,$(PROCESSES)) $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m long -q $(PROCESSES) $(PYTEST_ARGS)

sim: $(STAMP) ## simulate for five minutes: fresh seeds under faults, every property checked
	$(BIN)/python -m raftlog.sim --seeds $(SIM_FIRST).. --seconds 300 --workers 2 --progress

mutants: $(TEST_STAMP) ## plant known bugs one by one; each must be found (about 15 minutes)
	$(BIN)/python -m tests.sim.mutants

lint: $(TEST_STAMP) ## ruff, mypy, import-linter, generated code and diagrams
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m raftlog._tools.genproto --check
	$(BIN)/python -m raftlog._tools.gensync --check
	$(BIN)/python -m raftlog._tools.diagrams --check

proto: $(TEST_STAMP) ## regenerate raftlog/wire/pb from proto/
	$(BIN)/python -m raftlog._tools.genproto

sync: $(TEST_STAMP) ## regenerate the sync client's calls from the async client
	$(BIN)/python -m raftlog._tools.gensync

diagrams: $(TEST_STAMP) ## redraw the diagrams in docs/ from the core's tables
	$(BIN)/python -m raftlog._tools.diagrams

bench: $(STAMP) ## measure this machine: a local cluster and the benchmark table
	$(BIN)/raftlog bench write $(BENCH_ARGS)

wheel: $(TEST_STAMP) ## build dist/raftlog-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

compose-smoke: $(TEST_STAMP) ## deploy/ on a container engine: up, write, kill the leader, check, down
	$(BIN)/python deploy/smoke.py

clean: ## remove what make made
	rm -rf $(VENV) build dist *.egg-info
