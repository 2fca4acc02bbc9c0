# raftlog: `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test

.PHONY: help demo test lint proto bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(TEST_STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(STAMP)

demo: $(STAMP) ## a real cluster under load: two kill -9 of the leader, a transfer, then the check
	$(BIN)/raftlog demo

test: $(TEST_STAMP) ## set up and run the tests (about five minutes)
	$(BIN)/python -m pytest -m "not long" -q $(PYTEST_ARGS)

lint: $(TEST_STAMP) ## ruff, mypy, import-linter, generated code
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m raftlog._tools.genproto --check

proto: $(TEST_STAMP) ## regenerate raftlog/wire/pb from proto/
	$(BIN)/python -m raftlog._tools.genproto

bench: $(STAMP) ## measure this machine: a local cluster and the benchmark table
	$(BIN)/raftlog bench write --local 3

clean: ## remove what make made
	rm -rf $(VENV) build dist *.egg-info
