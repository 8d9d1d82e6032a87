# Every target creates .venv when it is absent; PYTHON chooses the interpreter that makes it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
OUT ?= runs/demo
export OMP_NUM_THREADS ?= 2

.PHONY: demo test lint bench coverage docs clean
.DEFAULT_GOAL := test

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[vlm,data,judge,plot,symbolic,dev]"
	@touch $@

demo: .venv/installed          ## measure, plan, skip and validate on the embedded model
	$(BIN)/python -m vlm demo --out $(OUT)

lint: .venv/installed          ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/installed lint     ## everything continuous integration runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

coverage: .venv/installed      ## the full coverage study of the intervals (slow)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

bench: .venv/installed         ## side-by-side timings, printed as ratios
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

docs: .venv/docs               ## the documentation site, docs/_build/html/index.html (needs no network once installed)
	PYTHONWARNINGS= $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf .venv runs figures build dist docs/_build docs/gallery
