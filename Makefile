# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Real data for the tests marked `data`; they are skipped where the folder is missing.
export PUSHFORWARD_DATA ?= $(wildcard $(abspath ../shared/data))
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint bench docs clean

$(VENV)/.core: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/pushforward fit neurosql digits --out runs/demo --overwrite --budget 45s
	@echo "open runs/demo/report.html"

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy

bench: $(VENV)/.bench
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/assignment.py --quick
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/neurosql_digits.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sql.py

# The pictures of the README and the pages under docs/ that are made by the library.
docs: $(VENV)/.core
	$(BIN)/python docs/make_pictures.py

clean:
	rm -rf $(VENV) runs build dist
