# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo test check lint types imports bench pulls story newest-braket clean
help:
	@echo "make demo     install into .venv, run the H2 VQE and a small circuit, print what came out"
	@echo "make test     install and run the test suite"
	@echo "make check    lint, types and import contracts"
	@echo "make bench    the budgets, measured against raw clients and loops in the same run"
	@echo "make pulls    error bars, biases, drift flags and thresholds by Monte Carlo; a few minutes"
	@echo "make story    a nightly run while server, worker, sweeper and flow are killed 20 times; SQLite, then PostgreSQL"
	@echo "make newest-braket   the Braket tests with the newest SDK, in an environment of its own"

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

install: .venv/.user

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

# PULLS='--seeds 50 --series 2000' for less
pulls: .venv/.test
	@$(BIN)/python tests/benchmarks/pulls.py $(PULLS)

# STORY='--sqlite --kills 4 --seed 3' for less
story: .venv/.test
	@$(BIN)/python tests/acceptance/story/story.py $(STORY)

# the newest SDK pins cloudpickle==2.2.1, which Prefect cannot use: the pin is overridden, as the README says
newest-braket: .venv/.test
	@test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	@echo 'cloudpickle>=3.1.1' > .venv-newest/override.txt
	@$(BIN)/uv pip install --quiet --python .venv-newest/bin/python --override .venv-newest/override.txt \
	  'amazon-braket-sdk>=1.127' -e '.[test]'
	.venv-newest/bin/python -m pytest -q tests/providers/braket tests/programs/test_programs_braket.py \
	  tests/providers/local tests/sandbox/test_braket_client_conformance.py

clean:
	rm -rf .venv .venv-newest demo-output
