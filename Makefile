# `make` alone prints what there is to do.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "guardhouse needs Python 3.11 or newer; name one with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "python3 has no venv module here; on Debian: apt-get install python3-venv" >&2; exit 1; }

# What it takes to run the guarded demo model, and no more.
$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what the demo needs into $(VENV) (about a minute, once)"
	@$(PIP) install --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/run.stamp
	@echo "installing what the tests need into $(VENV) (about a minute, once)"
	@$(PIP) install --constraint constraints.txt --editable '.[demo,onnx,audit,redis]' $$($(BIN)/python tools/dev_requirements.py dev)
	@$(BIN)/python tools/redis_server.py
	@touch $@

$(VENV)/bench.stamp: pyproject.toml constraints.txt | $(VENV)/dev.stamp
	@$(PIP) install --constraint constraints.txt $$($(BIN)/python tools/dev_requirements.py bench)
	@touch $@

.PHONY: run
run: $(VENV)/run.stamp ## serve the guarded demo model and receive its traces, until Ctrl-C
	@$(BIN)/python examples/run_demo.py $(DEMO)

.PHONY: test
test: $(VENV)/dev.stamp ## run the tests (under 10 minutes on 2 cores)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not soak' $(ARGS)

.PHONY: soak
soak: $(VENV)/dev.stamp ## run the long tests: load and faults
	@$(BIN)/python -m pytest -m soak $(ARGS)

.PHONY: lint
lint: $(VENV)/dev.stamp ## style, types, import rules, generated code current, wheel whole
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy protos interceptors server clients examples tools benchmarks
	@$(BIN)/lint-imports
	@$(BIN)/python tools/generate_protos.py --check
	@$(BIN)/python tools/check_collection.py
	@$(BIN)/python tools/check_wheel.py

.PHONY: protos
protos: $(VENV)/dev.stamp ## regenerate the Python code from protos/**/*.proto
	@$(BIN)/python tools/generate_protos.py

.PHONY: stubs
stubs: $(VENV)/run.stamp ## write client stubs to build/stubs
	@$(BIN)/guardhouse stubs --out build/stubs/python/guardhouse_stubs --force
	@$(BIN)/guardhouse stubs --out build/stubs/proto --lang proto --force

.PHONY: bench
bench: $(VENV)/bench.stamp ## measure the guarded server against the bare one (a quarter of an hour)
	@$(BIN)/python -m benchmarks.run $(ARGS)

.PHONY: bench-limits
bench-limits: $(VENV)/bench.stamp ## measure what one decision of a limit costs (some 3 minutes)
	@$(BIN)/python -m benchmarks.decisions $(ARGS)

.PHONY: bench-peers
bench-peers: $(VENV)/bench.stamp ## the same with Envoy, MLServer and KServe, installed into .venv-peers
	@$(BIN)/python -m benchmarks.peers.install
	@$(BIN)/python -m benchmarks.run --peers $(ARGS)

.PHONY: clean
clean: ## remove everything that make has made
	rm -rf $(VENV) .venv-peers $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
