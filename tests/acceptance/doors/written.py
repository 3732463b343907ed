"""Random programs as plain steps, their exact distributions, and the same program written for every door."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qasm2, qasm3
from qiskit.circuit.library import get_standard_gate_name_mapping

# Qiskit's name: (Braket's, IonQ's)
NAMES = {
    "h": ("h", "h"), "x": ("x", "x"), "y": ("y", "y"), "z": ("z", "z"), "s": ("s", "s"), "sdg": ("si", "si"),
    "t": ("t", "t"), "tdg": ("ti", "ti"), "rx": ("rx", "rx"), "ry": ("ry", "ry"), "rz": ("rz", "rz"),
    "cx": ("cnot", "x"), "swap": ("swap", "swap"), "ccx": ("ccnot", "x"),
}  # fmt: skip
_CLASSICAL = ("x", "cx", "swap", "ccx")
_TURNS = ("rx", "ry", "rz")


@dataclass(frozen=True)
class Step:
    """A gate, `barrier`, `measure`, `reset`, or `if`: `then` runs while register `clbits` holds `value`."""

    name: str
    qubits: tuple[int, ...] = ()
    angles: tuple[float, ...] = ()
    clbits: tuple[int, ...] = ()
    value: int = 0
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Written:
    """One program. `sizes`: of its classical registers, in order; some of their bits may never be written."""

    name: str
    seed: int
    n_qubits: int
    sizes: tuple[int, ...]
    steps: tuple[Step, ...]

    @property
    def n_clbits(self) -> int:
        """In all registers."""
        return sum(self.sizes)

    @property
    def registers(self) -> list[tuple[int, ...]]:
        """The clbits of each register."""
        ends = list(accumulate(self.sizes))
        return [tuple(range(end - size, end)) for end, size in zip(ends, self.sizes, strict=True)]

    @property
    def bits(self) -> dict[int, int]:
        """The qubit of the last measurement into each clbit, by ascending clbit."""
        found = {step.clbits[0]: step.qubits[0] for step in self.steps if step.name == "measure"}
        return dict(sorted(found.items()))

    @property
    def is_dynamic(self) -> bool:
        """True if something other than a measurement follows a measurement, or a qubit is reset."""
        kinds = [step.name for step in self.steps]
        return "reset" in kinds or "if" in kinds or "measure" in kinds[: -len(self.bits)]


@dataclass(frozen=True)
class Door:
    """The program for one door. `key`: a counts key of it as the written clbits alone, the lowest rightmost."""

    name: str
    source: Any
    key: Callable[[str], str]
    vendor: str = ""  # whose devices alone read the source; "" for all


def random_program(seed: int, *, dynamic: bool = False) -> Written:
    """Two to four qubits, one to three registers, bits in any order; every second one has a single outcome."""
    rng = np.random.default_rng([seed, 12, int(dynamic)])
    n_qubits = int(rng.integers(2, 5))
    sizes = tuple(int(n) for n in rng.integers(1, 4, size=int(rng.integers(1, 4))))
    while sum(sizes) < n_qubits:
        sizes = (*sizes, 2)
    steps: list[Step] = []
    for _ in range(int(rng.integers(3, 10))):
        steps.append(_gate(rng, n_qubits, only_classical=seed % 2 == 0))
        if rng.random() < 0.1:
            steps.append(Step("barrier", tuple(range(n_qubits))))
    if dynamic:
        steps += _dynamic(rng, n_qubits, sizes, only_classical=seed % 2 == 0)
    n_read = int(rng.integers(1, n_qubits + 1))
    qubits = [int(q) for q in rng.permutation(n_qubits)[:n_read]]
    if rng.random() < 0.1 and not dynamic:
        qubits.append(qubits[0])  # one qubit into two bits
    free = sum(sizes)
    places = [int(c) for c in rng.permutation(free)[: len(qubits)]]
    steps += [Step("measure", (qubit,), clbits=(place,)) for qubit, place in zip(qubits, places, strict=False)]
    return Written(f"{'dynamic' if dynamic else 'flat'}-{seed}", seed, n_qubits, sizes, tuple(steps))


def _gate(rng: np.random.Generator, n_qubits: int, *, only_classical: bool) -> Step:
    qubits = [int(q) for q in rng.permutation(n_qubits)]
    names = _CLASSICAL if only_classical else tuple(NAMES)
    name = str(rng.choice([one for one in names if n_qubits > 2 or one != "ccx"]))
    width = {"cx": 2, "swap": 2, "ccx": 3}.get(name, 1)
    angles = (round(float(rng.uniform(-3, 3)), 6),) if name in _TURNS else ()
    return Step(name, tuple(qubits[:width]), angles)


def _dynamic(rng: np.random.Generator, n_qubits: int, sizes: Sequence[int], *, only_classical: bool) -> list[Step]:
    """A measurement, and by turns a branch on its register, a reset, or more gates on the measured qubit."""
    place = int(rng.integers(len(sizes)))
    register = tuple(range(sum(sizes[:place]), sum(sizes[: place + 1])))
    qubits = [int(q) for q in rng.permutation(n_qubits)]
    found = [Step("measure", (qubits[0],), clbits=(int(rng.choice(register)),))]
    kind = int(rng.integers(3))
    if kind == 0:
        sides = [_gate(rng, n_qubits, only_classical=only_classical) for _ in range(2)]
        otherwise = (sides[1],) if len(register) == 1 else ()
        found.append(Step("if", clbits=register, value=int(rng.integers(2 ** len(register))), then=(sides[0],),
                          otherwise=otherwise))  # fmt: skip
    elif kind == 1:
        found.append(Step("reset", (qubits[int(rng.integers(2))],)))
    found.append(_gate(rng, n_qubits, only_classical=only_classical))
    return found


# -- what must come out ------------------------------------------------------------------------------------------------


def distribution(program: Written) -> dict[str, float]:
    """Exact probability of each outcome of the written clbits, by following every branch."""
    ground = np.zeros(2**program.n_qubits, dtype=complex)
    ground[0] = 1
    found: dict[str, float] = {}
    for state, memory in _followed(program.steps, [(ground, 0)]):
        key = "".join(str(memory >> clbit & 1) for clbit in reversed(program.bits))
        found[key] = found.get(key, 0.0) + float(np.vdot(state, state).real)
    return {key: p for key, p in found.items() if p > 1e-12}


_Branches = list[tuple[Any, int]]  # unnormalized states with the classical memory


def _followed(steps: Iterable[Step], branches: _Branches) -> _Branches:
    for step in steps:
        branches = [after for state, memory in branches for after in _after(step, state, memory)]
    return branches


def _after(step: Step, state: Any, memory: int) -> _Branches:
    if step.name == "barrier":
        return [(state, memory)]
    if step.name == "if":
        held = sum((memory >> clbit & 1) << place for place, clbit in enumerate(step.clbits))
        return _followed(step.then if held == step.value else step.otherwise, [(state, memory)])
    if step.name in ("measure", "reset"):
        is_one = (np.arange(len(state)) >> step.qubits[0] & 1).astype(bool)
        zero, one = np.where(is_one, 0, state), np.where(is_one, state, 0)
        if step.name == "reset":
            halves = [(zero, memory), (_applied("x", (), step.qubits, one), memory)]
        else:
            cleared = memory & ~(1 << step.clbits[0])
            halves = [(zero, cleared), (one, cleared | 1 << step.clbits[0])]
        return [half for half in halves if np.vdot(half[0], half[0]).real > 1e-14]
    return [(_applied(step.name, step.angles, step.qubits, state), memory)]


def _applied(name: str, angles: Sequence[float], qubits: Sequence[int], state: Any) -> Any:
    matrix = get_standard_gate_name_mapping()[name].base_class(*angles).to_matrix()
    places = np.arange(len(state))
    inner = sum((places >> qubit & 1) << place for place, qubit in enumerate(qubits))
    outer = places & ~sum(1 << qubit for qubit in qubits)
    made = np.zeros_like(state)
    for row in range(len(matrix)):
        to = outer | sum((row >> place & 1) << qubit for place, qubit in enumerate(qubits))
        np.add.at(made, to, matrix[row, inner] * state)
    return made


# -- the doors ---------------------------------------------------------------------------------------------------------


def doors(program: Written) -> list[Door]:
    """The program through every door that has words for it."""
    circuit = as_qiskit(program)
    found = [
        Door("qiskit", circuit, program_key(program)),
        Door("qasm3", qasm3.dumps(circuit), program_key(program)),
        Door("braket-ir", as_ir(program), program_key(program)),
    ]
    if (old := as_qasm2(program, circuit)) is not None:
        found += [Door("qasm2", old, program_key(program))]
        found += [Door("qbraid", {"format": "qasm2", "data": old}, program_key(program), "qbraid")]
    if program.is_dynamic:
        return found
    names = {step.name for step in program.steps}
    if "barrier" not in names and len(set(program.bits.values())) == len(program.bits):
        own = as_braket(program)
        found += [Door("braket-circuit", own, lambda key: key)]
        found += [Door("braket-to-ir", own.to_ir("OPENQASM"), lambda key: key)]
    if "barrier" not in names:
        found += [Door("ionq-json", as_ionq(program), _ionq_key(program), "ionq")]
    return found


def program_key(program: Written) -> Callable[[str], str]:
    """From keys of all registers, as Qiskit writes them."""
    return lambda key: "".join(key.replace(" ", "")[::-1][clbit] for clbit in reversed(program.bits))


def _ionq_key(program: Written) -> Callable[[str], str]:
    return lambda key: "".join(key[::-1][qubit] for qubit in reversed(program.bits.values()))


def as_qiskit(program: Written) -> QuantumCircuit:
    """With registers c0, c1, ... ."""
    registers = [ClassicalRegister(size, f"c{place}") for place, size in enumerate(program.sizes)]
    circuit = QuantumCircuit(QuantumRegister(program.n_qubits, "q"), *registers, name=program.name)
    for step in program.steps:
        _append(circuit, program, step)
    return circuit


def _append(circuit: QuantumCircuit, program: Written, step: Step) -> None:
    if step.name == "if":
        register = circuit.cregs[program.registers.index(step.clbits)]
        with circuit.if_test((register, step.value)) as otherwise:
            for inner in step.then:
                _append(circuit, program, inner)
        if step.otherwise:
            with otherwise:
                for inner in step.otherwise:
                    _append(circuit, program, inner)
    elif step.name == "measure":
        circuit.measure(step.qubits[0], step.clbits[0])
    elif step.name == "barrier":
        circuit.barrier(*step.qubits)
    else:
        getattr(circuit, step.name)(*step.angles, *step.qubits)


def as_qasm2(program: Written, circuit: QuantumCircuit) -> str | None:
    """Qiskit's text; conditions, which Qiskit does not write, by hand. None for an else of several bits."""
    if not any(step.name == "if" for step in program.steps):
        return qasm2.dumps(circuit)
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{program.n_qubits}];"]
    lines += [f"creg c{place}[{size}];" for place, size in enumerate(program.sizes)]
    for step in program.steps:
        if step.name != "if":
            lines.append(_line_2(program, step))
            continue
        if step.otherwise and len(step.clbits) > 1:
            return None
        place = program.registers.index(step.clbits)
        lines += [f"if (c{place} == {step.value}) {_line_2(program, inner)}" for inner in step.then]
        lines += [f"if (c{place} == {1 - step.value}) {_line_2(program, inner)}" for inner in step.otherwise]
    return "\n".join(lines) + "\n"


def _line_2(program: Written, step: Step) -> str:
    on = ", ".join(f"q[{qubit}]" for qubit in step.qubits)
    if step.name == "measure":
        place = next(i for i, bits in enumerate(program.registers) if step.clbits[0] in bits)
        return f"measure {on} -> c{place}[{program.registers[place].index(step.clbits[0])}];"
    angles = f"({', '.join(map(repr, step.angles))})" if step.angles else ""
    return f"{step.name}{angles} {on};"


def as_ir(program: Written) -> Any:
    """Braket's OpenQASM object; odd programs have one register for all bits, as Braket's own clients write them."""
    from braket.ir.openqasm import Program

    if program.seed % 2:
        declared, spelled = [f"bit[{program.n_clbits}] b;"], [f"b[{clbit}]" for clbit in range(program.n_clbits)]
    else:
        declared = [f"bit[{size}] c{place};" for place, size in enumerate(program.sizes)]
        spelled = [f"c{place}[{bit}]" for place, size in enumerate(program.sizes) for bit in range(size)]
    lines = ["OPENQASM 3.0;", *declared, f"qubit[{program.n_qubits}] q;"]
    for step in program.steps:
        lines += _lines_of_ir(step, spelled)
    return Program(source="\n".join(lines), inputs=None)


def _lines_of_ir(step: Step, spelled: Sequence[str]) -> list[str]:
    on = ", ".join(f"q[{qubit}]" for qubit in step.qubits)
    if step.name == "measure":
        return [f"{spelled[step.clbits[0]]} = measure {on};"]
    if step.name == "if":
        wanted = [f"{'' if step.value >> place & 1 else '!'}{spelled[c]}" for place, c in enumerate(step.clbits)]
        lines = [f"if ({' && '.join(wanted)}) {{"]
        lines += [line for inner in step.then for line in _lines_of_ir(inner, spelled)]
        if step.otherwise:
            lines += ["} else {", *(line for inner in step.otherwise for line in _lines_of_ir(inner, spelled))]
        return [*lines, "}"]
    name = NAMES[step.name][0] if step.name in NAMES else step.name
    return [f"{name}{f'({step.angles[0]!r})' if step.angles else ''} {on};"]


def as_braket(program: Written) -> Any:
    """A Braket circuit, whose bit k is the k-th of the written clbits."""
    from braket.circuits import Circuit

    circuit = Circuit()
    for step in program.steps:
        if step.name != "measure":
            getattr(circuit, NAMES[step.name][0])(*step.qubits, *step.angles)
    for qubit in program.bits.values():
        circuit.measure(qubit)
    return circuit


def as_ionq(program: Written) -> dict[str, Any]:
    """IonQ's JSON, whose bit k is qubit k."""
    gates: list[dict[str, Any]] = []
    for step in program.steps:
        if step.name == "measure":
            continue
        gate: dict[str, Any] = {"gate": NAMES[step.name][1], "targets": list(step.qubits)}
        if step.name in ("cx", "ccx"):
            gate |= {"controls": list(step.qubits[:-1]), "targets": [step.qubits[-1]]}
        gates.append(gate | ({"rotation": step.angles[0]} if step.angles else {}))
    return {"qubits": program.n_qubits, "circuit": gates, "name": program.name}


# -- judging -----------------------------------------------------------------------------------------------------------

CHANCE = 1e-10
"""A right histogram is called wrong this often."""


def complaint(counts: Mapping[str, int], expected: Mapping[str, float], shots: int, *, slack: float = 0.0) -> str:
    """What is wrong with a histogram; empty if it can come from the distribution.

    `slack`: the share of shots that a noisy device may spoil.
    """
    from scipy.stats import binom, chi2

    if sum(counts.values()) != shots:
        return f"{sum(counts.values())} shots instead of {shots}"
    stray = sum(n for key, n in counts.items() if key not in expected)
    if slack:
        names = counts.keys() | expected.keys()
        far = sum(abs(counts.get(key, 0) / shots - expected.get(key, 0.0)) for key in names) / 2
        bound = slack + 4 * float(np.sqrt(len(names) / shots))
        return f"a variation of {far:.3f} where noise and chance explain {bound:.3f}" if far > bound else ""
    if stray:
        return f"{stray} shots with outcomes that cannot happen: {dict(counts)} instead of {dict(expected)}"
    # rare outcomes together, so that chi squared holds
    rare = [key for key, p in expected.items() if p * shots < 5]
    cells = [(counts.get(key, 0), p) for key, p in expected.items() if key not in rare]
    if rare:
        cells.append((sum(counts.get(key, 0) for key in rare), sum(expected[key] for key in rare)))
    if len(cells) == 1:
        return ""
    if rare and cells[-1][1] * shots < 5:
        seen, p = cells.pop()
        if binom.sf(seen - 1, shots, p) < CHANCE:
            return f"{seen} shots of outcomes with probability {p:.2g}"
    left = sum(p for _, p in cells)
    total = sum(n for n, _ in cells)
    value = sum((n - total * p / left) ** 2 / (total * p / left) for n, p in cells)
    if len(cells) > 1 and chi2.sf(value, len(cells) - 1) < CHANCE:
        return f"{dict(counts)} instead of { {key: round(p * shots) for key, p in expected.items()} }"
    return ""


@dataclass
class Told:
    """What a run of the comparison found."""

    programs: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    def count(self, where: str, complaint_: str, what: str) -> None:
        """Adds one comparison."""
        self.compared[where] = self.compared.get(where, 0) + 1
        if complaint_:
            self.disagreements.append(f"{where}, {what}: {complaint_}")
