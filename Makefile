# Everything works from a fresh checkout: each target sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests env demo images test lint bench-synth bench-standin bench-review bench-batch bench-serving bench-monitoring bench-alerts train schemas golden clean distclean

# The first Python >= 3.11 on PATH; or name one: make PYTHON=/path/to/python3.11
PYTHON ?= $(firstword $(shell for python in python3.11 python3 python3.13 python3.12; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done) \
	python3)
VENV := .venv/bin
# Options for pytest, such as: make test ARGS="-k naming"
ARGS ?=

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install everything into the checkout: .venv, node_modules, Terraform and node where missing
	@$(PYTHON) -m scripts.setup

setup-tests:
	@$(PYTHON) -m scripts.setup policy emulator
	@$(PYTHON) -m scripts.prometheus

env: setup ## Print the shell settings of the tools: eval "$(make -s env)"
	@$(VENV)/python -m modelyard.toolchain

demo: setup ## Deploy the blueprint on this machine, with no cloud account
	@$(VENV)/modelyard demo

# A file stays on one worker, since its tests share what is dear to make.
test: setup-tests ## Run all tests, with the linters and the type checker among them
	@$(VENV)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup ## Run the linters and the type checker alone
	@$(VENV)/python -m scripts.lint

bench-synth: setup ## Measure synthesis; writes build/bench/synth.json
	@$(VENV)/python benchmarks/synth.py

bench-standin: setup ## Measure apply on the stand-in provider
	@$(VENV)/python -m plan_review.standin.bench

bench-review: setup ## Measure the plan review; writes build/bench/review.json
	@$(VENV)/python benchmarks/review.py

bench-batch: setup ## Measure the batch image; writes build/bench/batch.json
	@$(VENV)/python -m benchmarks.batch

bench-serving: ## Measure the REST server beside others, which are installed apart; writes build/bench/serving.json
	@$(PYTHON) -m scripts.setup mlserver kserve
	@$(VENV)/python -m benchmarks.serving

bench-monitoring: setup ## Measure the monitors beside Evidently and on 100 million rows; writes build/bench/monitoring.json
	@$(PYTHON) -m scripts.setup evidently
	@$(VENV)/python -m benchmarks.monitoring $(ARGS)

bench-alerts: setup ## Inject faults into real traffic, see what is told, beside Evidently; writes build/bench/alerts.json
	@$(PYTHON) -m scripts.setup evidently
	@$(VENV)/python -m benchmarks.alerts $(ARGS)

images: setup ## Build the serving images with docker, podman or buildah, and start each once
	@$(VENV)/python -m scripts.images $(ARGS)

train: setup ## Train the example models on their public data, and publish them
	@$(VENV)/python -m examples.train_all

schemas: setup ## Write the JSON Schemas of the input files
	@$(VENV)/modelyard schemas

golden: setup ## Write the golden inventories of the stacks anew
	@$(VENV)/python -m tests.golden

clean: ## Remove what builds and tests have made
	@rm -rf build cdktf.out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

distclean: clean ## Remove also what the set-up has installed
	@rm -rf .venv .venv-* node_modules .cache
