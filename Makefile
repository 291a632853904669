# make run    set up and show the main job on a sample
# make test   set up and run every check
# The only things needed are Python >= 3.11, make, and a way to the package registries; see README.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .tools/bin/uv
BIN := .venv/bin
PYTEST_ARGS ?= -n auto

.PHONY: help run setup tools test lint types imports unit bench fuzz chaos docs lock clean
.DEFAULT_GOAL := help

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

run: setup ## the main job on a sample: a build, a change, a broken change, the repair; Ctrl-C ends it
	@$(BIN)/python samples/tour.py

setup: .venv/.done

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.done: uv.lock pyproject.toml | $(UV)
	$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

tools: setup ## what the samples' tests need besides Python: Rust, Node, tmux, and the samples' packages
	sh tests/rig/tools.sh

test: tools lint types imports unit ## every check

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

unit: tools
	$(BIN)/pytest $(PYTEST_ARGS)

bench: setup ## measure beside the peers that are installed
	$(BIN)/python -m benchmarks

fuzz: setup ## property tests with new seeds and many more examples
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest tests/property -o faulthandler_timeout=0 $(PYTEST_ARGS)

SECONDS ?= 300
chaos: setup ## new seeds of chaos for SECONDS=300, or those of SEEDS="1 2"
	$(BIN)/python -m tests.chaos --total $(SECONDS) $(SEEDS)

docs: setup ## write the generated pages anew
	$(BIN)/python -m procwatch.config.reference > docs/watch-toml.md

lock: $(UV) ## bring the lock file up to date with pyproject.toml
	$(UV) lock

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
