# mmcore: `make help` lists what there is to do.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export DAGSTER_HOME := $(CURDIR)/var/dagster
export MMCORE_ROOT ?= $(CURDIR)/var/demo

.DEFAULT_GOAL := help
.PHONY: help install demo ui mlflow test lint format typecheck clean

help: ## List every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed ## Create .venv with the pinned packages (once; other targets call it)

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "mmcore needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(DAGSTER_HOME)/dagster.yaml: pipelines/dagster.yaml
	mkdir -p $(@D) && cp $< $@

demo: install $(DAGSTER_HOME)/dagster.yaml ## Run the whole graph on the generated site (under 5 minutes)
	$(BIN)/mmcore demo

ui: install $(DAGSTER_HOME)/dagster.yaml ## Open the Dagster UI on http://127.0.0.1:3000
	$(BIN)/dagster dev -w workspace.yaml

mlflow: install ## Open the MLflow UI on http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(MMCORE_ROOT)/mlflow/mlflow.db --port 5000

test: install ## Run the whole test suite (under 15 minutes)
	$(BIN)/python -m pytest -q

lint: install ## Check style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(MAKE) --no-print-directory typecheck

typecheck: install ## Check types only
	$(BIN)/mypy mmcore pipelines
	$(BIN)/mypy --explicit-package-bases benchmarks

format: install ## Rewrite the code in the house style
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean: ## Remove the environment and everything the demo made
	rm -rf .venv var build *.egg-info
