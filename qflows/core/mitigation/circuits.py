"""Equivalent circuits with more noise or with other errors, and circuits whose outcome is known.

Global folding C -> C (C' C)^k multiplies the noise by 2k+1 (Giurgica-Tiron, Hindy, LaRose, Mari, Zeng, IEEE QCE 2020,
306). Barriers keep compilers from undoing it. Pauli twirling: Wallman, Emerson, Phys. Rev. A 94, 052325 (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import pi
from typing import Any

from qflows.errors import ProgramRejected
from qflows.keys import digest, seed_of
from qflows.programs import Program, to_program
from qflows.programs.program import seal

_SELF_INVERSE = frozenset({"id", "x", "y", "z", "h", "cx", "cy", "cz", "ch", "swap", "ecr", "ccx", "ccz", "cswap"})
_TURNS = frozenset({"rx", "ry", "rz", "p", "u1", "crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "rzx"})
_PAIRS = {"s": "sdg", "sdg": "s", "t": "tdg", "tdg": "t"}
_TWIRLED = ("cx", "cy", "cz", "ecr", "swap", "iswap", "dcx")
Op = list[Any]


def split(program: Program) -> tuple[list[Op], list[Op]]:
    """The gates, and the final measurements. Raises ProgramRejected for circuits that continue after measuring."""
    if program.has_mid_circuit:
        raise ProgramRejected(f"{program.name}: mitigation needs a circuit with all measurements at the end")
    ops = program.ops()
    gates = [op for op in ops if op[0] != "measure"]
    while gates and gates[-1][0] == "barrier":
        gates.pop()
    return gates, [op for op in ops if op[0] == "measure"]


def folded(program: Program, factor: int) -> Program:
    """The program with `factor` times its gates, an odd number, and the same ideal outcome."""
    if factor == 1:
        return program
    gates, measured = split(program)
    undone = [step for op in reversed(gates) for step in _inverse(op, program)]
    fence: Op = ["barrier", [], list(range(program.n_qubits)), []]
    turns = [step for _ in range(factor // 2) for step in (fence, *undone, fence, *gates)]
    return program.rewritten([*gates, *turns, *measured], name=f"{program.name} x{factor}")


def _inverse(op: Op, program: Program) -> list[Op]:
    name, values, qubits = op[0], op[1], op[2]
    if name in _SELF_INVERSE or name == "barrier":
        return [op]
    if name in _TURNS:
        return [[name, [-value + 0.0 for value in values], qubits, []]]
    if name in _PAIRS:
        return [[_PAIRS[name], [], qubits, []]]
    if name == "sx":  # in gates that every device with sx has; the global phase does not matter
        return [["rz", [pi], qubits, []], ["sx", [], qubits, []], ["rz", [pi], qubits, []]]
    if name in ("reset", "delay"):
        raise ProgramRejected(f"{program.name}: zne cannot fold a {name}; leave it out, or leave zne out")
    alone = program.rewritten([[name, values, list(range(len(qubits))), *op[3:]]], n_qubits=len(qubits), labels=None)
    undone = to_program(alone.rewritten(alone.ops(), is_verbatim=False).circuit().inverse())
    return [[step[0], step[1], [qubits[place] for place in step[2]], []] for step in undone.ops()]


def twirled(program: Program, seed: str) -> Program:
    """The program with a random Pauli pair before every two-qubit Clifford gate and its image after it; same ideal
    outcome. `seed` and the program determine the pairs.
    """
    import numpy as np

    rng = np.random.default_rng(seed_of(digest("twirl/1", seed, program.digest)))
    ops: list[Op] = []
    for op in program.ops():
        if op[0] not in _TWIRLED:
            ops.append(op)
            continue
        before, after = _images(op[0])[int(rng.integers(16))]
        ops += [*_paulis(before, op[2]), op, *_paulis(after, op[2])]
    return program.rewritten(ops, name=f"{program.name} twirled")


def can_twirl(program: Program) -> bool:
    """True if the program has a gate that can be twirled."""
    return any(op[0] in _TWIRLED for op in program.ops())


def _paulis(pair: str, qubits: Sequence[int]) -> list[Op]:
    """Gates for a pair of letters, the first on the first qubit, as rz and x, which every device has."""
    found: list[Op] = []
    for letter, qubit in zip(pair, qubits, strict=True):
        found += [["rz", [pi], [qubit], []]] if letter in "YZ" else []
        found += [["x", [], [qubit], []]] if letter in "XY" else []
    return found


@cache
def _images(gate: str) -> tuple[tuple[str, str], ...]:
    """(pair, its image under conjugation by the gate), for all sixteen pairs."""
    import numpy as np
    from qiskit.circuit.library import get_standard_gate_name_mapping

    matrix = np.asarray(get_standard_gate_name_mapping()[gate].to_matrix())
    one = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1])}
    # the first qubit of a gate is the least significant in its matrix
    pairs = {first + second: np.kron(one[second], one[first]) for first, second in product(one, repeat=2)}
    found = []
    for pair, pauli in pairs.items():
        moved = matrix @ pauli @ matrix.conj().T
        image = next(name for name, other in pairs.items() if abs(np.trace(other.conj().T @ moved)) > 3.5)
        found.append((pair, image))
    return tuple(found)


def calibrations(labels: Sequence[int] | None, n_qubits: int) -> list[Program]:
    """Two programs that prepare all qubits in 0 and all in 1, and read them; `labels`: the device's own qubits."""
    measured: list[Op] = [["measure", [], [qubit], [qubit]] for qubit in range(n_qubits)]
    flips: list[Op] = [["x", [], [qubit], []] for qubit in range(n_qubits)]
    return [
        seal(
            n_qubits=n_qubits,
            n_clbits=n_qubits,
            registers=[("m", list(range(n_qubits)))],
            phase=0.0,
            ops=[*before, *measured],
            name=name,
            labels=labels,
        )
        for name, before in (("all 0", []), ("all 1", flips))
    ]
