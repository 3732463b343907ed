# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# versions that the tests were run with; `make test CONSTRAINTS=` takes the newest that pyproject.toml allows
CONSTRAINTS ?= constraints.txt
# twice as many processes of tests as there are cores, at most four: half of a test is waiting for another process, and one
# takes about a gigabyte; `make test WORKERS=0` for none
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
# each keeps to one stretch of the suite, so that servers are shared, and takes over from another when it is done
PARALLEL := -n $(WORKERS) --maxprocesses 4 --dist worksteal
PINS := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: gate constraints wheel help install demo test check lint types imports docs notebooks bench pulls story chaos newest-braket \
  scale calendar hosts upgrade mistakes newest-prefect newest-ibm doctor doors takes pictures passes live loops compat money peer archive-show sources clean
help:
	@echo "make demo     install into .venv, run the H2 VQE and a small circuit, print what came out"
	@echo "make test     install and run the test suite"
	@echo "make check    lint, types and import contracts"
	@echo "make docs     build the documentation site into site/, every link checked"
	@echo "make pictures   renew the documentation's pictures of Prefect's UI; needs Chromium; PICTURES='--into DIR' to compare"
	@echo "make notebooks  run the notebooks and keep what they print"
	@echo "make newest-prefect   the Prefect part of the suite with the newest Prefect, in an environment of its own"
	@echo "make bench    the budgets, measured against raw clients and loops in the same run"
	@echo "make peer     wall and requests beside prefect-qiskit on emulated IBM Quantum, in an environment of its own"
	@echo "make archive-show   a sweep of 1,000 points, a VQE and a group in one archive: verified elsewhere, by the RO-Crate validator, and with flipped bits"
	@echo "make sources  the sources' examples with their clients and with qflows, and the lines of code of each"
	@echo "make money    20 buyers, 1,000 random kills, one cap, on SQLite and PostgreSQL; two hours; MONEY='--kills 100' for less"
	@echo "make scale    what a million jobs a day need, and \`qflows ledger archive\` on five million jobs; an hour; SCALE='--jobs 20000' for less"
	@echo "make hosts    eight machines as network namespaces, each with its own clock: cut off, killed, database restarted, server moved; needs root"
	@echo "make upgrade  the story with a newer Prefect from its middle on, while runs wait and jobs are queued"
	@echo "make calendar   a week with a change of the clocks, an outage, hourly tokens, a retired device and a ledger upgrade"
	@echo "make gate     false holds on 1,000 stable nights of each kind of device, and bad nights; minutes"
	@echo "make pulls    error bars, biases, drift flags and thresholds by Monte Carlo; a few minutes"
	@echo "make mistakes   over a hundred mistakes, each made for real, with its answer: what happened, with which thing, what next"
	@echo "make story    a nightly run while server, worker, reconciler and flow are killed 20 times; SQLite, then PostgreSQL"
	@echo "make chaos    kills at every point in all company: two accounts, four vendors, two databases; minutes"
	@echo "make loops    loops killed at every k-th evaluation, in scripts, kernels, flows and mapped tasks; half an hour"
	@echo "make constraints   pin the newest versions that fit together; run the tests before you commit them"
	@echo "make wheel    build the wheel, install it by plain pip in an empty environment, use it"
	@echo "make compat   the libraries that run on our primitives, with PennyLane's tests of devices; QISKIT=checkout adds Qiskit's own tests"
	@echo "make newest-braket   the Braket tests with the newest SDK, in an environment of its own"
	@echo "make doctor   what \`qflows doctor --spend\` finds out, in all pairs of positions of the sandbox's switches"
	@echo "make doors    500 programs through every door on every vendor's sandbox, counts against exact distributions"
	@echo "make passes   which files of qflows a circuit, a batch, a group and a session go through"
	@echo "make takes    docs/what-devices-take.md, from what the adapters say of the emulated vendors"
	@echo "make live     the conformance suite at the real vendors; needs credentials and QFLOWS_LIVE_BUDGET='2 usd, 180 qpu_s, 0 credits'"
	@echo "make newest-ibm   the IBM tests with the newest client, in an environment of its own"

.venv/.user: pyproject.toml $(CONSTRAINTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@# uv installs the set in seconds; where it cannot be had, pip does it in a minute
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || true
	@# pip compiles what it installs; uv must be told, or the first commands take three times as long
	@if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(PINS) -e .; \
	 else $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) -e .; fi
	@touch $@

.venv/.test: .venv/.user
	@if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) -e '.[test]'; \
	 else $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) -e '.[test]'; fi
	@touch $@

.venv/.docs: .venv/.test
	@if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) -e '.[docs]'; \
	 else $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) -e '.[docs]'; fi
	@touch $@

docs: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html; its code blocks are run by tests/prefect/test_documentation.py"

# the text that their cells print; needs a Prefect API for the flows, or starts a temporary one
notebooks: .venv/.docs
	@$(BIN)/python docs/notebook_outputs.py

# of Prefect's UI; needs Chromium, and Playwright to drive it, which goes into .venv only here.
# PICTURES='--survey DIR' for every form and page in both UI versions, light and dark
pictures: .venv/.docs
	@$(BIN)/python -c "import playwright" 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	@$(BIN)/python docs/pictures.py $(PICTURES)

mistakes: .venv/.test
	@$(BIN)/python tests/prefect/mistakes.py

install: .venv/.user

demo: .venv/.user
	@$(BIN)/qflows demo

test: .venv/.test .venv/.docs
	$(BIN)/python -m pytest -q $(PARALLEL)

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

peer: .venv/.test
	@$(BIN)/python tests/benchmarks/peer_speed.py --venv .venv-peer

# PULLS='--seeds 50 --series 2000' for less
pulls: .venv/.test
	@$(BIN)/python tests/benchmarks/pulls.py $(PULLS)

# STORY='--sqlite --kills 4 --seed 3' for less
story: .venv/.test
	@$(BIN)/python tests/acceptance/story/story.py $(STORY)

# DOORS='--programs 50 --first 500 --only ibm-kingston'
doors: .venv/.test
	@cd tests && ../$(BIN)/python -m acceptance.doors $(DOORS)

# PASSES='batch' for one kind of purchase
passes: .venv/.test
	@$(BIN)/python tests/benchmarks/files_passed.py $(PASSES)

takes: .venv/.test
	@$(BIN)/python docs/what_devices_take.py

# LOOPS='--every 3 --kinds vqe --company script notebook' for less
loops: .venv/.test
	@cd tests && ../$(BIN)/python -m acceptance.loops $(LOOPS)

# CHAOS='--cells 60 --only emulator', or '--kills 1000 --jobs 500 --seed 2'
chaos: .venv/.test
	@cd tests && ../$(BIN)/python -m acceptance.chaos $(CHAOS)

# Prefect stays at the older of the two minor versions in CI, which runs the newest one in a job of its own; a release
# that only rebuilds another (.postN) is as good as that one
constraints: .venv/.user
	@echo 'prefect<3.9' > .venv/older.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade -c .venv/older.txt --no-header \
	  --no-annotate --extra test --extra docs --extra postgres --extra dask pyproject.toml -o .venv/constraints.txt
	@{ echo '# Versions that the tests were run with, for make, CI and reproducible installations:'; \
	   echo '# pip install qflows -c constraints.txt; made by `make constraints`'; \
	   sed 's/\.post[0-9]*\( \|$$\)/.*\1/' .venv/constraints.txt; } > constraints.txt

# what a user gets: the built wheel, by plain pip, in an empty environment
wheel:
	@rm -rf dist .venv-wheel
	@$(PYTHON) -m venv .venv-wheel
	@.venv-wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/qflows-*.whl
	@cd .venv-wheel && bin/python -c "import pathlib, qflows; \
	  assert pathlib.Path(qflows.__file__).with_name('py.typed').exists(); print(qflows.__version__)"
	@.venv-wheel/bin/qflows devices

# the newest SDK pins cloudpickle==2.2.1, which Prefect cannot use: the pin is overridden, as the README says
newest-braket: .venv/.test
	@test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	@printf 'cloudpickle>=3.1.1\namazon-braket-sdk>=1.127\n' > .venv-newest/override.txt
	@$(BIN)/uv pip install --quiet --python .venv-newest/bin/python --override .venv-newest/override.txt -e '.[test]'
	.venv-newest/bin/python -m pytest -q tests/providers/braket tests/programs/test_programs_braket.py \
	  tests/providers/local tests/sandbox/test_braket_client_conformance.py

# GATE='--nights 100 --seeds 1' for less
gate: .venv/.test
	@$(BIN)/python tests/benchmarks/gate.py $(GATE)

# the same as in the suite, with what it says
calendar: .venv/.test
	@$(BIN)/python -m pytest -q -rA tests/acceptance/test_calendar.py

# SCALE='--jobs 20000 --database sqlite --database postgresql --kill' for less
scale: .venv/.test
	@$(BIN)/python tests/benchmarks/million.py
	@$(BIN)/python tests/benchmarks/old_jobs.py $(SCALE)

# hosts as network namespaces: needs root, iproute2 and PostgreSQL's binaries, and says so where these are missing
hosts: .venv/.test
	@$(BIN)/python tests/acceptance/hosts/hosts.py || test $$? = 77

# MONEY='--kills 100 --database sqlite' for less
money: .venv/.test
	$(BIN)/python tests/money/race.py $(MONEY)

# ARCHIVE='--points 100' for less; the validator is the official one of RO-Crate, in an environment of its own
sources: .venv/.test
	@$(BIN)/python -m pytest -q tests/sources && $(BIN)/python tests/sources/table.py

archive-show: .venv/.test
	@$(BIN)/python tests/benchmarks/archive.py --validator --flips $(ARCHIVE)

# jax and its like are too much for every test run. QISKIT: a copy of Qiskit's repository at about the installed version
compat: .venv/.test
	@test -x .venv-compat/bin/python || $(PYTHON) -m venv .venv-compat
	@$(BIN)/uv pip install --quiet --python .venv-compat/bin/python $(PINS) -e '.[test,compat]'
	.venv-compat/bin/python -m pytest -q tests/compat tests/privacy/test_canaries.py
	@# mitiq wants an older numpy than the pins
	@test -x .venv-mitiq/bin/python || $(PYTHON) -m venv .venv-mitiq
	@$(BIN)/uv pip install --quiet --python .venv-mitiq/bin/python -e '.[test]' 'mitiq>=1.1' ply
	.venv-mitiq/bin/python -m pytest -q tests/compat/test_mitigation_libraries.py
	.venv-compat/bin/python tests/compat/pennylane_devices.py
ifdef QISKIT
	.venv-compat/bin/python tests/compat/qiskit_primitives.py $(QISKIT)
	.venv-compat/bin/python tests/compat/qiskit_primitives.py $(QISKIT) --device ionq-simulator --only test_backend_sampler_v2
	.venv-compat/bin/python tests/compat/qiskit_primitives.py $(QISKIT) --device ionq-simulator --only test_backend_estimator_v2
endif

# PREFECT='prefect>=3.9,<3.10' by default: the newer of the two minor versions that pyproject.toml allows
PREFECT ?= prefect>=3.9,<3.10
newest-prefect: .venv-prefect/.ready
	.venv-prefect/bin/python -m pytest -q $(PARALLEL) tests/prefect tests/docs

.venv-prefect/.ready: .venv/.test
	@test -x .venv-prefect/bin/python || $(PYTHON) -m venv .venv-prefect
	@grep -v -i '^prefect==' $(or $(CONSTRAINTS),constraints.txt) > .venv-prefect/pins.txt
	@$(BIN)/uv pip install --quiet --python .venv-prefect/bin/python -c .venv-prefect/pins.txt '$(PREFECT)' -e '.[test,docs]'
	@.venv-prefect/bin/python -c "import prefect; print('Prefect', prefect.__version__)"
	@touch $@

# the story with an upgrade of Prefect in its middle, while runs wait and jobs are queued
upgrade: .venv-prefect/.ready
	@$(BIN)/python tests/acceptance/story/story.py --sqlite --kills 6 --newer .venv-prefect/bin/python $(STORY)

# DOCTOR='braket ibm' for some vendors
doctor: .venv/.test
	@$(BIN)/python tests/benchmarks/doctor.py $(DOCTOR)

# LIVE='-k TestIonQ' for one vendor
live: .venv/.test
	$(BIN)/python -m pytest -q -s -rs tests/live $(LIVE)

newest-ibm: .venv/.test
	@test -x .venv-newest-ibm/bin/python || $(PYTHON) -m venv .venv-newest-ibm
	@$(BIN)/uv pip install --quiet --python .venv-newest-ibm/bin/python --upgrade-package qiskit-ibm-runtime -e '.[test]'
	.venv-newest-ibm/bin/python -c "from importlib.metadata import version; print(version('qiskit-ibm-runtime'))"
	.venv-newest-ibm/bin/python -m pytest -q tests/providers/ibm tests/sandbox/ibm

clean:
	rm -rf .venv .venv-newest .venv-newest-ibm .venv-prefect .venv-compat .venv-mitiq .venv-wheel site dist demo-output
