"""The loops that are killed: qflows' own VQE, QAOA and `minimize`, and Qiskit's primitives in scipy's optimizer.

`python walks.py KIND RUN_KEY FOLDER` walks in a script. Every value goes into a file at once, in hex, so that a killed
walk leaves what it knew. `WALKS_LAST`: the evaluation of this process after which it kills itself; 0 for never.
`WALKS_MOST`: how many values VQE and QAOA ask for, in place of those below.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DEVICE, SHOTS = "ionq-simulator", 100
MOST = {"vqe": 12, "qaoa": 12, "estimator": 16, "sampler": 10, "minimize": 16}
"""How many values each kind of walk asks for."""
for _kind in ("vqe", "qaoa"):
    MOST[_kind] = int(os.environ.get("WALKS_MOST", MOST[_kind]))
EXTRA = {"qaoa": 1}
"""Jobs that are no evaluation: the sample of the end."""

Note = Callable[[float], float]
_killing = threading.Lock()
_noted = 0


def noting(folder: Path, name: str) -> Note:
    """A function that appends a value to the walk's file, and kills this process after its `WALKS_LAST`th value."""
    last, file = int(os.environ.get("WALKS_LAST", "0")), folder / f"{name}.trace"
    file.unlink(missing_ok=True)

    def note(value: float) -> float:
        global _noted  # over all walks of the process: a kill ends them together
        with _killing:
            with file.open("a") as out:
                out.write(float(value).hex() + "\n")
            _noted += 1
            if _noted == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return float(value)

    return note


def trace(folder: Path, name: str) -> list[str]:
    """What a walk has noted since it began last; its values to the last bit."""
    file = folder / f"{name}.trace"
    return file.read_text().split() if file.exists() else []


def walk(kind: str, note: Note, run_key: str | None = None, seed: int = 0) -> None:
    """One walk from its beginning to its end. Without a run key the flow around names the run."""
    if kind == "vqe":
        _vqe(note, run_key, seed)
    elif kind == "qaoa":
        _qaoa(note, run_key, seed)
    elif kind == "estimator":
        _in_scipy(_energy(run_key, seed), note, MOST[kind], 8, seed)
    elif kind == "sampler":
        _in_scipy(_cut(run_key, seed), note, MOST[kind], 2, seed)
    else:
        _minimize(note, run_key, seed)


def _here(run_key: str | None) -> tuple[Any, Any]:
    if run_key is None:
        from qflows.prefect import tasks

        return tasks.client(), tasks.scope()
    from qflows.core.client import default_client
    from qflows.core.scope import script_scope

    return default_client(), script_scope(run_key)


def _vqe(note: Note, run_key: str | None, seed: int) -> None:
    from qflows.algorithms import vqe

    core, scope = _here(run_key)
    problem = vqe.to_problem([("ZI", 1.0), ("XX", 0.5)])
    given: Any = {"device": DEVICE, "shots": SHOTS, "seed": seed, "max_evaluations": MOST["vqe"]}
    vqe.solve(core, scope, problem, on_step=lambda step: _ignored(note(step.energy)), **given)


def _qaoa(note: Note, run_key: str | None, seed: int) -> None:
    from qflows.algorithms import qaoa

    core, scope = _here(run_key)
    given: Any = {"device": DEVICE, "shots": SHOTS, "seed": seed, "max_evaluations": MOST["qaoa"]}
    cost = qaoa.maxcut([(0, 1), (1, 2), (2, 0), (2, 3, 1.0 + seed)])
    qaoa.solve_qaoa(core, scope, cost, on_step=lambda step: _ignored(note(step.energy)), **given)


def _minimize(note: Note, run_key: str | None, seed: int) -> None:
    from qiskit import QuantumCircuit

    import qflows

    def cost(point: Any) -> float:
        circuit = QuantumCircuit(1)
        circuit.rx(float(point[0]), 0)
        circuit.ry(float(point[1]), 0)
        found = qflows.run(circuit, device=DEVICE, shots=SHOTS, observables="Z", run_key=run_key)
        return note(found.expectation.value)

    qflows.minimize(cost, [0.4, 0.1 * seed], seed=seed, max_evaluations=MOST["minimize"], run_key=run_key)


def _energy(run_key: str | None, seed: int) -> Callable[[Any], float]:
    from qiskit.circuit.library import efficient_su2
    from qiskit.quantum_info import SparsePauliOp

    from qflows.primitives import EstimatorV2

    ansatz, operator = efficient_su2(2, reps=1), SparsePauliOp(["ZI", "XX"])
    estimator = EstimatorV2(DEVICE, shots=SHOTS, run_key=run_key, label=f"walk {seed}")
    return lambda point: float(estimator.run([(ansatz, operator, point)]).result()[0].data.evs)


def _cut(run_key: str | None, seed: int) -> Callable[[Any], float]:
    from qiskit.circuit.library import qaoa_ansatz
    from qiskit.quantum_info import SparsePauliOp

    from qflows.primitives import SamplerV2

    cost = SparsePauliOp.from_list([("IZZ", 0.5), ("ZZI", 0.5), ("ZIZ", 0.5 + seed)])
    circuit = qaoa_ansatz(cost, reps=1).decompose(reps=3)
    circuit.measure_all()
    sampler = SamplerV2(DEVICE, shots=SHOTS, run_key=run_key, label=f"walk {seed}")

    def mean(point: Any) -> float:
        bits = sampler.run([(circuit, point)]).result()[0].data.meas
        return float(np.real(bits.expectation_values(cost)))

    return mean


def _in_scipy(value: Callable[[Any], float], note: Note, most: int, n: int, seed: int) -> None:
    from scipy import optimize

    start = np.full(n, 0.3 + 0.01 * seed)
    # COBYLA asks once for each parameter before it steps
    optimize.minimize(lambda x: note(value(x)), start, method="COBYLA", options={"maxiter": most})


def _ignored(_: object) -> None:
    """on_step returns nothing."""


if __name__ == "__main__":
    kind_, run_key_, folder_ = sys.argv[1:]
    walk(kind_, noting(Path(folder_), kind_), run_key_)
