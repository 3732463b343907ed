"""The budgets of qflows, each as a ratio against the raw client or loop in the same run: `make bench`.

Times depend on the machine and on what else it does; the ratios much less. Counts (requests, modules) are asserted
by the test suite, not here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from scale import fill, ledger_of
from table import cpu_of, row, timed
from waiting import far_vendor, neighbour, one_after_the_other


def imports() -> None:
    """`import qflows` against `import prefect`; no vendor SDK may be loaded."""
    prefect = cpu_of("import prefect.main")
    ours = cpu_of("import qflows, prefect.main")
    tasks = cpu_of("import qflows; qflows.submit")
    row(
        "import qflows + prefect / import prefect",
        f"{ours:.2f} s / {prefect:.2f} s = {ours / prefect:.2f}",
        "≤ 1.15",
        ours / prefect <= 1.15,
    )
    row(
        "import qflows; qflows.submit (loads tasks) / import prefect",
        f"{tasks / prefect:.2f}",
        "≤ 1.25",
        tasks / prefect <= 1.25,
    )


def command_line() -> None:
    """`qflows run` cold, no API, against importing what it cannot do without."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bell.qasm")
        path.write_text('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];creg c[2];h q[0];cx q[0],q[1];measure q->c;\n')
        env = {"QFLOWS_HOME": folder, "PREFECT_HOME": folder}
        base = cpu_of("import prefect.main, qiskit, qiskit_aer")
        ours = cpu_of(
            f"import sys; sys.argv = ['qflows', 'run', '{path}', '--device', 'local-aer', '--json']; "
            "sys.stdout = open('/dev/null', 'w'); from qflows.cli import main; main()",
            env=env,
        )
    row(
        "qflows run bell.qasm, cold / import prefect+qiskit+aer",
        f"{ours:.2f} s / {base:.2f} s = {ours / base:.2f}",
        "≤ 1.5",
        ours / base <= 1.5,
    )


def commands() -> None:
    """Commands that load neither Prefect nor a vendor: with byte code, and without that of packages and our own."""
    from importlib.util import find_spec

    run = "import sys; sys.argv = ['qflows', *{!r}]; from qflows.cli import main; main()"
    wanted = {"--help": (0.3, 0.6), "jobs ls": (0.45, 1.0)}
    with tempfile.TemporaryDirectory() as folder:
        env = {"QFLOWS_HOME": folder}
        cache = Path(folder, "bytecode")
        for words, (most, most_cold) in wanted.items():
            code = run.format(words.split())
            warm = cpu_of(code, env=env)
            row(f"qflows {words}: CPU with byte code", f"{warm:.2f} s", f"≤ {most:g} s", warm <= most)
            # a cache of its own, from which all but the standard library's is taken away again
            options = ("-X", f"pycache_prefix={cache}")
            cpu_of(code, env=env, repeat=0, options=options)
            for package in ("typer", "qflows"):
                place = Path(str(find_spec(package).origin)).parent.parent  # type: ignore[union-attr]
                shutil.rmtree(cache / place.relative_to("/"), ignore_errors=True)
            cold = cpu_of(code, env=env | {"PYTHONDONTWRITEBYTECODE": "1"}, repeat=1, options=options)
            row(f"qflows {words}: CPU without", f"{cold:.2f} s", f"≤ {most_cold:g} s", cold <= most_cold)


def long_list(circuits: int) -> None:
    """One list of different circuits on emulated IBM, in a process of its own; then IBM's client alone."""
    script = Path(__file__).with_name("long_list.py")
    told = _last_line(script, "--vendor", "ibm", "--calm", "--circuits", str(circuits))
    bare = _last_line(script.with_name("bare_ibm.py"), str(circuits))
    cpu_s, peak_mb = told["last life CPU s"], told["peak MB"]
    row(
        f"{circuits:,} circuits, IBM: CPU, memory",
        f"{cpu_s:.0f} s, {peak_mb:.0f} MB",
        "≤ 35 s, ≤ 400 MB for 20,000",
        cpu_s <= 35 and peak_mb <= 400,
    )
    bare_s = bare["CPU s"] + bare["imports s"]
    row(
        "  CPU / IBM's client building, compiling, encoding and reading them",
        f"{cpu_s:.0f} s / {bare_s:.0f} s = {cpu_s / bare_s:.2f}",
        "≤ 1",
        cpu_s <= bare_s,
    )


def _last_line(script: Path, *arguments: str) -> dict[str, float]:
    """What another benchmark prints last, as JSON."""
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def durable_submit(rows: int) -> None:
    """prepare + claim + record on a SQLite file with fsync, at 0 and at `rows` jobs in the ledger."""
    from qiskit import QuantumCircuit

    from qflows.ledger import Ledger, claims, intents
    from qflows.ledger.intents import Intent, Want
    from qflows.programs import to_program
    from qflows.protocol import JobSpec

    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    spec = JobSpec("ionq", "simulator", (to_program(circuit),), shots=100)

    def measure(ledger: Ledger, tag: str, n: int = 300) -> float:
        spent = []
        for i in range(n):
            began = time.perf_counter()
            (job,) = intents.prepare(
                ledger, [Intent(spec, Want(f"run-{tag}", "a", f"{tag}{i}"), "ionq-simulator", "acc")]
            )
            claim = claims.claim(ledger, job.key, lease_s=60)
            assert claim is not None
            claims.accepted(ledger, claim, f"vendor-{tag}-{i}")
            spent.append(time.perf_counter() - began)
        return statistics.median(spent) * 1e3

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        measure(ledger, "warm", 50)
        empty = measure(ledger, "empty")
        fill(ledger, rows)
        measure(ledger, "warm2", 50)
        full = measure(ledger, "full")
        again = measure(ledger, "again")
        full = min(full, again)
        with tempfile.NamedTemporaryFile(dir=folder) as raw:
            syncs = []
            for _ in range(200):
                raw.write(b"x" * 4096)
                raw.flush()
                began = time.perf_counter()
                os.fsync(raw.fileno())
                syncs.append(time.perf_counter() - began)
        ledger.close()
    row(
        "durable submit, empty ledger",
        f"{empty:.2f} ms (one fsync here: {statistics.median(syncs) * 1e3:.2f} ms)",
        "≤ 3 ms",
        empty <= 3,
    )
    row(
        f"durable submit, {rows:,} jobs / empty",
        f"{full:.2f} ms / {empty:.2f} ms = {full / empty:.2f}",
        "≤ 1.3",
        full / empty <= 1.3,
    )


def _programs(n: int) -> list:
    from qiskit import QuantumCircuit

    from qflows.programs import to_program

    made = []
    for i in range(n):
        circuit = QuantumCircuit(2, 2)
        circuit.rx(0.001 * (i + 1), 0)
        circuit.cx(0, 1)
        circuit.measure([0, 1], [0, 1])
        made.append(to_program(circuit))
    return made


def thousand_jobs(n: int) -> None:
    """One-circuit jobs on the IonQ sandbox: bare httpx doing the same requests, then qflows; requests counted."""
    from qflows import providers
    from qflows.core.devices import Sole
    from qflows.core.poller import Poller
    from qflows.core.submit import Submitter
    from qflows.ledger import Ledger
    from qflows.ledger.intents import Intent, Want
    from qflows.protocol import JobSpec
    from qflows.providers.ionq import wire
    from qflows.sandbox import Sandbox

    specs = [JobSpec("ionq", "simulator", (program,), shots=100) for program in _programs(n)]
    with Sandbox(vendors=("ionq",)) as sandbox, tempfile.TemporaryDirectory() as folder:
        os.environ.update(sandbox.env)
        url = sandbox.env["IONQ_API_URL"]
        bodies = [wire.payload(spec, f"{i:064x}") for i, spec in enumerate(specs)]
        with httpx.Client(headers={"Authorization": "apiKey x"}) as bare:

            def raw() -> None:
                ids = [bare.post(f"{url}/jobs", json=body).json()["id"] for body in bodies]
                for start in range(0, n, 25):
                    bare.get(f"{url}/jobs", params=[("ids", i) for i in ids[start : start + 25]]).json()
                for i in ids:
                    bare.get(f"{url}/jobs/{i}/results/probabilities").json()

            raw_s = timed(raw)
        before = sandbox.admin.counts()
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        provider = providers.connect("ionq")
        submitter = Submitter(ledger, settle_s=1)
        poller = Poller(submitter, Sole(provider), poll_min_s=0.01)

        def ours() -> None:
            wanted = [
                Intent(spec, Want("bench", "a", f"h{i}"), "ionq-simulator", provider.account)
                for i, spec in enumerate(specs)
            ]
            keys = [job.key for job in submitter.submit(provider, wanted)]
            poller.wait(keys)

        ours_s = timed(ours)
        after = sandbox.admin.counts()
        made = {
            k: v - before["requests"].get(k, 0)
            for k, v in after["requests"].items()
            if v != before["requests"].get(k, 0)
        }
        ledger.close()
        row(
            f"{n} one-circuit jobs, qflows / bare httpx",
            f"{ours_s:.1f} s / {raw_s:.1f} s = {ours_s / raw_s:.2f}",
            "≤ 1.2",
            ours_s / raw_s <= 1.2,
        )
        row("  requests made by qflows for them", str(made), f"{n} + ceil({n}/25) + {n}", None)


def watched(n: int) -> None:
    """Requests, memory and CPU of the reconciler, whose tick polls all of `n` queued jobs."""
    code = """
import time
import sqlalchemy as sa
from table import peak_mb
from qflows.core.client import default_client
from qflows.ledger.tables import lanes
core = default_client()
reconciler = core.reconciler()
spent = []
for _ in range(4):  # the first one finds the vendor's words for the first time, and imports what it needs
    with core.ledger.write() as connection:
        connection.execute(sa.update(lanes).values(next_at=0.0))
    began = time.process_time()
    assert reconciler.tick().live == %d
    spent.append(time.process_time() - began)
print(min(spent[1:]), peak_mb())
"""
    from qflows import providers
    from qflows.core.submit import Submitter
    from qflows.ledger import Ledger
    from qflows.ledger.intents import Intent, Want
    from qflows.protocol import JobSpec
    from qflows.sandbox import Sandbox

    (program,) = _programs(1)
    with Sandbox(vendors=("ionq",), clock="frozen") as sandbox, tempfile.TemporaryDirectory() as folder:
        os.environ.update(sandbox.env)
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        provider = providers.connect("ionq")
        spec = JobSpec("ionq", "simulator", (program,), shots=100)
        Submitter(ledger, workers=4).submit(
            provider, [Intent(spec, Want("bench", "a", f"h{i}"), "ionq-simulator", provider.account) for i in range(n)]
        )
        before = sandbox.admin.counts()["requests"].get("ionq.list", 0)
        out = subprocess.run(
            [sys.executable, "-c", code % n],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"QFLOWS_HOME": folder, "PYTHONPATH": str(Path(__file__).parent)},
        ).stdout.split()
        requests = (sandbox.admin.counts()["requests"].get("ionq.list", 0) - before) / 4
        ledger.close()
    row(
        f"{n:,} queued jobs: requests a tick", f"{requests:g}", f"ceil({n}/25) = {-(-n // 25)}", requests == -(-n // 25)
    )
    row(
        f"{n:,} queued jobs: CPU a tick, memory",
        f"{float(out[0]):.2f} s, {float(out[1]):.0f} MB",
        "≤ 0.4 s, ≤ 150 MB for 10,000",
        float(out[0]) <= 0.4 and float(out[1]) <= 150,
    )


def vqe() -> None:
    """The durable loop against the same loop with the state vector in hand."""
    import numpy as np
    from qiskit.quantum_info import Statevector

    from qflows.algorithms.optimizers import minimize
    from qflows.algorithms.problems import ansatz, initial_point, problem
    from qflows.algorithms.vqe import solve
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.programs.expectations import expectation_exact
    from qflows.programs.observables import observable
    from qflows.settings import Settings

    chosen = problem("tfim-4")
    circuit, hamiltonian = ansatz(chosen), observable(list(chosen.hamiltonian))

    def energy(point) -> float:  # noqa: ANN001
        return expectation_exact(np.asarray(Statevector(circuit.assign_parameters(point)).data), hamiltonian)

    start = initial_point(chosen, 7)
    energy(start)
    began = time.perf_counter()
    bare = minimize(energy, start, method="SLSQP", seed=7)
    bare_ms = (time.perf_counter() - began) / bare.n_evaluations * 1e3
    with tempfile.TemporaryDirectory() as folder:
        core = Client(Settings(home=Path(folder)))
        solve(core, Scope("warm", "a", "f"), problem("h2-0.735"), device="local-exact", shots=None)
        began = time.perf_counter()
        found = solve(core, Scope("bench", "a", "f"), chosen, device="local-exact", shots=None, seed=7)
        ours_ms = (time.perf_counter() - began) / found.n_evaluations * 1e3
        core.ledger.close()
    row(
        f"VQE {chosen.name}, {found.n_evaluations} evaluations: durable − bare",
        f"{ours_ms:.1f} ms − {bare_ms:.1f} ms = {ours_ms - bare_ms:.1f} ms",
        "≤ 15 ms an evaluation",
        ours_ms - bare_ms <= 15,
    )


def primitives(calls: int = 60) -> None:
    """A call of the durable estimator against Qiskit's own on the same simulator."""
    from qiskit.circuit.library import efficient_su2
    from qiskit.primitives import BackendEstimatorV2
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator

    from qflows.core.client import Client
    from qflows.primitives import EstimatorV2
    from qflows.settings import Settings

    ansatz, operator = efficient_su2(4, reps=2).decompose(), SparsePauliOp(["ZZII", "IZZI", "XXII", "IIXX"])
    with tempfile.TemporaryDirectory() as folder:
        core = Client(Settings(home=Path(folder)))
        ours = EstimatorV2("local-aer", precision=1 / 32, run_key="bench", client=core)
        theirs = BackendEstimatorV2(backend=AerSimulator(), options={"default_precision": 1 / 32})

        def one(estimator, k: int) -> tuple[float, float]:  # noqa: ANN001
            point = [0.01 * k] * ansatz.num_parameters
            began, cpu = time.perf_counter(), time.process_time()
            estimator.run([(ansatz, operator, point)]).result()
            return time.perf_counter() - began, time.process_time() - cpu

        for k in range(5):
            one(ours, -k), one(theirs, -k)
        # in turns, so that both see the same machine
        pairs = [(one(ours, k), one(theirs, k)) for k in range(1, calls)]
        core.ledger.close()
    mine, bare = (min(wall for wall, _ in times) * 1e3 for times in zip(*pairs, strict=True))
    cpu, bare_cpu = (statistics.median(cpu for _, cpu in times) * 1e3 for times in zip(*pairs, strict=True))
    row(
        f"EstimatorV2, {calls} calls on Aer: durable − Qiskit's BackendEstimatorV2",
        f"{mine:.1f} ms − {bare:.1f} ms = {mine - bare:.1f} ms",
        "≤ 15 ms a call",
        mine - bare <= 15,
    )
    row(
        "  the same in CPU, median",
        f"{cpu:.1f} ms − {bare_cpu:.1f} ms = {cpu - bare_cpu:.1f} ms",
        "≤ 15 ms a call",
        cpu - bare_cpu <= 15,
    )


def main() -> None:
    """Runs what is asked for, by default everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="some of the parts by name")
    parser.add_argument("--rows", type=int, default=1_000_000, help="jobs in the big ledger")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--watched", type=int, default=10_000)
    parser.add_argument("--circuits", type=int, default=20_000, help="length of the long list")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "imports": imports,
        "command": command_line,
        "commands": commands,
        "submit": lambda: durable_submit(chosen.rows),
        "jobs": lambda: thousand_jobs(chosen.jobs),
        "watched": lambda: (watched(1000), watched(chosen.watched))[0],
        "ledger": lambda: ledger_of(chosen.rows),
        "turns": one_after_the_other,
        "far": far_vendor,
        "neighbour": neighbour,
        "list": lambda: long_list(chosen.circuits),
        "vqe": vqe,
        "primitives": primitives,
    }
    if unknown := set(chosen.only) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {' '.join(parts)}")
    for name in chosen.only or parts:
        parts[name]()


if __name__ == "__main__":
    main()
