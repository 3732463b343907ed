# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test check lint types imports bench clean
help:
	@echo "make demo     install into .venv, run the H2 VQE and a small circuit, print what came out"
	@echo "make test     install and run the test suite"
	@echo "make check    lint, types and import contracts"
	@echo "make bench    the budgets, measured against raw clients and loops in the same run"

.venv/.user: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@# uv installs the set in seconds; where it cannot be had, pip does it in a minute
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || true
	@if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --python $(BIN)/python -e .; \
	 else $(BIN)/python -m pip install --quiet --disable-pip-version-check -e .; fi
	@touch $@

.venv/.test: .venv/.user
	@if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[test]'; \
	 else $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'; fi
	@touch $@

demo: .venv/.user
	@$(BIN)/qflows demo

test: .venv/.test
	$(BIN)/python -m pytest -q --durations=15

check: lint types imports

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.test
	$(BIN)/basedpyright

imports: .venv/.test
	$(BIN)/lint-imports

bench: .venv/.test
	@$(BIN)/python tests/benchmarks/run.py

clean:
	rm -rf .venv demo-output
