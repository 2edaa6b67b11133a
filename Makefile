# `make demo` and `make test` set up everything they need in .venv, once; a second call installs nothing.
# On Linux without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves a large download.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean

help:  ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1  \t/'

demo: $(VENV)/.installed  ## check a planted world, then sweep granularity x depth; minutes on a CPU
	$(VENV)/bin/hyperctr demo
	$(VENV)/bin/hyperctr demo --sweep

test: lint  ## lint and run every test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -q

lint: $(VENV)/.installed-dev  ## check style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:  ## remove the environment, caches and build outputs; data and runs stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $(VENV)/.installed $@
