"""Runs compiled circuits on Aer, with the errors of a calibrated device, after removing idle qubits.

The errors are a stand-in: depolarising after each gate, of the strength of its calibrated gate error, and readout
flips. Bits of a shot are numbered by classical bit; bit k of a row is classical bit k of the circuit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ibm.catalog import snapshot_configuration, snapshot_properties

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_SELF_INVERSE = frozenset({"x", "cz"})
IDLE = frozenset({"barrier", "delay"})
Bits = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Device:
    """What to simulate: a snapshot's calibration (None: no noise), the width, the seed, and what is `kept`."""

    snapshot: str | None
    limit: int
    seed: int
    kept: frozenset[str] = frozenset({"delays", "barriers"})


def active_qubits(circuit: QuantumCircuit) -> tuple[int, ...]:
    """Indices of qubits that any instruction touches, ascending."""
    index = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    found = {index[q] for step in circuit.data if step.operation.name not in IDLE for q in step.qubits}
    return tuple(sorted(found))


def compacted(circuit: QuantumCircuit, active: Sequence[int], device: Device) -> QuantumCircuit:
    """The circuit on some of its qubits alone, all classical bits kept. Raises WorkError if it is too wide.

    On a noisy device, qubits decay during delays.
    """
    from qiskit import QuantumCircuit, QuantumRegister

    if len(active) > device.limit:
        raise WorkError("9999", f"{len(active)} active qubits; this sandbox simulates {device.limit}")
    kept = QuantumRegister(max(len(active), 1), "q")
    place = {circuit.qubits[physical]: kept[i] for i, physical in enumerate(active)}
    physical = dict(zip(place, active, strict=True))
    narrow = QuantumCircuit(kept, circuit.clbits, *circuit.cregs)
    steps = circuit.data if "barriers" in device.kept else _merged(circuit)
    for step in steps:
        if not all(q in place for q in step.qubits):
            continue
        if step.operation.name == "delay" and device.snapshot is not None and "delays" in device.kept:
            decay = _decay(device.snapshot, physical[step.qubits[0]], _seconds(step.operation, device.snapshot))
            if decay is not None:
                narrow.append(decay, [place[step.qubits[0]]])
        elif step.operation.name not in IDLE:
            narrow.append(step.operation, [place[q] for q in step.qubits], step.clbits)
    return narrow


def _merged(circuit: QuantumCircuit) -> list[Any]:
    """Instructions without pairs of equal x or cz gates that follow each other, whatever barriers say."""
    kept: list[Any] = []
    for step in circuit.data:
        if step.operation.name == "barrier":
            continue
        touching = [i for i, other in enumerate(kept) if set(other.qubits) & set(step.qubits)]
        last = kept[touching[-1]] if touching else None
        is_pair = last is not None and last.operation.name == step.operation.name and last.qubits == step.qubits
        if is_pair and step.operation.name in _SELF_INVERSE:
            del kept[touching[-1]]
        else:
            kept.append(step)
    return kept


def _seconds(delay: Any, snapshot: str) -> float:
    dt_ns = float(snapshot_configuration(snapshot)["dt"])  # 4 on Herons, 0.22 on the small device
    scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "dt": dt_ns * 1e-9}
    return float(delay.duration) * scale[delay.unit]


@lru_cache(maxsize=4096)
def _decay(snapshot: str, qubit: int, seconds: float) -> Any:
    """Relaxation and dephasing of an idle qubit, as an instruction; None for no time or no known lifetimes."""
    from qiskit_aer.noise import thermal_relaxation_error

    found = {one["name"]: float(one["value"]) * 1e-6 for one in snapshot_properties(snapshot)["qubits"][qubit]}
    t1 = found.get("T1")
    if not t1 or seconds <= 0:
        return None
    t2 = min(found.get("T2") or 2 * t1, 2 * t1)
    return thermal_relaxation_error(t1, t2, seconds).to_instruction()


def clusters(circuit: QuantumCircuit, active: Sequence[int]) -> list[tuple[int, ...]]:
    """Groups of active qubits connected through gates or classical bits, each ascending."""
    index = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    group = {qubit: {qubit} for qubit in active}
    seen: dict[Any, int] = {}
    for step in circuit.data:
        if step.operation.name in IDLE:
            continue
        on = [index[q] for q in step.qubits] + [seen[c] for c in step.clbits if c in seen]
        seen |= dict.fromkeys(step.clbits, on[0]) if on else {}
        whole = set().union(*(group[q] for q in on))
        for qubit in whole:
            group[qubit] = whole
    return sorted({tuple(sorted(members)) for members in group.values()})


def shots_of(circuits: Sequence[QuantumCircuit], shots: int, device: Device) -> list[Bits]:
    """Outcomes of bound circuits that share their active qubits: per circuit an array (shots, clbits)."""
    active = active_qubits(circuits[0])
    if len(active) <= device.limit:
        return _together(circuits, active, shots, device)
    # too wide for one state; independent parts are sampled separately
    found = [np.zeros((shots, circuit.num_clbits), dtype=bool) for circuit in circuits]
    for number, members in enumerate(clusters(circuits[0], active)):
        apart = replace(device, seed=(device.seed + 104_729 * number) % 2**31)
        parts = _together(circuits, members, shots, apart)
        found = [whole | part for whole, part in zip(found, parts, strict=True)]
    return found


def _together(circuits: Sequence[QuantumCircuit], active: Sequence[int], shots: int, device: Device) -> list[Bits]:
    narrow = [compacted(circuit, active, device) for circuit in circuits]
    if not any(circuit.clbits for circuit in narrow):
        return [np.zeros((shots, 0), dtype=bool) for _ in narrow]
    simulator = _simulator(device, tuple(active))
    if any(step.operation.name == "if_else" for circuit in narrow for step in circuit.data):
        # Aer 0.18.2 drops qubits that nothing measures, and then cannot load a branch on them: "unordered_map::at"
        simulator.set_options(enable_truncation=False)
    outcome = simulator.run(narrow, shots=shots, memory=True, seed_simulator=device.seed).result()
    if not outcome.success:
        raise WorkError("9999", f"the simulator failed: {outcome.status}")
    return [_bits(outcome.data(i)["memory"], circuit.num_clbits) for i, circuit in enumerate(narrow)]


def _bits(memory: Sequence[str], n_clbits: int) -> Bits:
    n_bytes = (n_clbits + 7) // 8
    rows = b"".join(int(word, 16).to_bytes(n_bytes, "little") for word in memory)
    packed = np.frombuffer(rows, dtype=np.uint8).reshape(len(memory), n_bytes)
    return np.unpackbits(packed, axis=-1, bitorder="little")[:, :n_clbits].astype(bool)


def paulis_of(circuit: QuantumCircuit, labels: Sequence[str], device: Device) -> dict[str, float]:
    """Expectation values of full-width Pauli labels (rightmost = qubit 0) after gate noise, without readout errors."""
    from qiskit.quantum_info import Pauli, SparsePauliOp
    from qiskit_aer.library import SaveExpectationValue

    active = active_qubits(circuit)
    narrow = compacted(circuit, active, device)
    fixed: dict[str, float] = {}
    wanted: dict[str, str] = {}
    for label in labels:
        letters = label[::-1]
        outside = {letters[q] for q in range(len(letters)) if q not in active} - {"I"}
        if outside - {"Z"}:
            fixed[label] = 0.0  # an idle qubit is in |0>
            continue
        if not active:
            fixed[label] = 1.0
            continue
        wanted[label] = "".join(letters[q] for q in reversed(active))
    for label in dict.fromkeys(wanted.values()):
        narrow.append(SaveExpectationValue(SparsePauliOp(Pauli(label)), label=label), list(range(narrow.num_qubits)))
    if not wanted:
        return fixed
    run = _simulator(device, active).run(narrow, shots=1024, seed_simulator=device.seed).result()
    if not run.success:
        raise WorkError("9999", f"the simulator failed: {run.status}")
    values = run.data(0)
    return fixed | {label: float(np.real(values[short])) for label, short in wanted.items()}


def readout_contrast(device: Device, label: str) -> float:
    """How much readout errors shrink a Pauli's expectation value: the product of 1 - 2 p over its qubits."""
    if device.snapshot is None:
        return 1.0
    found = 1.0
    for qubit, letter in enumerate(label[::-1]):
        if letter != "I":
            missed, invented = _readout(device.snapshot)[qubit]
            found *= 1 - missed - invented
    return found


def _simulator(device: Device, active: tuple[int, ...]) -> Any:
    from qiskit_aer import AerSimulator

    model = _noise_model(device.snapshot, active) if device.snapshot else None
    simulator = AerSimulator(method="automatic", noise_model=model)
    simulator.set_options(max_parallel_threads=1)
    return simulator


@lru_cache(maxsize=64)
def _noise_model(snapshot: str, active: tuple[int, ...]) -> Any:
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    place = {physical: i for i, physical in enumerate(active)}
    model = NoiseModel()
    for (name, qubits), error in _gate_errors(snapshot).items():
        if error > 0 and all(qubit in place for qubit in qubits):
            # a depolarising channel of strength x has the average infidelity x (d - 1) / d
            dimension = 2 ** len(qubits)
            strength = min(error * dimension / (dimension - 1), 1.0)
            model.add_quantum_error(
                depolarizing_error(strength, len(qubits)), name, [place[q] for q in qubits], warnings=False
            )
    for physical, i in place.items():
        missed, invented = _readout(snapshot)[physical]
        model.add_readout_error(ReadoutError([[1 - invented, invented], [missed, 1 - missed]]), [i], warnings=False)
    return model


@lru_cache(maxsize=8)
def _gate_errors(snapshot: str) -> dict[tuple[str, tuple[int, ...]], float]:
    found = {}
    for gate in snapshot_properties(snapshot)["gates"]:
        error = next((p["value"] for p in gate["parameters"] if p["name"] == "gate_error"), 0.0)
        if gate["gate"] not in ("reset", "measure"):
            # an error of 1 is IBM's mark of a broken gate
            found[gate["gate"], tuple(gate["qubits"])] = float(error) if math.isfinite(error) else 1.0
    return found


@lru_cache(maxsize=8)
def _readout(snapshot: str) -> list[tuple[float, float]]:
    """Per qubit: probability of reading 0 if 1 was prepared, and 1 if 0 was."""
    found = []
    for entries in snapshot_properties(snapshot)["qubits"]:
        values = {entry["name"]: float(entry["value"]) for entry in entries}
        either = values.get("readout_error", 0.0)
        found.append((values.get("prob_meas0_prep1", either), values.get("prob_meas1_prep0", either)))
    return found
