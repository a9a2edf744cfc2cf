# make demo: from a bare clone to a report.   make test: the whole test suite.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint peers clean

demo: .venv/demo
	$(BIN)/python experiments/digits.py

test: .venv/test
	$(BIN)/python -m pytest -n 2

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# An environment of its own for the benchmark: the suite, and those peers that install today.
peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	.venv-peers/bin/python experiments/peers/install.py

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/test: .venv/demo
	$(PIP) -e ".[test]"
	touch $@

clean:
	rm -rf .venv .venv-peers
