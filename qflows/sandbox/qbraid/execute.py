"""Runs OpenQASM in the worker process: one circuit, or a batch in which each circuit succeeds or fails separately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qflows.sandbox.errors import WorkError
from qflows.sandbox.noise import Rates, drawn
from qflows.sandbox.statevector import Op

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute the only program of `payload`. Returns {"counts"}; raises WorkError for a circuit that cannot run."""
    return {"counts": _counts(payload["programs"][0], payload, payload["seed"])}


def run_batch(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute all programs. Returns {"circuits": [{"counts"} or {"error"}, ...]} in input order."""
    circuits: list[dict[str, Any]] = []
    for index, program in enumerate(payload["programs"]):
        try:
            circuits.append({"counts": _counts(program, payload, payload["seed"] + index)})
        except WorkError as error:
            circuits.append({"error": f"circuit {index}: {error.message}"})
    return {"circuits": circuits}


def _counts(program: Mapping[str, Any], payload: Mapping[str, Any], seed: int) -> dict[str, int]:
    """Histogram with qiskit's keys: c[0] rightmost, registers separated by a space, the first one rightmost."""
    circuit = _parsed(program["format"], program["data"])
    there = {step.operation.name for step in circuit.data}
    if refused := sorted(there.intersection(payload["refuses"])):
        raise WorkError("Unsupported", f"{refused[0]} is not supported")
    if circuit.num_qubits > payload["qubits"]:
        raise WorkError("TooWide", f"{circuit.num_qubits} qubits; the device has {payload['qubits']}")
    place = _final_measurements(circuit)
    if place is not None and not place:
        raise WorkError("NoMeasurement", "the program measures nothing")
    if place is None:
        return _aer_counts(circuit, payload, seed)
    ops = []
    for step in circuit.data:
        if step.operation.name not in ("barrier", "delay", "measure"):
            ops.append(Op(_matrix(step.operation), tuple(circuit.find_bit(qubit).index for qubit in step.qubits)))
    rates = None if payload["rates"] is None else Rates(*payload["rates"])
    histogram = drawn(
        ops, rates, read=set(place.values()), limit=payload["limit"], shots=payload["shots"], seed=seed % 2**31
    )
    counts: Counter[str] = Counter()
    for outcome, count in histogram.items():
        memory = sum((outcome >> qubit & 1) << clbit for clbit, qubit in place.items())
        counts[_key(circuit, memory)] += count
    return dict(sorted(counts.items()))


@lru_cache(maxsize=256)
def _parsed(kind: str, text: str) -> QuantumCircuit:
    from qiskit import qasm2, qasm3
    from qiskit.circuit import ControlFlowOp

    try:
        if kind == "qasm2":
            circuit = qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
        else:
            circuit = qasm3.loads(text)
    except Exception as error:  # noqa: BLE001  (parser boundary: unrelated types, and a bad text fails only its job)
        raise WorkError("InvalidProgram", f"{kind}: {str(error)[:300]}") from None
    if any(isinstance(step.operation, ControlFlowOp) for step in circuit.data):
        raise WorkError("Unsupported", "control flow is not supported")
    return circuit


def _final_measurements(circuit: QuantumCircuit) -> dict[int, int] | None:
    """Clbit to qubit if every measurement comes last and no clbit is written twice, otherwise None."""
    place: dict[int, int] = {}
    measured: set[int] = set()
    for step in circuit.data:
        if step.operation.name in ("barrier", "delay"):
            continue
        qubits = {circuit.find_bit(qubit).index for qubit in step.qubits}
        if step.operation.name == "reset" or qubits & measured:
            return None
        if step.operation.name == "measure":
            clbit = circuit.find_bit(step.clbits[0]).index
            if clbit in place:
                return None
            place[clbit] = next(iter(qubits))
            measured |= qubits
    return place


def _matrix(gate: Any) -> Any:
    from qiskit.quantum_info import Operator

    # gates that a program defines itself have a definition and no matrix
    return gate.to_matrix() if hasattr(gate, "__array__") else Operator(gate).data


def _key(circuit: QuantumCircuit, memory: int) -> str:
    if not circuit.cregs:
        return f"{memory:0{circuit.num_clbits}b}"
    words = []
    for register in reversed(circuit.cregs):
        places = [circuit.find_bit(bit).index for bit in reversed(list(register))]
        words.append("".join(str(memory >> clbit & 1) for clbit in places))
    return " ".join(words)


def _aer_counts(circuit: QuantumCircuit, payload: Mapping[str, Any], seed: int) -> dict[str, int]:
    from qiskit import QuantumCircuit, transpile
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    used = {qubit for step in circuit.data for qubit in step.qubits if step.operation.name != "barrier"}
    active = [qubit for qubit in circuit.qubits if qubit in used]
    if len(active) > payload["limit"]:
        raise WorkError("TooWide", f"{len(active)} active qubits; this sandbox simulates {payload['limit']}")
    narrow = QuantumCircuit(active, circuit.clbits, *circuit.cregs)
    for step in circuit.data:
        if step.operation.name != "barrier":
            narrow.append(step.operation, step.qubits, step.clbits)
    model = None
    if payload["rates"] is not None:
        one, more, flip = payload["rates"]
        model = NoiseModel(["u", "cx"])
        model.add_all_qubit_quantum_error(depolarizing_error(one, 1), ["u"])
        model.add_all_qubit_quantum_error(depolarizing_error(more, 2), ["cx"])
        model.add_all_qubit_readout_error(ReadoutError([[1 - flip, flip], [flip, 1 - flip]]))
    simulator = AerSimulator(method="statevector", noise_model=model, seed_simulator=seed % 2**31)
    ready = transpile(narrow, basis_gates=["u", "cx"], optimization_level=0)
    found = simulator.run(ready, shots=payload["shots"]).result().get_counts()
    return {str(key): int(count) for key, count in sorted(found.items())}
