# Beyond the Cutoff. `make` alone prints this help; `make all` does everything.
#
# A variable given on the make line is a parameter of the experiment, for example
#   make size=tiny limit=20 all        a quick trial on 20 questions
#   make stage=04_evaluate force=1 all start one stage over
#   make lora_rank=8 all               any parameter (see `make params`)
# PYTHON=/path/to/python uses that environment as it is, instead of making .venv.
# Targets are relative names, so that the path of the repository may hold blanks.

SHELL := /bin/sh
export PYTHONPATH := $(CURDIR)/src

ifdef PYTHON
PY := $(PYTHON)
READY :=
READY_DEV :=
else
PY := .venv/bin/python
READY := .venv/installed
READY_DEV := .venv/installed-dev
endif

.DEFAULT_GOAL := help
.PHONY: help all test lint bench status plan params ask judge lab phantom clean
# A half-made stamp must not look like a finished installation.
.DELETE_ON_ERROR:

help: ## this help
	@sed -n '2,9s/^# \{0,1\}//p' Makefile
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18

all: $(READY) ## install, run every stage that is not up to date, say where the reports are
	@"$(PY)" -m cutoff run --make

test: $(READY_DEV) ## install, run the tests (without benchmarks and GPU tests)
	@"$(PY)" -m pytest -n 2 --dist loadfile -m "not bench and not gpu"

bench: $(READY_DEV) ## measure speed against references in the same run
	@"$(PY)" -m pytest -m bench -s tests/bench

lint: $(READY_DEV) ## check style and types
	@"$(PY)" -m ruff check . && "$(PY)" -m ruff format --check . && "$(PY)" -m mypy

status: $(READY) ## which stages are complete, and what `make all` would do
	@"$(PY)" -m cutoff status --make

plan: $(READY) ## what a size needs (memory, disk, hours, cost, power), before anything is spent
	@"$(PY)" -m cutoff plan --make

params: $(READY) ## every parameter with its value and allowed values
	@"$(PY)" -m cutoff params --make

ask: $(READY) ## answer a question from the index, with citations: make ask question="..."
	@"$(PY)" -m cutoff ask --make

judge: $(READY) ## judge answers from elsewhere: make judge responses=FILE questions=FILE
	@"$(PY)" -m cutoff judge --make

lab: $(READY) ## open the notebooks in JupyterLab
	@"$(PY)" -m jupyterlab notebooks

phantom: $(READY) ## train the tiny base model again (long)
	@"$(PY)" -m phantom_factory.pretrain

clean: $(READY) ## remove the results of one size (size=tiny unless given), keep the data sets
	@"$(PY)" -m cutoff clean --make

# The environment. Each step leaves a stamp; nothing is installed twice.

.venv/bin/python:
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    2>/dev/null; then \
	    echo "Making .venv with $$("$$python" --version)"; \
	    "$$python" -m venv .venv && exit 0; \
	    echo "Making .venv failed; on Debian and Ubuntu install python3-venv first." >&2; \
	    rm -rf .venv; exit 1; \
	  fi; \
	done; \
	echo "No Python 3.11, 3.12 or 3.13 found; install one or give PYTHON=/path/to/python." >&2; \
	exit 1

.venv/installed: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing requirements.txt into .venv (once)"
	@torch=$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt) && \
	  $(PY) -m pip install --quiet "$$torch" && \
	  $(PY) -m pip install --quiet -r requirements.txt && \
	  $(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@echo "Installing requirements-dev.txt into .venv (once)"
	@$(PY) -m pip install --quiet -r requirements-dev.txt
	@touch $@
