# `make` alone lists the verbs.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
INSTALLED := $(VENV)/.installed

.PHONY: help run test check engines bench format clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[local,rehearsal,dev]'
	@touch $@

run: $(INSTALLED) ## embed the demo corpus offline, then search it
	$(BIN)/embedbeam run configs/demo.yaml
	$(BIN)/embedbeam search out/demo "why does bread dough rise?" -k 3

test: $(INSTALLED) ## every test that needs only Python
	$(BIN)/python -m pytest -m "not live and not engines"

check: $(INSTALLED) ## format, lint, strict types, import borders
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: $(INSTALLED) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the verbs made
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .engines .bench
