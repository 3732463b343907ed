"""IonQ's JSON gates as unitaries. Source: IonQ API v0.4 description, 2026-09-02; spelled as qiskit-ionq 1.1.1 does."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.statevector import Array, Op

MAX_CONTROLS = 7
MAX_PAULI_QUBITS = 10
# beyond it an angle has no digits left after the point
MAX_NUMBER = 1e12

_X = np.array([[0, 1], [1, 0]], dtype=complex)
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1, -1]).astype(complex)
_I = np.eye(2, dtype=complex)
_PAULI = {"I": _I, "X": _X, "Y": _Y, "Z": _Z}
_V = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2  # square root of X
_T = cmath.exp(1j * math.pi / 4)

FIXED: dict[str, Array] = {
    "x": _X,
    "not": _X,
    "cnot": _X,
    "y": _Y,
    "z": _Z,
    "h": np.array([[1, 1], [1, -1]], dtype=complex) / math.sqrt(2),
    "s": np.diag([1, 1j]),
    "si": np.diag([1, -1j]),
    "t": np.diag([1, _T]),
    "ti": np.diag([1, _T.conjugate()]),
    "v": _V,
    "vi": _V.conj().T,
}
SWAP = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
ROTATIONS = {"rx": "X", "ry": "Y", "rz": "Z", "xx": "XX", "yy": "YY", "zz": "ZZ"}


class Dialect:
    """The points the documentation leaves open, as set by the sandbox's switches."""

    def __init__(
        self,
        *,
        z_rotation: str = "phase",
        pauliexp_last_is_first_target: bool = True,
        native: Sequence[str] | None = None,
    ) -> None:
        self.z_rotation = z_rotation
        self.pauliexp_last_is_first_target = pauliexp_last_is_first_target
        self.native = native  # None: all


def lower(circuit: Sequence[Mapping[str, Any]], gateset: str, width: int, dialect: Dialect) -> list[Op]:
    """All operations of a circuit. Raises WorkError with the failure code that IonQ documents for the case."""
    read = _native if gateset == "native" else _abstract
    ops: list[Op] = []
    for gate in circuit:
        for op in read(gate, dialect):
            qubits = op.qubits
            if len(set(qubits)) != len(qubits):
                raise WorkError("InvalidInput", f"gate {gate['gate']} uses a qubit twice: {list(qubits)}")
            if max(qubits) >= width:
                raise WorkError("NotEnoughQubits", f"gate {gate['gate']} acts on qubit {max(qubits)} of {width}")
            ops.append(op)
    return ops


def operands(gate: Mapping[str, Any], singular: str) -> tuple[int, ...]:
    """`target` or `targets`, `control` or `controls`, as qubit numbers. Raises WorkError InvalidInput."""
    value = gate.get(singular + "s", gate.get(singular, []))
    qubits = value if isinstance(value, list) else [value]
    if not all(type(qubit) is int and qubit >= 0 for qubit in qubits):
        raise WorkError("InvalidInput", f"gate {gate.get('gate')}: {singular}s {value!r} are not qubit numbers")
    return tuple(qubits)


def _number(gate: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = gate.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise WorkError("InvalidInput", f"gate {gate.get('gate')}: {name} {value!r} is not a number")
    return float(value)


def rotation(paulis: str, angle: float) -> Array:
    """exp(-i angle/2 P); the last character of P acts on the least significant target."""
    product = np.eye(1, dtype=complex)
    for letter in paulis:
        product = np.kron(product, _PAULI[letter])
    return math.cos(angle / 2) * np.eye(len(product)) - 1j * math.sin(angle / 2) * product


def _abstract(gate: Mapping[str, Any], dialect: Dialect) -> Iterator[Op]:
    name = gate["gate"]
    targets, controls = operands(gate, "target"), operands(gate, "control")
    if len(controls) > MAX_CONTROLS:
        raise WorkError("TooManyControls", f"gate {name} has {len(controls)} controls; at most {MAX_CONTROLS}")
    if name == "pauliexp":
        yield from _pauliexp(gate, targets, controls, dialect)
        return
    if name == "nop":
        return
    wide = {"swap": 2, "xx": 2, "yy": 2, "zz": 2}.get(name, 1)
    if not targets or (wide == 2 and len(targets) != 2):
        raise WorkError("InvalidInput", f"gate {name} on targets {list(targets)}")
    if name == "cnot" and len(controls) != 1:
        raise WorkError("InvalidInput", "gate cnot needs one control")
    if name == "swap":
        matrix: Array = SWAP
    elif name in ROTATIONS:
        matrix = rotation(ROTATIONS[name], _number(gate, "rotation"))
    elif name == "z" and "rotation" in gate and dialect.z_rotation != "ignore":
        angle = _number(gate, "rotation")
        matrix = rotation("Z", angle) if dialect.z_rotation == "rz" else np.diag([1, cmath.exp(1j * angle)])
    elif name in FIXED:
        matrix = FIXED[name]
    else:
        raise WorkError("UnsupportedGate", f"gate {name}")
    if wide == 2:
        yield Op(matrix, targets, controls)
    else:
        # several targets on a one-qubit gate: it applies to each
        yield from (Op(matrix, (target,), controls) for target in targets)


def _pauliexp(
    gate: Mapping[str, Any], targets: tuple[int, ...], controls: tuple[int, ...], dialect: Dialect
) -> Iterator[Op]:
    terms, coefficients = gate.get("terms"), gate.get("coefficients")
    if not isinstance(terms, list) or not isinstance(coefficients, list) or len(terms) != len(coefficients):
        raise WorkError("InvalidInput", "pauliexp needs as many coefficients as terms")
    time = _number(gate, "time")
    for term, coefficient in zip(terms, coefficients, strict=True):
        if not isinstance(term, str) or len(term) != len(targets) or set(term) - set("IXYZ"):
            raise WorkError("InvalidInput", f"pauliexp: term {term!r} on {len(targets)} targets")
        angle = 2 * time * _number({"gate": "pauliexp", "coefficient": coefficient}, "coefficient")
        letters = term if dialect.pauliexp_last_is_first_target else term[::-1]
        placed = [(letter, target) for letter, target in zip(reversed(letters), targets, strict=True) if letter != "I"]
        if len(placed) > MAX_PAULI_QUBITS:
            raise WorkError("QuantumCircuitComplexityError", f"pauliexp on more than {MAX_PAULI_QUBITS} qubits")
        if not placed:
            continue  # a global phase
        yield Op(
            rotation("".join(letter for letter, _ in reversed(placed)), angle), tuple(t for _, t in placed), controls
        )


def _gpi(phase: float) -> Array:
    turn = cmath.exp(2j * math.pi * phase)
    return np.array([[0, turn.conjugate()], [turn, 0]])


def _gpi2(phase: float) -> Array:
    turn = cmath.exp(2j * math.pi * phase)
    return np.array([[1, -1j * turn.conjugate()], [-1j * turn, 1]]) / math.sqrt(2)


def _ms(gate: Mapping[str, Any]) -> Array:
    phases = gate.get("phases", [0, 0])
    if not isinstance(phases, list) or len(phases) != 2:
        raise WorkError("InvalidInput", "gate ms needs two phases")
    first, second = (_number({"gate": "ms", "phase": phase}, "phase") for phase in phases)
    angle = math.pi * _number(gate, "angle", 0.25)
    # targets[0] is the least significant bit, hence the right factor
    both = np.kron(_gpi(second), _gpi(first))
    return math.cos(angle) * np.eye(4) - 1j * math.sin(angle) * both


def _zz(gate: Mapping[str, Any]) -> Array:
    turn = cmath.exp(1j * math.pi * _number(gate, "angle", 0.25))
    return np.diag([turn.conjugate(), turn, turn, turn.conjugate()])


_NATIVE: dict[str, tuple[int, Callable[[Mapping[str, Any]], Array]]] = {
    "gpi": (1, lambda gate: _gpi(_number(gate, "phase"))),
    "gpi2": (1, lambda gate: _gpi2(_number(gate, "phase"))),
    "ms": (2, _ms),
    "zz": (2, _zz),
}


def _native(gate: Mapping[str, Any], dialect: Dialect) -> Iterator[Op]:
    name = gate["gate"]
    if name == "nop":
        return
    if name not in _NATIVE or (dialect.native is not None and name not in dialect.native):
        raise WorkError("UnsupportedGate", f"gate {name} is not in the native gate set")
    width, matrix = _NATIVE[name]
    targets = operands(gate, "target")
    if len(targets) != width:
        raise WorkError("InvalidInput", f"gate {name} on targets {list(targets)}")
    yield Op(matrix(gate), targets)
