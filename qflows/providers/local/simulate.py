"""Running programs on local simulators. Simulators are imported on first use only."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from qflows.errors import Refused
from qflows.keys import digest, seed_of
from qflows.model import Counts, Expectation, ItemResult
from qflows.observables import expectation_exact
from qflows.openqasm import BRAKET, to_openqasm
from qflows.programs import Program
from qflows.protocol import JobSpec
from qflows.readout import merge, readout, sample

_NUMERICAL_ZERO = 1e-14  # smaller probabilities are rounding dust of the simulator
_STATEVECTOR_QUBITS = 10  # below this width qiskit's own state vector beats the start-up of an Aer run


def run(spec: JobSpec, key: str) -> Iterator[ItemResult]:
    """One result per program; the sampler's seed is derived from the job key and the program's place."""
    for index, program in enumerate(spec.programs):
        seed = seed_of(digest("seed/1", key, index)) if len(spec.programs) > 1 else seed_of(key)
        if spec.device_id == "exact":
            yield _exact(spec, index, program, seed)
        elif spec.device_id == "braket":
            yield _braket(program, spec.shots or 0, seed)
        else:
            yield _aer(spec.device_id, program, spec.shots or 0, seed)


def _exact(spec: JobSpec, index: int, program: Program, seed: int) -> ItemResult:
    circuit = program.circuit().remove_final_measurements(inplace=False)
    state = _statevector(circuit)
    wanted = spec.observables_of(index)
    if wanted:
        return ItemResult(expectations=tuple(Expectation(expectation_exact(state, o), 0.0) for o in wanted))
    weights = np.abs(state) ** 2
    outcomes = {int(i): float(weights[i]) for i in np.flatnonzero(weights > _NUMERICAL_ZERO)}
    probabilities = merge(outcomes, readout(program).from_qubits)
    if spec.shots is None:
        return ItemResult(probabilities=probabilities)
    counts, memory = sample(probabilities, spec.shots, seed)
    return ItemResult(counts=counts, probabilities=probabilities, memory=memory)


def _statevector(circuit: Any) -> np.ndarray[Any, np.dtype[np.complex128]]:
    if circuit.num_qubits <= _STATEVECTOR_QUBITS:
        from qiskit.quantum_info import Statevector

        return np.asarray(Statevector(circuit).data)
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    simulator = AerSimulator(method="statevector")
    prepared = transpile(circuit, simulator, optimization_level=0)
    prepared.save_statevector()
    return np.asarray(simulator.run(prepared, shots=1).result().get_statevector().data)


def _aer(device_id: str, program: Program, shots: int, seed: int) -> ItemResult:
    from qiskit import transpile

    simulator = _simulator(device_id)
    prepared = transpile(program.circuit(), simulator, optimization_level=1, seed_transpiler=seed % 2**31)
    outcome = simulator.run(prepared, shots=shots, seed_simulator=seed % 2**31, memory=True).result()
    if not outcome.success:
        raise Refused(f"{device_id} could not run {program.name}: {outcome.status}", provider="local")
    layout = readout(program)
    memory = tuple(layout.from_clbits(int(word, 16)) for word in outcome.data(0)["memory"])
    metadata = {"compiled": _compiled(prepared)} if device_id.startswith("noisy:") else {}
    return ItemResult(counts=_histogram(memory), memory=memory, metadata=metadata)


def _histogram(memory: tuple[str, ...]) -> Counts:
    counts: Counts = Counts()
    for key in memory:
        counts[key] = counts.get(key, 0) + 1
    return Counts(sorted(counts.items()))


def _compiled(circuit: Any) -> dict[str, Any]:
    return {"depth": circuit.depth(), "gates": {name: int(n) for name, n in circuit.count_ops().items()}}


@lru_cache(maxsize=8)
def _simulator(device_id: str) -> Any:
    from qiskit_aer import AerSimulator

    if device_id == "aer":
        return AerSimulator()
    return AerSimulator.from_backend(snapshot(device_id.removeprefix("noisy:")))


@lru_cache(maxsize=8)
def snapshot(name: str) -> Any:
    """A frozen IBM device by its short name, e.g. `manila`. Raises Refused naming those there are."""
    from qiskit_ibm_runtime import fake_provider

    classes = {
        c[4:].removesuffix("V2").lower(): c
        for c in dir(fake_provider)
        if c.startswith("Fake") and c[4:5].isupper() and "Provider" not in c
    }
    if name.lower() not in classes:
        raise Refused(f"no IBM device snapshot {name!r}; there are {', '.join(sorted(classes))}", provider="local")
    return getattr(fake_provider, classes[name.lower()])()


def _braket(program: Program, shots: int, seed: int) -> ItemResult:
    """Exact probabilities by Braket's simulator, sampled here: its own sampler cannot be seeded.

    The first digit of a Braket basis state is the first target. Targets go in ascending order: for cyclic
    permutations the simulator applies the inverse one (default-simulator 1.41.2, measured).
    """
    from braket.devices import LocalSimulator
    from braket.ir.openqasm import Program as OpenQasm

    source = to_openqasm(program, BRAKET)
    gates = "\n".join(line for line in source.splitlines() if "measure" not in line and not line.startswith("bit"))
    order = sorted({qubit for qubit, _ in program.measured})
    targets = ", ".join(f"q[{qubit}]" for qubit in order)
    task = LocalSimulator("braket_sv").run(
        OpenQasm(source=f"{gates}\n#pragma braket result probability {targets}\n"), shots=0
    )
    weights = np.asarray(task.result().values[0], dtype=float)
    n = len(order)
    outcomes = {
        sum(1 << qubit for place, qubit in enumerate(order) if int(i) >> (n - 1 - place) & 1): float(weights[i])
        for i in np.flatnonzero(weights > _NUMERICAL_ZERO)
    }
    counts, memory = sample(merge(outcomes, readout(program).from_qubits), shots, seed)
    return ItemResult(counts=counts, memory=memory)
