# `make` lists the targets. Each one creates the environment (.venv) first if it is missing or out of date.
.DEFAULT_GOAL := help
.PHONY: help env install demo format lint type test test-all attack smoke check bench docs docs-tables clean

PYTHON := .venv/bin/python
STAMP := .venv/.installed
DOCS_STAMP := .venv-docs/.installed
SMOKE := outputs/smoke
JOBS ?= 2

# uv: the one that is installed, else a private one in .uv/.
UV := $(or $(shell uv --version >/dev/null 2>&1 && command -v uv),.uv/bin/uv)
LAUNCHERS := python3 python3.13 python3.12 python3.11 python
LAUNCHER := $(firstword $(foreach name,$(LAUNCHERS),$(shell command -v $(name) 2>/dev/null)) python3)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## create or update the environment in .venv (UV_PYTHON=3.12 chooses the Python)

install: env ## the same as env

demo: env ## restore a built-in picture from noise and from few measurements, beside vanilla DIP
	$(PYTHON) -m metadip.demo

format: env ## rewrite the code in the project's format
	$(PYTHON) -m ruff check --fix --exit-zero --quiet
	$(PYTHON) -m ruff format

lint: env ## style, format and spelling
	$(PYTHON) -m ruff check --no-cache
	$(PYTHON) -m ruff format --check --no-cache
	.venv/bin/codespell

type: env ## types
	$(PYTHON) -m mypy $(if $(shell test -w . && echo yes),,--cache-dir=/dev/null)

test: env ## the tests, without the slow ones, in two processes (JOBS=8 takes more)
	$(PYTHON) -m pytest -n $(JOBS) --dist worksteal

test-all: env ## all tests; those that need a GPU are skipped where there is none
	$(PYTHON) -m pytest -m ""

attack: env ## damaged files, bad command lines, kills, a thousand fits: the counts
	$(PYTHON) -m pytest -m "" -q --disable-warnings tests/security

smoke: env ## train for two steps on the built-in pictures, then restore one with the result
	rm -rf $(SMOKE)
	$(PYTHON) train.py data=sample image_size=32 trainer.max_steps=2 learner.inner_steps=3 \
	  learner.multi_step_from=1 'val_steps=[0,3]' data.loader.epoch_size=2 data.loader.val_size=1 \
	  out=$(SMOKE)/train
	$(PYTHON) infer.py ckpt=$(SMOKE)/train/last.ckpt task=denoise task.noise_std=0.098 fit.steps=5 \
	  input="$$($(PYTHON) -c 'import skimage; print(skimage.__path__[0])')/data/astronaut.png" \
	  image_size=64 out=$(SMOKE)/infer

check: lint type test ## lint, types and tests: what CI runs

bench: env ## time of a fit step, and gradients, memory and time of meta-training (QUICK=--quick tries it)
	$(PYTHON) benchmarks/fit_step.py --json $(QUICK)
	$(PYTHON) benchmarks/meta_engine.py --json $(QUICK)
	$(PYTHON) benchmarks/threads.py --json $(QUICK)

docs-tables: env ## write the tables of README, docs and model cards from benchmarks/results
	$(PYTHON) benchmarks/document_tables.py

# In an environment of its own, so that .venv has only what development needs.
docs: $(DOCS_STAMP) ## build the site into build/site; the examples run, a few minutes the first time
	.venv-docs/bin/python -m sphinx -W --keep-going -q -d build/doctrees docs build/site
	@echo "site: build/site/index.html"

clean: ## remove caches, builds and the output of smoke; .venv and other results stay
	rm -rf .cache .mypy_cache .pytest_cache .ruff_cache build dist docs/gallery docs/api/generated $(SMOKE)
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --upgrade: a lock file left behind by an older pyproject.toml decides nothing.
$(STAMP): pyproject.toml | $(UV)
	@echo "creating the environment in .venv (the first time takes a minute or more)"
	@UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --upgrade --compile-bytecode --no-progress --quiet || { echo "make env: the \
	environment could not be created; it needs the package index, a C compiler and Python 3.11 to 3.13 \
	with its headers (Debian: apt install gcc python3-dev)" >&2; exit 1; }
	@touch $@

$(DOCS_STAMP): pyproject.toml | $(UV)
	@echo "creating the environment of the site in .venv-docs"
	@UV_PROJECT_ENVIRONMENT=.venv-docs $(UV) sync --upgrade --no-dev --group docs --no-progress --quiet || { echo "make docs: \
	the environment could not be created; it needs the package index and Python 3.11 to 3.13" >&2; exit 1; }
	@touch $@

# pip --target leaves the system's Python alone and works where pip refuses to install into it.
.uv/bin/uv:
	@echo "uv is not installed: getting it into .uv/"
	@$(LAUNCHER) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv uv \
	  || { rm -rf .uv && $(LAUNCHER) -m venv .uv && .uv/bin/python -m pip install --quiet uv; } \
	  || { rm -rf .uv; echo "make env: cannot get uv; install it, or pip or venv for Python \
	(Debian: apt install python3-pip python3-venv)" >&2; exit 1; }
