# Everything a newcomer types. `make demo` and `make test` do all their own set-up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo test lint bench soak lock clean

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(STAMP)  ## make .venv with everything in it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Attune needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 setup" >&2; exit 1; }
	@echo "making $(VENV) with everything in it; the first time takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup      ## the main job on published data, on a real embedded Kafka
	$(BIN)/attune demo $(ARGS)

lint: setup      ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: setup lint ## every check and test (ARGS="-k name" to choose, ARGS="-n 0" for one process)
	$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

bench: setup     ## benchmarks, ratios of one run
	$(BIN)/python -m tests.benchmarks $(ARGS)

soak: setup      ## the fault tests, long
	$(BIN)/pytest -m soak --soak-seconds=1200 -o faulthandler_timeout=3000 tests/faults $(ARGS)

lock: setup      ## resolve the dependencies again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --group dev --all-extras pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --constraint requirements.lock pyproject.toml -o deploy/container/requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --constraint requirements.lock deploy/container/build.in -o deploy/container/build.lock

clean:           ## remove what was made here (not .attune, which holds local data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
