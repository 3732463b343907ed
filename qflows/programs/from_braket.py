"""Braket circuits to qiskit circuits, by the documented meaning of each Braket gate and without importing Braket.

Qubits are packed: Braket qubit numbers in ascending order become 0, 1, ..., and stay as labels where a verbatim box
names the device's own. Bits: a measure instruction writes the clbit of its index, which is its place among them unless
the circuit was read from text; without any, all qubits are measured in ascending order. The clbits form register `b`,
as in the OpenQASM text that Braket makes. Gate matrices: amazon-braket-sdk 1.88.1, braket/circuits/gates.py, which
writes the first target as the MOST significant bit; qiskit the first qubit as the least.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from qflows.errors import ProgramRejected
from qflows.programs.from_qiskit import BUILDER_ERRORS
from qflows.programs.gates import MAX_UNITARY_QUBITS, from_radians

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

# Braket class name -> QuantumCircuit method that takes (*angles, *qubits)
DIRECT: dict[str, str] = {
    "H": "h", "I": "id", "X": "x", "Y": "y", "Z": "z", "S": "s", "Si": "sdg", "T": "t", "Ti": "tdg",
    "V": "sx", "Vi": "sxdg", "PhaseShift": "p", "Rx": "rx", "Ry": "ry", "Rz": "rz", "PRx": "r", "U": "u",
    "CNot": "cx", "CV": "csx", "CY": "cy", "CZ": "cz", "CCNot": "ccx", "CPhaseShift": "cp",
    "Swap": "swap", "ISwap": "iswap", "CSwap": "cswap", "XX": "rxx", "YY": "ryy", "ZZ": "rzz", "ECR": "ecr",
}  # fmt: skip


def _gphase(circuit: QuantumCircuit, _on: list[int], angle: float) -> None:
    circuit.global_phase += angle


# Braket class name -> native gate
NATIVE_NAMES = {
    "GPi": "gpi",
    "GPi2": "gpi2",
    "MS": "ms",
    "XY": "xy",
    "PSwap": "pswap",
    "CPhaseShift00": "cphaseshift00",
    "CPhaseShift01": "cphaseshift01",
    "CPhaseShift10": "cphaseshift10",
}
_BOXED = {**NATIVE_NAMES, "ZZ": "zz"}  # kept as they are in a verbatim box
WRITTEN_OUT = frozenset({"GPhase", *NATIVE_NAMES})


def read_braket(circuit: Any, values: Any) -> tuple[QuantumCircuit, list[int] | None]:
    """qiskit circuit of a Braket `Circuit`; `values` maps free parameters, or their names, to radians.

    Also the device's numbers of its qubits if all its gates are in a verbatim box, otherwise None.

    Raises ProgramRejected for anything without a unitary meaning, naming the instruction.
    """
    try:
        return _convert(_bind(circuit, values))
    except BUILDER_ERRORS as error:
        raise ProgramRejected(
            f"the Braket {type(circuit).__name__} cannot be read ({type(error).__name__}: {error!s:.300}); "
            "pass a braket.circuits.Circuit of gates"
        ) from error


def _refuse(why: str, remedy: str) -> NoReturn:
    raise ProgramRejected(f"Braket circuit: {why}; {remedy}")


def _bind(circuit: Any, values: Any) -> Any:
    free = sorted(parameter.name for parameter in circuit.parameters)
    if values is None:
        if free:
            _refuse(f"unbound parameters {', '.join(free[:12])}", "pass values={name: radians}")
        return circuit
    if not isinstance(values, Mapping):
        _refuse("its free parameters have no order", "pass values as a mapping from name to radians")
    bound = {getattr(key, "name", key): float(value) for key, value in values.items()}
    if sorted(bound) != free:
        given, wanted = ", ".join(sorted(map(str, bound))), ", ".join(free)
        _refuse(f"values for {given or 'nothing'} do not match parameters {wanted or 'none'}", "give one for each")
    return circuit.make_bound_circuit(bound) if free else circuit


def _convert(circuit: Any) -> tuple[QuantumCircuit, list[int] | None]:
    from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister

    asked = [result for result in circuit.result_types if not _is_plain_probability(result)]
    if asked:
        _refuse(f"result type {type(asked[0]).__name__} is not a measurement", "remove it, pass observables= instead")
    instructions, is_verbatim = _unboxed(circuit.instructions)
    labels = sorted(map(int, circuit.qubits))
    place = {qubit: k for k, qubit in enumerate(labels)}
    measured: dict[int, int] = {}  # clbit -> qubit
    steps = QuantumCircuit(QuantumRegister(len(place), "q"))
    whole = QuantumCircuit(*steps.qregs)
    for instruction in instructions:
        on = [place[int(qubit)] for qubit in instruction.target]
        if type(instruction.operator).__name__ == "Measure":
            index = getattr(instruction.operator, "_target_index", None)
            measured |= {len(measured) if index is None else index + k: qubit for k, qubit in enumerate(on)}
            continue
        if measured and not set(measured.values()).isdisjoint(on) and type(instruction.operator).__name__ != "Barrier":
            _refuse("a gate follows the measurement of its qubit", "measure last")
        controls = [place[int(qubit)] for qubit in getattr(instruction, "control", ())]
        _write(steps, instruction, on, controls, is_verbatim=is_verbatim)
    bits = measured or dict(enumerate(range(len(place))))
    if len(set(bits.values())) != len(bits):
        _refuse("a qubit is measured twice", "measure each qubit once")
    if bits:
        whole.add_register(ClassicalRegister(max(bits) + 1, "b"))
    whole.compose(steps, range(len(place)), inplace=True)
    for clbit, qubit in sorted(bits.items()) if measured else bits.items():
        whole.measure(qubit, clbit)
    return whole, labels if is_verbatim else None


def _unboxed(instructions: Any) -> tuple[list[Any], bool]:
    """The instructions without the marks of a verbatim box, and whether there is one."""
    found: list[Any] = []
    boxes, is_inside, outside = 0, False, 0
    for instruction in instructions:
        name = type(instruction.operator).__name__
        if name in ("StartVerbatimBox", "EndVerbatimBox"):
            is_inside = name == "StartVerbatimBox"
            boxes += is_inside
            continue
        outside += not is_inside and name not in ("Measure", "Barrier")
        found.append(instruction)
    if boxes and outside:
        _refuse("gates stand outside of its verbatim box", "put all gates into one box, or none")
    return found, bool(boxes)


def _is_plain_probability(result: Any) -> bool:
    return type(result).__name__ == "Probability" and not result.target


def _write(circuit: QuantumCircuit, instruction: Any, on: list[int], controls: list[int], *, is_verbatim: bool) -> None:
    """Append one Braket gate; powers, and controls on gates qiskit has no name for, go through the exact matrix."""
    operator = instruction.operator
    name = type(operator).__name__
    if name == "Barrier":
        circuit.barrier(on or range(circuit.num_qubits))
        return
    if name == "Reset":
        circuit.reset(on)
        return
    power = getattr(instruction, "power", 1)
    if not hasattr(operator, "to_matrix") or _is_noise(operator) or name == "PulseGate":
        _refuse(f"instruction {name} is not a gate", "remove it; noise belongs to the device, pulses to Braket itself")
    angles = [float(angle) for angle in getattr(operator, "parameters", ())] if name != "Unitary" else []
    if is_verbatim and name in _BOXED and power == 1 and not controls:
        from qflows.programs.native import NativeGate

        circuit.append(NativeGate(_BOXED[name], from_radians(_BOXED[name], angles)), on)
        return
    plain = name in DIRECT or (name in WRITTEN_OUT and not controls)
    if power != 1 or not plain:
        _write_matrix(circuit, operator, on, controls, instruction)
    elif name in DIRECT:
        _write_direct(circuit, DIRECT[name], angles, on, controls, instruction)
    else:
        _write_out(circuit, name, on, angles)


def _write_out(circuit: QuantumCircuit, name: str, on: list[int], angles: list[float]) -> None:
    """Append a native gate in standard gates: outside of a verbatim box it is compiled like any other."""
    if name == "GPhase":
        _gphase(circuit, on, *angles)
        return
    from qflows.programs.native import write

    write(circuit, NATIVE_NAMES[name], angles, on)


def _write_direct(
    circuit: QuantumCircuit, method: str, angles: list[float], on: list[int], controls: list[int], instruction: Any
) -> None:
    """Append a gate qiskit has a name for, controlled as the instruction says."""
    if not controls:
        getattr(circuit, method)(*angles, *on)
        return
    from qiskit.circuit import QuantumCircuit

    alone = QuantumCircuit(len(on))
    getattr(alone, method)(*angles, *range(len(on)))
    # qiskit: bit k of the state belongs to control k; Braket lists one bit per control
    state = sum(int(bit) << place for place, bit in enumerate(instruction.control_state))
    circuit.append(alone.data[0].operation.control(len(controls), ctrl_state=state, annotated=False), [*controls, *on])


def _is_noise(operator: Any) -> bool:
    return any(base.__name__ == "Noise" for base in type(operator).__mro__)


def _write_matrix(circuit: QuantumCircuit, operator: Any, on: list[int], controls: list[int], instruction: Any) -> None:
    """Append a gate as its matrix, raised to the instruction's power and controlled as the instruction says."""
    import numpy
    from qiskit.circuit.library import UnitaryGate

    wires = [*controls, *on]
    if len(wires) > MAX_UNITARY_QUBITS:
        _refuse(
            f"{type(operator).__name__} with modifiers acts on {len(wires)} qubits, more than {MAX_UNITARY_QUBITS}",
            "write it with smaller gates",
        )
    matrix = _power(numpy.asarray(operator.to_matrix(), dtype=complex), float(getattr(instruction, "power", 1)))
    if controls:
        state = [int(bit) for bit in instruction.control_state]
        inner = matrix.shape[0]
        start = int("".join(map(str, state)), 2) * inner  # the first control is the most significant bit
        full = numpy.eye(2 ** len(controls) * inner, dtype=complex)
        full[start : start + inner, start : start + inner] = matrix
        matrix = full
    if not wires:
        circuit.global_phase += float(numpy.angle(matrix[0, 0]))
        return
    circuit.append(UnitaryGate(matrix), wires[::-1])


def _power(matrix: Any, power: float) -> Any:
    """Matrix power; a fraction takes the principal branch of each eigenvalue, as OpenQASM 3 `pow` does."""
    import numpy

    if power == 1:
        return matrix
    if power == int(power):
        return numpy.linalg.matrix_power(matrix, int(power))
    import scipy.linalg

    # a unitary is normal, so its Schur form is diagonal and the vectors are orthonormal even for equal eigenvalues
    triangle, vectors = scipy.linalg.schur(matrix, output="complex")[:2]
    return (vectors * numpy.exp(1j * power * numpy.angle(numpy.diag(triangle)))) @ vectors.conj().T
