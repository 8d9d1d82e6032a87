# Every target creates .venv when it is absent; PYTHON chooses the interpreter that makes it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
OUT ?= runs/demo
export OMP_NUM_THREADS ?= 2

.PHONY: help demo test lint slow bench docs figures versions clean
.DEFAULT_GOAL := test

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[vlm,data,judge,plot,symbolic,devices,quantization,adapters,docs,dev]"
	@touch $@

demo: .venv/installed          ## measure, plan, skip and validate on the embedded model
	$(BIN)/python -m vlm demo --out $(OUT)

lint: .venv/installed          ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/installed lint     ## ruff, mypy, the tests and the examples in docstrings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --doctest-modules --ignore=vlm/evaluation/lmms_eval_model.py redundancy bounds vlm

slow: .venv/installed          ## the slow tests: coverage studies, kills, thorough properties
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

bench: .venv/installed         ## side-by-side timings, printed as ratios
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: .venv/installed          ## the documentation site, docs/_build/html/index.html (needs no network once installed)
	PYTHONWARNINGS= $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

figures: .venv/installed       ## every figure of the documentation, redrawn (some 20 minutes); FIGURES="sweep.png" for some
	$(BIN)/python docs/redraw_figures.py $(FIGURES)

# PYTHONS="python3.12 python3.13" make versions: the packages without torch on other interpreters.
PYTHONS ?= python3.12 python3.13 python3.14
versions:                      ## tests of redundancy and bounds on the other Python versions that are installed
	@for python in $(PYTHONS); do \
	  $$python --version >/dev/null 2>&1 || { echo "$$python: not installed, skipped"; continue; }; \
	  room=.venv/versions/$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  $$python -m venv $$room || exit 1; \
	  $$room/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    numpy scipy scikit-learn array-api-compat sympy matplotlib safetensors pandas pytest pytest-xdist hypothesis mpmath || exit 1; \
	  OMP_NUM_THREADS=1 $$room/bin/python -m pytest -q -n 2 -m "not slow" tests/redundancy tests/bounds || exit 1; \
	done

help:                          ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

clean:
	rm -rf .venv runs figures build dist docs/_build docs/gallery
