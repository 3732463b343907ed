"""Compiling into a device's few native gates, locally, so that what runs is what was shown.

Qiskit compiles into an intermediate set of gates that is close to the native one; each of those is one to three native
gates, exactly, up to a global phase. Sources: docs.ionq.com, "Native gates" (gpi, gpi2, ms, zz); the capabilities of
Braket's devices (prx, cz; rx, rz, cz; prx, xx, rz); docs.aws.amazon.com/braket, "Verbatim compilation" (rx of Rigetti
turns by multiples of pi/2). Angles of two-qubit gates end up in [0, pi/2], which every vendor takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs.convert import to_program
from qflows.programs.panics import run_passes
from qflows.programs.placement import compact, on_qubits
from qflows.programs.program import Program

SEED = 20_260_415  # compiling the same program twice must give the same circuit
_compiling = Lock()  # passes keep state while they run

Op = list[Any]


@dataclass(frozen=True)
class _Family:
    """A native set, the gates that Qiskit compiles to for it, and how these become native ones."""

    needs: frozenset[str]
    basis: tuple[str, ...]
    write: Callable[[Op], list[Op]]


@dataclass(frozen=True)
class Places:
    """The qubits of a device that places programs: their numbers, and the couplers between them, None for all."""

    labels: tuple[int, ...]
    pairs: frozenset[frozenset[int]] | None


def compile_to_native(
    program: Program,
    native: Collection[str],
    *,
    level: int,
    places: Places | None = None,
    physical_qubits: Sequence[int] | None = None,
    device: str,
) -> Program:
    """The program in gates of `native`, as a verbatim one; on the device's own qubits if it places programs.

    `native`: the vendor's names. `level`: Qiskit's optimization level. Raises ProgramRejected for a set that is not
    known, and for physical qubits on which the program does not fit without routing.
    """
    family = next((one for one in _FAMILIES if one.needs <= {name.lower() for name in native}), None)
    if family is None:
        raise ProgramRejected(
            f"{device} has the native gates {', '.join(sorted(native)) or '(none)'}, for which nothing is compiled "
            "here; leave compile out, or give a verbatim program"
        )
    ready = _on_labels(program, places, physical_qubits, level, family, device)
    ops = _written(_in_bounds(ready.ops()), family.write)
    return ready.rewritten(ops, is_verbatim=True, metadata=program.metadata)


def _on_labels(
    program: Program,
    places: Places | None,
    physical_qubits: Sequence[int] | None,
    level: int,
    family: _Family,
    device: str,
) -> Program:
    """The program in the family's intermediate gates, with labels where there are places."""
    if physical_qubits is None and program.labels is not None:
        physical_qubits, program = program.labels, program.rewritten(program.ops(), labels=None)
    if places is None:
        return _run(program, level, family, None, None, None, device)
    if places.pairs is None:
        made = _run(program, level, family, None, None, None, device)
        return on_qubits(made, physical_qubits if physical_qubits is not None else places.labels[: program.n_qubits])
    index = {label: place for place, label in enumerate(places.labels)}
    layout = None
    if physical_qubits is not None:
        check_physical(program, physical_qubits, places.labels, device)
        layout = tuple(index[label] for label in physical_qubits)
    pairs = tuple(sorted((index[a], index[b]) for a, b in (sorted(pair) for pair in places.pairs)))
    made = compact(_run(program, level, family, len(index), pairs, layout, device))
    assert made.labels is not None
    if layout is not None and not set(made.labels) <= set(layout):
        raise _does_not_fit(program, physical_qubits, device)
    return made.rewritten(made.ops(), labels=[places.labels[one] for one in made.labels])


def check_physical(program: Program, qubits: Sequence[int], labels: Collection[int], device: str) -> None:
    """Raise ProgramRejected unless `qubits` has one of the device's for each of the program."""
    if len(qubits) != program.n_qubits:
        raise ProgramRejected(f"{program.name} has {program.n_qubits} qubits, physical_qubits names {len(qubits)}")
    if missing := [one for one in qubits if one not in labels]:
        raise ProgramRejected(f"{program.name}: {device} has no qubit {missing[0]}")


def _does_not_fit(program: Program, qubits: Sequence[int] | None, device: str) -> ProgramRejected:
    return ProgramRejected(
        f"{program.name} does not fit on the physical qubits {list(qubits or ())} of {device} without routing; choose "
        "coupled ones, or leave physical_qubits out"
    )


def _run(
    program: Program,
    level: int,
    family: _Family,
    width: int | None,
    pairs: tuple[tuple[int, int], ...] | None,
    layout: tuple[int, ...] | None,
    device: str,
) -> Program:
    from qiskit.exceptions import QiskitError

    try:
        with _compiling:
            made = run_passes(_manager(level, family.basis, width, pairs, layout), program.circuit(), program.name)
    except (QiskitError, ValueError) as error:
        if layout is not None:
            raise _does_not_fit(program, layout, device) from error
        raise ProgramRejected(f"{program.name} cannot be compiled for {device}: {str(error)[:300]}") from error
    return to_program(made, name=program.name)


@lru_cache(maxsize=32)
def _manager(
    level: int,
    basis: tuple[str, ...],
    width: int | None,
    pairs: tuple[tuple[int, int], ...] | None,
    layout: tuple[int, ...] | None,
) -> Any:
    """Pass manager; building one costs more than compiling a small circuit."""
    from qiskit.transpiler import CouplingMap, generate_preset_pass_manager

    stages: dict[str, Any] = {}
    if pairs is not None:
        both = [edge for a, b in pairs for edge in ((a, b), (b, a))]
        coupling = CouplingMap(both)
        for qubit in set(range(width or 0)) - set(coupling.physical_qubits):
            coupling.add_physical_qubit(qubit)
        stages["coupling_map"] = coupling
    if layout is not None:
        stages |= {"initial_layout": list(layout), "routing_method": "none"}
    return generate_preset_pass_manager(
        optimization_level=level, basis_gates=[*basis, "measure"], seed_transpiler=SEED, **stages
    )


def _in_bounds(ops: Sequence[Op]) -> list[Op]:
    """Two-qubit rotations by angles in [0, pi/2]; the rest of a turn is Pauli gates on both qubits."""
    found: list[Op] = []
    for op in ops:
        if op[0] not in ("rxx", "rzz"):
            found.append(op)
            continue
        pauli, flip = ("x", "z") if op[0] == "rxx" else ("z", "x")
        turns = round(op[1][0] / math.pi)
        angle = op[1][0] - turns * math.pi
        if turns % 2:
            found += [[pauli, [], [qubit], []] for qubit in op[2]]
        sign = [[flip, [], [op[2][0]], []]] if angle < 0 else []
        if abs(angle) > 1e-12:
            found += [*sign, [op[0], [abs(angle)], op[2], []], *sign]
    return found


def _written(ops: Sequence[Op], write: Callable[[Op], list[Op]]) -> list[Op]:
    found: list[Op] = []
    for op in ops:
        found += [op] if op[0] in ("measure", "barrier") else write(op)
    return found


def _turns(angle: float) -> float:
    return math.remainder(angle, 2 * math.pi) / (2 * math.pi)


def _ionq(two: Callable[[Op], Op]) -> Callable[[Op], list[Op]]:
    def write(op: Op) -> list[Op]:
        name, on = op[0], op[2]
        if len(on) == 2:
            return [two(op)]
        if name in ("x", "z"):  # GPI2(phi) twice, or GPI twice, would be two pulses for one
            return [["gpi", [0.0], on, []]] if name == "x" else [["gpi", [0.0], on, []], ["gpi", [0.25], on, []]]
        theta, phi, lam = op[1]
        # as in qiskit-ionq's library of equivalences: u = gpi2(1/2 + phi) gpi(theta/2 + phi - lam) gpi2(1/2 - lam)
        return [
            ["gpi2", [0.5 - _turns(lam)], on, []],
            ["gpi", [_turns(theta / 2 + (phi - lam) / 2)], on, []],
            ["gpi2", [0.5 + _turns(phi)], on, []],
        ]

    return write


def _prx(op: Op) -> list[Op]:
    name, on = op[0], op[2]
    if name == "x":
        return [["r", [math.pi, 0.0], on, []]]
    if name == "z":
        return [["rz", [math.pi], on, []]]
    return [op]


def _rx(op: Op) -> list[Op]:
    angle = {"x": math.pi, "sx": math.pi / 2, "sxdg": -math.pi / 2}.get(op[0])
    return [op] if angle is None else [["rx", [angle], op[2], []]]


_FAMILIES = (
    _Family(frozenset({"gpi", "gpi2", "zz"}), ("u", "rzz"),
            _ionq(lambda op: ["zz", [op[1][0] / (2 * math.pi)], op[2], []])),
    _Family(frozenset({"gpi", "gpi2", "ms"}), ("u", "rxx"),
            _ionq(lambda op: ["ms", [0.0, 0.0, op[1][0] / (2 * math.pi)], op[2], []])),
    _Family(frozenset({"prx", "cz"}), ("r", "cz"), _prx),
    _Family(frozenset({"prx", "xx", "rz"}), ("r", "rz", "rxx"), _prx),
    _Family(frozenset({"rx", "rz", "cz"}), ("rz", "sx", "x", "cz"), _rx),
)  # fmt: skip
