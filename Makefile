# Everything runs in a virtual environment of the project's own, made from the pinned, hashed files in requirements/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Tests run on every core; T picks files, K an expression, FAST=1 leaves the slow ones out.
T ?= tests
K ?=
# Two a processor: many tests wait for a process, a lock or a clock. With T and K none: starting them takes longer than a few tests.
WORKERS ?= $(if $(and $(K),$(filter-out tests,$(T))),0,$(shell expr $$(nproc 2>/dev/null || echo 2) '*' 2))
# Commands under test wait for the disk to have their files, which a file system in memory does not; a container's often has 64 MB.
# The folder's name has no capitals, since a name with all sorts of characters may be a key, and is masked in errors.
SHM = $(shell awk '$$2 == "/dev/shm" && $$3 == "tmpfs" && $$4 !~ /noexec|^ro/ {print $$2}' /proc/mounts 2>/dev/null | tail -1)
MEMORY = $(shell shm=$(SHM); test -n "$$shm" && test -z "$$TMPDIR" && test -w "$$shm" && df -Pk "$$shm" | awk 'NR == 2 && $$4 > 4000000 {print $$6}')
# Some images set it; without compiled files each of the tests' thousands of processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format types imports docs docs-check bench schemas schemas-check lock clean dev

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.run: requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what the program needs into $(VENV)"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --no-compile --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	@echo "installing what the benchmarks compare with into $(VENV)"
	@$(PIP) install --require-hashes -r requirements/bench.txt
	@touch $@

dev: $(VENV)/.dev ## make the virtual environment for working on the project

demo: $(VENV)/.run ## see the product in a minute, with no AWS account
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev ## run every test (T=path K=expression FAST=1 narrow it; PROCESSES=1 starts a process for every command)
	@memory=$(MEMORY); if test -n "$$memory"; then export TMPDIR=$$memory/tests-$$$$; mkdir -m 700 "$$TMPDIR" || exit; trap 'rm -rf "$$TMPDIR"' EXIT; fi; \
	$(BIN)/python -m pytest $(T) -q -n $(WORKERS) --dist worksteal $(if $(K),-k "$(K)") $(if $(FAST),-m "not slow")

check: lint types imports docs-check ## lint, types, import contracts, freshness of schemas and docs

lint: $(VENV)/.dev ## ruff, and the formatter's opinion
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## let the formatter and the safe fixes run
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

imports: $(VENV)/.dev ## the import contracts of pyproject.toml
	@$(BIN)/lint-imports --no-cache

schemas: $(VENV)/.run ## write schemas/ from the models
	@$(BIN)/python -m reconciler schema --write schemas

docs: $(VENV)/.dev ## regenerate the output shown in README.md and docs/
	@$(BIN)/python -m tests.transcript --write
	@$(BIN)/python -m tests.guide --write

schemas-check: $(VENV)/.run ## fail if schemas/ is out of date
	@$(BIN)/python -m reconciler schema --check schemas

docs-check: schemas-check $(VENV)/.dev ## fail if schemas/ or the docs are out of date
	@$(BIN)/python -m pytest tests/test_docs.py -q -n 0

bench: $(VENV)/.bench ## measure: calls, CPU and memory as ratios and counts
	@$(BIN)/python -m bench

lock: $(VENV)/.dev ## resolve the requirement files
	@$(PIP) install uv
	@set -e; compile() { name=$$1; shift; \
	  $(BIN)/uv pip compile pyproject.toml "$$@" --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements/$$name.txt; }; \
	compile run --group build; \
	compile controller --group build --extra controller; \
	compile dask --group build --extra dask; \
	compile forges --group build --extra github --extra gitlab; \
	compile dev --group build --all-extras --group dev; \
	compile bench --group build --all-extras --group bench

clean: ## remove what was built
	@rm -rf $(VENV) build dist .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
