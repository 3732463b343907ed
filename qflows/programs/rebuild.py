"""From the canonical text to a qiskit circuit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from qflows.programs.gates import NATIVE, OPAQUE, STANDARD
from qflows.programs.loading import load_qiskit
from qflows.programs.program import Program
from qflows.programs.steps import Instruction

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def build_circuit(program: Program) -> QuantumCircuit:
    """qiskit circuit with the program's qubits, clbits, registers, steps and global phase. Qubits form register q."""
    return _build(program, program.n_qubits, range(program.n_qubits))


def placed(program: Program, width: int) -> QuantumCircuit:
    """As `build_circuit`, on the `width` qubits of a device: the program's qubit i is qubit `labels[i]` there.

    A program without labels takes the first qubits. The caller has compared labels and width.
    """
    return _build(program, width, program.labels or range(program.n_qubits))


def placed_flat(program: Program, width: int, place: Sequence[int], register: str) -> QuantumCircuit:
    """On `width` qubits, the program's qubit i on qubit `place[i]`, with all clbits in order in one register of this
    name; without the program's metadata."""
    load_qiskit()
    from qiskit import QuantumCircuit

    qubits, bits = _registers(width, program.n_clbits, register)
    circuit = QuantumCircuit(qubits, bits, name=program.name, global_phase=program.global_phase)
    _append(circuit, program.instructions, [qubits[qubit] for qubit in place], list(bits))
    return circuit


@lru_cache(maxsize=64)
def _registers(width: int, n_clbits: int, name: str) -> tuple[Any, Any]:
    # registers are values and never change: with its own of 156 qubits, a short circuit takes twice the memory
    from qiskit.circuit import ClassicalRegister, QuantumRegister

    return QuantumRegister(width, "q"), ClassicalRegister(n_clbits, name)


def _build(program: Program, width: int, place: Sequence[int]) -> QuantumCircuit:
    load_qiskit()
    from qiskit import QuantumCircuit
    from qiskit.circuit import ClassicalRegister, Clbit, QuantumRegister

    clbits: list[Any] = [Clbit() for _ in range(program.n_clbits)]
    circuit = QuantumCircuit(name=program.name, global_phase=program.global_phase, metadata=dict(program.metadata))
    if width:
        circuit.add_register(QuantumRegister(width, "q"))
    circuit.add_bits(clbits)
    for register in program.registers:
        circuit.add_register(ClassicalRegister(name=register.name, bits=[clbits[bit] for bit in register.bits]))
    _append(circuit, program.instructions, [circuit.qubits[qubit] for qubit in place], clbits)
    return circuit


def _append(circuit: QuantumCircuit, steps: Sequence[Instruction], qubits: list[Any], clbits: list[Any]) -> None:
    for step in steps:
        on, into = [qubits[qubit] for qubit in step.qubits], [clbits[clbit] for clbit in step.clbits]
        operation = _branch(circuit, step, qubits, clbits) if step.name == "if_else" else _operation(step)
        circuit.append(operation, on, into, copy=False)


def _branch(circuit: QuantumCircuit, step: Instruction, qubits: list[Any], clbits: list[Any]) -> Any:
    from qiskit import QuantumCircuit
    from qiskit.circuit import IfElseOp

    on, into = [qubits[qubit] for qubit in step.qubits], [clbits[clbit] for clbit in step.clbits]
    blocks: list[Any] = []
    for steps in (step.then, step.otherwise):
        block = QuantumCircuit(on, into, *_read_registers(circuit, step))
        _append(block, steps, qubits, clbits)
        blocks.append(block)
    return IfElseOp(_condition(circuit, step, clbits), blocks[0], blocks[1] if step.otherwise else None)


def _read_registers(circuit: QuantumCircuit, step: Instruction) -> list[Any]:
    """Registers whose bits are all available: a branch inside may compare one as a whole."""
    known = {circuit.clbits[clbit] for clbit in step.clbits}
    return [register for register in circuit.cregs if known.issuperset(register)]


def _condition(circuit: QuantumCircuit, step: Instruction, clbits: list[Any]) -> Any:
    """As a bit, a whole register, or else an expression of bits, because not every compiler reads expressions."""
    from qiskit.circuit.classical import expr

    assert step.condition is not None
    bits, value = step.condition.bits, step.condition.value
    if len(bits) == 1:
        return clbits[bits[0]], value
    wanted = [clbits[bit] for bit in bits]
    for register in circuit.cregs:
        if list(register) == wanted:
            return register, value
    terms = [expr.lift(bit) if value >> place & 1 else expr.logic_not(bit) for place, bit in enumerate(wanted)]
    whole = terms[0]
    for term in terms[1:]:
        whole = expr.logic_and(whole, term)
    return whole


@cache
def _gate_classes() -> dict[str, Any]:
    from qiskit.circuit.library import C3XGate, get_standard_gate_name_mapping

    classes = {name: gate.base_class for name, gate in get_standard_gate_name_mapping().items() if name in STANDARD}
    return {**classes, "mcx": C3XGate}


@cache
def _fixed(name: str) -> Any:
    # parameterless standard gates are immutable singletons in qiskit: one object serves all steps
    return _gate_classes()[name]()


def _operation(step: Instruction) -> Any:
    if step.name in STANDARD:
        return _gate_classes()[step.name](*step.params) if step.params else _fixed(step.name)
    return _special(step)


def _special(step: Instruction) -> Any:
    """Operation of a step that is no standard gate."""
    from qiskit.circuit import Barrier, Delay, Gate, Measure, Reset
    from qiskit.circuit.library import UnitaryGate

    if step.name in NATIVE:
        from qflows.programs.native import NativeGate

        return NativeGate(step.name, step.params)
    if step.name == "barrier":
        return Barrier(len(step.qubits))
    if step.name == "measure":
        return Measure()
    if step.name == "reset":
        return Reset()
    if step.name == "delay":
        return Delay(int(step.params[0]) if step.unit == "dt" else step.params[0], step.unit or "dt")
    if step.name == "unitary":
        import numpy

        side = 2 ** len(step.qubits)
        return UnitaryGate(numpy.array(step.params).view(complex).reshape(side, side))
    return Gate(step.name.removeprefix(OPAQUE), len(step.qubits), list(step.params))
