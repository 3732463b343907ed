"""Running programs on local simulators. Simulators are imported on first use only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from qflows.errors import Refused
from qflows.keys import digest, seed_of
from qflows.model import Counts, Expectation, ItemResult
from qflows.programs import Program
from qflows.programs.observables import Observable, expectation_exact
from qflows.programs.readout import merge, readout, sample
from qflows.programs.to_openqasm import BRAKET, to_openqasm
from qflows.protocol import JobSpec
from qflows.providers.local.compact import compacted
from qflows.providers.local.statevector import state_vector

WIDTHS = {"exact": 20, "aer": 29, "braket": 26}  # what fits the memory of an ordinary machine
_NUMERICAL_ZERO = 1e-14  # smaller probabilities are rounding dust of the simulator
_compiling = Lock()  # passes keep state while they run, and a provider serves several threads
_NARROW = 10  # up to this many qubits our own state vector beats the start-up of an Aer run


def width(device_id: str) -> int:
    """Qubits a device can simulate. Raises Refused for an unknown device."""
    if device_id.startswith("noisy:"):
        return int(snapshot(device_id.removeprefix("noisy:")).num_qubits)
    if device_id not in WIDTHS:
        raise Refused(f"no local device {device_id!r}; there are exact, aer, braket and noisy:<name>", provider="local")
    return WIDTHS[device_id]


def takes_mid_circuit(device_id: str) -> bool:
    """Whether a device can reset a qubit or go on after a measurement."""
    return device_id == "aer" or device_id.startswith("noisy:")


def run(spec: JobSpec, key: str) -> Iterator[ItemResult]:
    """One result per program; the sampler's seed is derived from the job key and the program's place."""
    keeps_memory = bool(spec.options.get("memory"))
    for index, program in enumerate(spec.programs):
        seed = seed_of(digest("seed/1", key, index)) if len(spec.programs) > 1 else seed_of(key)
        if spec.device_id == "exact":
            item = _exact(program, spec.observables_of(index), spec.shots, seed)
        elif spec.device_id == "braket":
            item = _braket(compacted(program), spec.shots or 0, seed)
        else:
            item = _aer(spec.device_id, program, spec.shots or 0, seed, with_memory=keeps_memory)
        yield item if keeps_memory else replace(item, memory=None)


def _exact(program: Program, wanted: tuple[Observable, ...], shots: int | None, seed: int) -> ItemResult:
    if wanted:
        state = _statevector(program)  # at full width: an observable may act on an idle qubit
        return ItemResult(expectations=tuple(Expectation(expectation_exact(state, o), 0.0) for o in wanted))
    program = compacted(program)
    weights = np.abs(_statevector(program)) ** 2
    outcomes = {int(i): float(weights[i]) for i in np.flatnonzero(weights > _NUMERICAL_ZERO)}
    probabilities = merge(outcomes, readout(program).from_qubits)
    if shots is None:
        return ItemResult(probabilities=probabilities)
    counts, memory = sample(probabilities, shots, seed)
    return ItemResult(counts=counts, probabilities=probabilities, memory=memory)


def _statevector(program: Program) -> np.ndarray[Any, np.dtype[np.complex128]]:
    if program.n_qubits <= _NARROW:
        return state_vector(program)
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    circuit: Any = program.circuit()
    gates = circuit.copy_empty_like()
    for step in circuit.data:
        if step.operation.name != "measure":
            gates.append(step)
    simulator = AerSimulator(method="statevector")
    prepared: Any = transpile(gates, simulator, optimization_level=0)
    prepared.save_statevector()
    return np.asarray(simulator.run(prepared, shots=1).result().get_statevector().data)


def _aer(device_id: str, program: Program, shots: int, seed: int, *, with_memory: bool) -> ItemResult:
    simulator = _simulator(device_id)
    if device_id == "aer" or program.n_qubits > simulator.num_qubits:
        program = compacted(program)  # else the chosen qubits stay: their noise is what is asked for
    prepared = program.circuit()
    if device_id != "aer" or not program.gate_counts().keys() <= _aer_names():
        with _compiling:
            prepared = _compiler(device_id).run(prepared)
    # threads cost a narrow circuit more than they give, most of all on a busy machine; 0: as many as there are cores
    threads = 1 if program.n_qubits <= _NARROW else 0
    outcome = simulator.run(
        prepared, shots=shots, seed_simulator=seed % 2**31, memory=with_memory, max_parallel_threads=threads
    ).result()
    if not outcome.success:
        raise Refused(f"{device_id} could not run {program.name}: {outcome.status}", provider="local")
    layout = readout(program)
    data = outcome.data(0)
    memory = tuple(layout.from_clbits(int(word, 16)) for word in data["memory"]) if with_memory else None
    counts = merge(data["counts"], lambda word: layout.from_clbits(int(word, 16)))
    metadata = {"compiled": _compiled(prepared)} if device_id.startswith("noisy:") else {}
    return ItemResult(counts=Counts(counts), memory=memory, metadata=metadata)


@lru_cache(maxsize=1)
def _aer_names() -> frozenset[str]:
    return frozenset(_simulator("aer").target.operation_names)


@lru_cache(maxsize=8)
def _compiler(device_id: str) -> Any:
    """Pass manager for a simulator; building one costs more than a small circuit's compilation and run together.

    A fixed seed: the same program compiles to the same circuit in every job, only its shots differ.
    """
    from qiskit.transpiler import generate_preset_pass_manager

    return generate_preset_pass_manager(optimization_level=1, backend=_simulator(device_id), seed_transpiler=1)


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
    asked: Any = OpenQasm(source=f"{gates}\n#pragma braket result probability {targets}\n", inputs=None)
    result: Any = LocalSimulator("braket_sv").run(asked, shots=0).result()
    weights = np.asarray(result.values[0], dtype=float)
    n = len(order)
    outcomes = {
        sum(1 << qubit for place, qubit in enumerate(order) if int(i) >> (n - 1 - place) & 1): float(weights[i])
        for i in np.flatnonzero(weights > _NUMERICAL_ZERO)
    }
    counts, memory = sample(merge(outcomes, readout(program).from_qubits), shots, seed)
    return ItemResult(counts=counts, memory=memory)
