"""Programs that name a device's own qubits: recognized, and kept on the qubits they use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs.program import Program
from qflows.programs.steps import NOT_GATES, walk, walk_ops

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

# how a program that is refused for its qubits is routed, by whether it names them itself
ROUTED = {
    False: "give them as initial_layout",
    True: "write it with a register of qubits, which the compiler places and routes",
}


def is_placed(circuit: QuantumCircuit) -> bool:
    """True if the circuit's qubits are those of a device: it was compiled onto some, or its text contains `$5`.

    Compiling for a set of gates alone also leaves a layout, one that moves nothing and adds nothing; that is not a
    placement.
    """
    layout: Any = circuit.layout
    if layout is None:
        return False
    if getattr(layout, "_input_qubit_count", None) is None:  # as the reader of OpenQASM 3 leaves it
        return True
    places = layout.initial_index_layout(filter_ancillas=True)
    return list(places) != list(range(circuit.num_qubits))


def compact(program: Program) -> Program:
    """The program on the qubits it uses, each labeled with its number in `program`.

    Counts keys are those of `program`, because they speak of clbits only. A qubit that only barriers name is not used.
    """
    ops = program.ops()
    used = sorted({qubit for op in walk_ops(ops) if op[0] not in ("barrier", "if_else") for qubit in op[2]})
    place = {qubit: i for i, qubit in enumerate(used)}
    labels = [program.labels[qubit] for qubit in used] if program.labels is not None else used
    return program.rewritten(moved(ops, place), n_qubits=len(used), labels=labels)


def on_qubits(program: Program, qubits: Sequence[int]) -> Program:
    """The program with its qubit i on the device's own qubit `qubits[i]`. Raises ProgramRejected."""
    if program.labels is not None:
        raise ProgramRejected(f"{program.name} names the device's own qubits; leave out physical_qubits")
    if len(qubits) != program.n_qubits:
        raise ProgramRejected(f"{program.name} has {program.n_qubits} qubits, physical_qubits names {len(qubits)}")
    order = sorted(qubits)
    place = {qubit: order.index(label) for qubit, label in enumerate(qubits)}
    return program.rewritten(moved(program.ops(), place), labels=order)


def may_not_fit(
    program: Program, width: int, pairs: Collection[frozenset[int]], *, fixed: Sequence[int] | None, start: Any = None
) -> bool:
    """Quick, and True for every program that cannot run on the device's qubits that it names, or that it is given.

    `pairs`: those that are coupled; `fixed`: the qubits for a program that names none; `start`: the same if gates may
    be routed from there. A gate that is not on a pair may still be removed by a compiler, or made of gates that fit.
    """
    fixed = program.labels if program.labels is not None else fixed
    on = fixed if fixed is not None else start
    if on is None:
        return False
    if len(on) != program.n_qubits or any(qubit >= width for qubit in on):
        return True
    return fixed is not None and any(
        len(step.qubits) > 1 and step.name not in NOT_GATES and frozenset(on[q] for q in step.qubits) not in pairs
        for step in walk(program.instructions)
    )


def with_idle(program: Program, labels: Collection[int]) -> Program:
    """A placed program that has these qubits of the device too, with nothing on those that it did not have."""
    assert program.labels is not None
    order = sorted({*program.labels, *labels})
    place = {qubit: order.index(label) for qubit, label in enumerate(program.labels)}
    return program.rewritten(moved(program.ops(), place), n_qubits=len(order), labels=order)


def moved(ops: Sequence[Any], place: Mapping[int, int]) -> list[Any]:
    """Steps in the schema's form on other qubits; those of unmapped qubits are dropped, barriers shrink."""
    found: list[Any] = []
    for op in ops:
        on = [place[qubit] for qubit in op[2] if qubit in place]
        if op[0] == "barrier":
            found += [["barrier", [], sorted(on), []]] if on else []
        elif op[0] == "if_else":
            found.append([op[0], [], sorted(on), op[3], op[4], moved(op[5], place), moved(op[6], place)])
        elif len(on) == len(op[2]):
            found.append([op[0], op[1], on, *op[3:]])
    return found
