"""IonQ's own circuit JSON as a program. Shapes: IonQ API v0.4 description, 2026-09-02, and what qiskit-ionq sends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qflows.display import plural
from qflows.errors import ProgramRejected
from qflows.programs import Program, to_program

_MAX_QUBITS = 64
_MAX_GATES = 150_000  # in a job, docs.ionq.com
_ABSTRACT = {
    "h": "h", "x": "x", "not": "x", "cnot": "x", "y": "y", "z": "z", "s": "s", "si": "sdg", "t": "t", "ti": "tdg",
    "v": "sx", "vi": "sxdg", "swap": "swap",
}  # fmt: skip
# qiskit-ionq sends p as z with a rotation; the description gives rotations only to the others
_ROTATIONS = {"rx": "rx", "ry": "ry", "rz": "rz", "z": "p", "xx": "rxx", "yy": "ryy", "zz": "rzz"}


def read_json_circuit(source: Any) -> Program | None:
    """IonQ's own circuit JSON `{"gateset"?, "qubits", "circuit": [...], "name"?}` as a program, otherwise None.

    Every qubit is measured, as on IonQ: clbit i holds qubit i, in one register `c`. Raises ProgramRejected with the
    place of the gate that cannot be read.
    """
    if not isinstance(source, Mapping) or "circuit" not in source or "qubits" not in source:
        return None
    from qiskit import QuantumCircuit
    from qiskit.exceptions import QiskitError

    n_qubits, gates, gateset = source["qubits"], source["circuit"], source.get("gateset", "qis")
    if type(n_qubits) is not int or not 1 <= n_qubits <= _MAX_QUBITS:
        raise ProgramRejected(f"IonQ JSON: qubits must be a number from 1 to {_MAX_QUBITS}, not {str(n_qubits)[:40]}")
    if gateset not in ("qis", "native"):
        raise ProgramRejected(f"IonQ JSON: gateset is qis or native, not {str(gateset)[:40]!r}")
    if not isinstance(gates, Sequence) or isinstance(gates, str) or len(gates) > _MAX_GATES:
        raise ProgramRejected(f"IonQ JSON: circuit must be a list of at most {_MAX_GATES} gates")
    circuit = QuantumCircuit(n_qubits, n_qubits, name=str(source.get("name", "ionq-json"))[:64])
    append = _append_native if gateset == "native" else _append_abstract
    for place, gate in enumerate(gates):
        try:
            append(circuit, gate)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, QiskitError) as error:
            raise ProgramRejected(
                f"IonQ JSON: gate {place} ({str(gate)[:80]}) cannot be read: {type(error).__name__} {str(error)[:200]}"
            ) from error
    circuit.measure(range(n_qubits), range(n_qubits))
    return to_program(circuit)


def _operands(gate: Mapping[str, Any], singular: str) -> list[int]:
    """`target` or `targets`, `control` or `controls`."""
    value = gate.get(singular + "s", gate.get(singular, []))
    qubits = list(value) if isinstance(value, list | tuple) else [value]
    if any(type(qubit) is not int or qubit < 0 for qubit in qubits):
        raise ValueError(f"{singular}s {value!r} are not qubit numbers")
    return qubits


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _append_native(circuit: Any, gate: Mapping[str, Any]) -> None:
    from qiskit.circuit import Gate

    name, targets = gate["gate"], _operands(gate, "target")
    if name in ("gpi", "gpi2"):
        width, params = 1, [gate["phase"]]
    elif name == "ms":
        first, second = gate["phases"]
        width, params = 2, [first, second, gate.get("angle", 0.25)]
    elif name == "zz":
        width, params = 2, [gate.get("angle", 0.25)]
    elif name == "nop":
        width, params = len(targets), [gate.get("time", 0.0)]
    else:
        raise ValueError("it is not a native gate")
    if len(targets) != width:
        raise ValueError(f"{name} acts on {plural(width, 'qubit')}")
    circuit.append(Gate(name, width, [_number(p) for p in params]), targets)


def _append_abstract(circuit: Any, gate: Mapping[str, Any]) -> None:
    from qiskit.circuit.library import get_standard_gate_name_mapping

    name, targets, controls = gate["gate"], _operands(gate, "target"), _operands(gate, "control")
    standard = get_standard_gate_name_mapping()
    if "rotation" in gate:
        made = standard[_ROTATIONS[name]].base_class(_number(gate["rotation"]))
    else:
        made = standard[_ABSTRACT[name]].base_class()
    if name == "cnot" and len(controls) != 1:
        raise ValueError("cnot needs one control")
    if not targets or (made.num_qubits == 2 and len(targets) != 2):
        raise ValueError(f"{name} on targets {targets}")
    # several targets on a one-qubit gate: it applies to each
    for group in [targets] if made.num_qubits == 2 else [[target] for target in targets]:
        circuit.append(made.control(len(controls)) if controls else made, [*controls, *group])
