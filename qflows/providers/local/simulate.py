"""Running programs on local simulators. Simulators are imported on first use only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from qflows.errors import Refused
from qflows.keys import seed_of
from qflows.model import Counts, Expectation, ItemResult
from qflows.programs import Feature, Program
from qflows.programs.braket_sdk import ready_to_import
from qflows.programs.expectations import expectation_exact
from qflows.programs.observables import Observable
from qflows.programs.panics import refused_if_qiskit_panics
from qflows.programs.readout import merge, readout, sample
from qflows.programs.to_openqasm import BRAKET, to_openqasm
from qflows.protocol import JobSpec
from qflows.providers.local.compact import compacted
from qflows.providers.local.compile import (
    WIDEST,
    Ready,
    for_simulator,
    for_snapshot,
    method_of,
    simulator,
    snapshot_name,
    with_branches_read,
)
from qflows.providers.local.noise import noise_text, snapshot
from qflows.providers.local.options import AerOptions, NoisyOptions, read_options
from qflows.providers.local.statevector import state_vector

WIDTHS = {"exact": 20, "aer": WIDEST, "braket": 26}  # what fits the memory of an ordinary machine
_NUMERICAL_ZERO = 1e-14  # smaller probabilities are rounding dust of the simulator
_NARROW = 10  # up to this width our own state vector beats the start-up of an Aer run


def width(device_id: str) -> int:
    """Qubits a device can simulate. Raises Refused for an unknown device."""
    if device_id.startswith("noisy:"):
        return int(snapshot(device_id.removeprefix("noisy:")).num_qubits)
    if device_id not in WIDTHS:
        raise Refused(
            f"no local device {device_id!r}; the local devices are exact, aer, braket and noisy:<name>",
            provider="local",
        )
    return WIDTHS[device_id]


def takes_mid_circuit(device_id: str) -> bool:
    """Whether a device can reset a qubit or continue after a measurement."""
    return device_id == "aer" or device_id.startswith("noisy:")


def run(spec: JobSpec, key: str) -> Iterator[ItemResult]:
    """One result per program; the sampler's seed is derived from the job key and the program's position."""
    options = read_options(spec)
    for index, program in enumerate(spec.programs):
        seed = seed_of(key, index if len(spec.programs) > 1 else None)
        if spec.device_id == "exact":
            item = _exact(program, spec.observables_of(index), spec.shots, seed)
        elif spec.device_id == "braket":
            item = _braket(compacted(program), spec.shots or 0, seed)
        else:
            item = _aer(spec, program, seed)
        yield item if options.memory else replace(item, memory=None)


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
    with refused_if_qiskit_panics(program.name):
        prepared: Any = transpile(gates, simulator, optimization_level=0)
    prepared.save_statevector()
    return np.asarray(simulator.run(prepared, shots=1).result().get_statevector().data)


def ready(spec: JobSpec, program: Program) -> tuple[Ready, str]:
    """What the simulator of a job on `aer` or `noisy:<name>` runs, and by which method. Raises ProgramRejected."""
    options = read_options(spec)
    assert isinstance(options, AerOptions)
    if isinstance(options, NoisyOptions):
        name = snapshot_name(spec.device_id, options)
        layout = tuple(options.layout) if options.layout is not None else None
        fixed = options.physical_qubits is not None
        return for_snapshot(
            program, name, options.level, options.seed_transpiler, layout, is_fixed=fixed
        ), options.method
    method = method_of(program, options)
    return Ready(for_simulator(compacted(program), method, noise_text(options)), None, is_as_written=True), method


def _aer(spec: JobSpec, program: Program, seed: int) -> ItemResult:
    options = read_options(spec)
    assert isinstance(options, AerOptions)
    made, method = ready(spec, program)
    name = snapshot_name(spec.device_id, options) if isinstance(options, NoisyOptions) else ""
    # threads cost a narrow circuit more than they gain, above all on a busy machine; 0: one per core
    threads = 1 if program.n_qubits <= _NARROW else 0
    outcome = (
        simulator(name, noise_text(options), method)
        .run(
            with_branches_read(made.circuit),
            shots=spec.shots or 0,
            seed_simulator=seed % 2**31,
            memory=options.memory,
            max_parallel_threads=threads,
        )
        .result()
    )
    if not outcome.success:
        raise Refused(f"{spec.device_id} could not run {program.name}: {outcome.status}", provider="local")
    layout = readout(program)
    data = outcome.data(0)
    memory = tuple(layout.from_clbits(int(word, 16)) for word in data["memory"]) if options.memory else None
    counts = merge(data["counts"], lambda word: layout.from_clbits(int(word, 16)))
    metadata = {"compiled": _summary(made)} if name else {}
    return ItemResult(counts=Counts(counts), memory=memory, metadata=metadata)


def _summary(made: Ready) -> dict[str, Any]:
    circuit = made.circuit
    found: dict[str, Any] = {
        "depth": circuit.depth(),
        "gates": {name: int(n) for name, n in circuit.count_ops().items()},
        "as_written": made.is_as_written,
    }
    found |= {"layout": list(made.layout)} if made.layout is not None else {}
    return found | ({"notes": list(made.notes)} if made.notes else {})


def _braket(program: Program, shots: int, seed: int) -> ItemResult:
    """Exact probabilities by Braket's simulator, sampled here: its own sampler cannot be seeded.

    The first digit of a Braket basis state is the first target. Targets go in ascending order: for cyclic
    permutations the simulator applies the inverse one (default-simulator 1.41.2, measured).
    """
    ready_to_import()
    from braket.devices import LocalSimulator
    from braket.ir.openqasm import Program as OpenQasm

    program = program.rewritten(program.ops(), is_verbatim=False)  # this device compiles nothing
    # one exact state: nothing happens while a qubit waits
    source = to_openqasm(program, replace(BRAKET, drops=BRAKET.drops | {Feature.DELAY}))
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
