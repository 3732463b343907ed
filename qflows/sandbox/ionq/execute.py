"""Runs IonQ circuits in the worker process: JSON gates and OpenQASM 3, exact or sampled with noise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ionq.gates import Dialect, lower
from qflows.sandbox.noise import Rates, drawn
from qflows.sandbox.statevector import compact, nonzero, probabilities, spread

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def run_json(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute JSON gates. Returns `probabilities` (exact) or `histogram` (sampled); keys: decimal, qubit 0 lowest."""
    dialect = Dialect(**payload.get("dialect", {}))
    ops = lower(payload["circuit"], payload["gateset"], payload["qubits"], dialect)
    narrow, active = compact(ops, limit=payload["limit"])
    if payload["dry_run"]:
        return {}
    if payload["is_exact"]:
        return {"probabilities": _named(spread(nonzero(probabilities(narrow, len(active))), active))}
    rates = None if payload["rates"] is None else Rates(**payload["rates"])
    read = range(payload["qubits"])  # IonQ measures every qubit of the circuit
    histogram = drawn(ops, rates, read=read, limit=payload["limit"], shots=payload["shots"], seed=payload["seed"])
    return {"histogram": _named(histogram)}


def _named(values: dict[int, Any]) -> dict[str, Any]:
    return {str(outcome): values[outcome] for outcome in sorted(values)}


def run_qasm3(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute OpenQASM 3 with mid-circuit measurement and reset.

    Returns `registers` [[name, size]...] and `outcomes`: histogram over all classical bits, decimal, first bit lowest.
    """
    circuit = _parse(payload["data"])
    there = {instruction.operation.name for instruction in circuit.data}
    if refused := sorted(there.intersection(payload.get("refuses", ()))):
        raise WorkError("UnsupportedGate", f"{refused[0]} is not supported")
    if not payload.get("mid_circuit", True) and _is_early(circuit):
        raise WorkError("PreflightError", "mid-circuit measurement and reset are not supported on this target")
    if not circuit.clbits:
        circuit.measure_all()
    registers = [[register.name, register.size] for register in circuit.cregs]
    narrow = _compacted(circuit, payload["limit"])
    if payload["dry_run"]:
        return {"registers": registers, "outcomes": {}}
    counts = _aer_counts(narrow, payload)
    return {"registers": registers, "outcomes": _named(dict(sorted(counts.items())))}


def _parse(text: str) -> QuantumCircuit:
    from qiskit import qasm3
    from qiskit.circuit import ControlFlowOp

    try:
        circuit = qasm3.loads(text)
    except Exception as error:  # noqa: BLE001  (parser boundary: unrelated types, and a bad text fails only its job)
        raise WorkError("InvalidInput", f"OpenQASM 3: {error}") from None
    if any(isinstance(instruction.operation, ControlFlowOp) for instruction in circuit.data):
        # "Control flow is not supported server-side" (qiskit-ionq 1.1.1 source)
        raise WorkError("UnsupportedGate", "control flow is not supported")
    return circuit


def _is_early(circuit: QuantumCircuit) -> bool:
    """True for a reset, or anything on a qubit after its measurement."""
    measured: set[Any] = set()
    for instruction in circuit.data:
        if not _acts(instruction):
            continue
        if instruction.operation.name == "reset" or measured.intersection(instruction.qubits):
            return True
        if instruction.operation.name == "measure":
            measured.update(instruction.qubits)
    return False


def _compacted(circuit: QuantumCircuit, limit: int) -> QuantumCircuit:
    from qiskit import QuantumCircuit

    used = {qubit for instruction in circuit.data for qubit in instruction.qubits if _acts(instruction)}
    active = [qubit for qubit in circuit.qubits if qubit in used]
    if len(active) > limit:
        raise WorkError("NotEnoughQubits", f"{len(active)} active qubits; this sandbox simulates {limit}")
    narrow = QuantumCircuit(active, circuit.clbits, *circuit.cregs)
    for instruction in circuit.data:
        if _acts(instruction):
            narrow.append(instruction.operation, instruction.qubits, instruction.clbits)
    return narrow


def _acts(instruction: Any) -> bool:
    return instruction.operation.name not in ("barrier", "delay")


def _aer_counts(circuit: QuantumCircuit, payload: dict[str, Any]) -> Counter[int]:
    from qiskit import transpile
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    model = None
    if payload["rates"] is not None:
        rates = Rates(**payload["rates"])
        model = NoiseModel(["u", "cx"])
        model.add_all_qubit_quantum_error(depolarizing_error(rates.one_qubit, 1), ["u"])
        model.add_all_qubit_quantum_error(depolarizing_error(rates.more_qubits, 2), ["cx"])
        flip = rates.readout
        model.add_all_qubit_readout_error(ReadoutError([[1 - flip, flip], [flip, 1 - flip]]))
    simulator = AerSimulator(method="statevector", noise_model=model, seed_simulator=payload["seed"])
    ready = transpile(circuit, basis_gates=["u", "cx"], optimization_level=0)
    found = simulator.run(ready, shots=payload["shots"]).result().get_counts()
    counts: Counter[int] = Counter()
    for bits, count in found.items():
        counts[int(bits.replace(" ", ""), 2)] += int(count)
    return counts
