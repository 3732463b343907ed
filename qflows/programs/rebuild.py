"""From the canonical text to a qiskit circuit."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from qflows.programs.gates import OPAQUE, STANDARD
from qflows.programs.loading import load_qiskit
from qflows.programs.program import Instruction, Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def build_circuit(program: Program) -> QuantumCircuit:
    """qiskit circuit with the program's qubits, clbits, registers, steps and global phase. Qubits form register q."""
    load_qiskit()
    from qiskit import QuantumCircuit
    from qiskit.circuit import ClassicalRegister, Clbit, QuantumRegister

    clbits: list[Any] = [Clbit() for _ in range(program.n_clbits)]
    circuit = QuantumCircuit(name=program.name, global_phase=program.global_phase)
    if program.n_qubits:
        circuit.add_register(QuantumRegister(program.n_qubits, "q"))
    circuit.add_bits(clbits)
    for register in program.registers:
        circuit.add_register(ClassicalRegister(name=register.name, bits=[clbits[bit] for bit in register.bits]))
    for step in program.instructions:
        circuit.append(_operation(step), step.qubits, step.clbits, copy=False)
    return circuit


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
    from qiskit.circuit import Delay, Gate, Measure, Reset
    from qiskit.circuit.library import UnitaryGate

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
