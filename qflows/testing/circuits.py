"""Circuits without symmetry, what they must give by Qiskit's own rules, and how far samples may be off.

The expectations are computed from Qiskit objects alone, so that a mistake in qflows' readout cannot cancel itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter
from qiskit.quantum_info import Statevector

from qflows.programs import Program, to_program

FALSE_ALARM = 1e-9  # probability that a right sampler fails one comparison; 20 circuits: 2e-8


@dataclass(frozen=True)
class Target:
    """A device as the suite tries it: the vendor's own name of it, and the options of every job there.

    `noise`: the total variation distance that its errors may add, 0 to 1; of a circuit with one possible outcome they
    may spoil twice that share of the shots. `max_qubits` bounds the width of random circuits, which are short where
    there is noise.
    """

    device_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    noise: float = 0.0
    max_qubits: int = 6

    def random_circuit(self, seed: int) -> tuple[QuantumCircuit, list[float], dict[str, float]]:
        """A random circuit of a width and length that this device takes; as `random_measured`."""
        return random_measured(seed, self.max_qubits, gates_per_qubit=1 if self.noise else 4)

    def __str__(self) -> str:
        return "-".join([self.device_id, *map(str, self.options.values())])


@dataclass(frozen=True)
class Probe:
    """A circuit with one possible outcome, and its key in the counts."""

    name: str
    circuit: QuantumCircuit
    key: str

    def __str__(self) -> str:
        return self.name


def bell(name: str = "bell") -> Program:
    """A Bell pair, both qubits measured."""
    circuit = QuantumCircuit(2, 2, name=name)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return to_program(circuit)


def _flipped(n_qubits: int, *flipped: int, clbits: Any = None) -> QuantumCircuit:
    circuit = QuantumCircuit(n_qubits, n_qubits if clbits is None else clbits)
    for qubit in flipped:
        circuit.x(qubit)
    return circuit


def _in_order(n_qubits: int, *flipped: int) -> QuantumCircuit:
    circuit = _flipped(n_qubits, *flipped)
    circuit.measure(range(n_qubits), range(n_qubits))
    return circuit


def _permuted() -> QuantumCircuit:
    circuit = _flipped(3, 2)
    circuit.measure([0, 1, 2], [2, 0, 1])
    return circuit


def _partial() -> QuantumCircuit:
    circuit = _flipped(4, 1, 3, clbits=2)
    circuit.measure([3, 0], [0, 1])
    return circuit


def _two_registers() -> QuantumCircuit:
    low, high = ClassicalRegister(1, "low"), ClassicalRegister(2, "high")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), low, high)
    circuit.x([0, 1])
    circuit.measure([2, 0, 1], [low[0], high[0], high[1]])
    return circuit


def _two_registers_lopsided() -> QuantumCircuit:
    low, high = ClassicalRegister(2, "a"), ClassicalRegister(3, "b")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), low, high)
    circuit.x(0)
    circuit.measure([0, 1], [low[1], high[0]])
    return circuit


def _gaps() -> QuantumCircuit:
    circuit = _flipped(2, 1, clbits=5)
    circuit.measure([0, 1], [1, 3])
    return circuit


def _loose() -> QuantumCircuit:
    register = ClassicalRegister(2, "c")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), register)
    circuit.add_bits([Clbit(), Clbit()])
    circuit.x([0, 2])
    circuit.measure([0, 1, 2], [0, 1, 3])
    return circuit


def _only_loose() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2, "q"))
    circuit.add_bits([Clbit(), Clbit()])
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def _idle_between() -> QuantumCircuit:
    circuit = _flipped(6, 5, clbits=2)
    circuit.measure([5, 2], [0, 1])
    return circuit


# keys: registers as in qiskit (first declared rightmost); bits in no register come leftmost, as one group
PROBES = (
    Probe("01", _in_order(2, 0), "01"),
    Probe("10", _in_order(2, 1), "10"),
    Probe("001", _in_order(3, 0), "001"),
    Probe("100", _in_order(3, 2), "100"),
    Probe("permuted", _permuted(), "010"),
    Probe("partial", _partial(), "01"),
    Probe("two-registers", _two_registers(), "11 0"),
    Probe("lopsided-registers", _two_registers_lopsided(), "000 10"),
    Probe("clbit-gaps", _gaps(), "01000"),
    Probe("loose-bits", _loose(), "10 01"),
    Probe("only-loose-bits", _only_loose(), "10"),
    Probe("idle-qubits", _idle_between(), "01"),
)

_ONE = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg")
_ONE_ANGLE = ("rx", "ry", "rz", "p")
_TWO = ("cx", "cy", "cz", "ch", "swap", "iswap", "ecr", "csx")
_TWO_ANGLE = ("cp", "crx", "cry", "crz", "rxx", "ryy", "rzz")
_THREE = ("ccx", "cswap")


def random_body(seed: int, n_qubits: int, *, steps: int = 0) -> tuple[QuantumCircuit, list[float]]:
    """Gates without measurement, and the values of its parameters in qiskit's order. Equal seeds, equal circuits."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(QuantumRegister(n_qubits, "q"), name=f"random-{seed}")
    families = [_ONE, _ONE_ANGLE, _TWO, _TWO_ANGLE] + ([_THREE] if n_qubits > 2 else [])
    for step in range(steps or 4 * n_qubits):
        family = families[rng.integers(len(families))]
        name = family[rng.integers(len(family))]
        width = 1 if family in (_ONE, _ONE_ANGLE) else 3 if family is _THREE else 2
        qubits = [int(q) for q in rng.permutation(n_qubits)[:width]]
        angle: list[Any] = []
        if family in (_ONE_ANGLE, _TWO_ANGLE):
            is_free = rng.random() < 0.3
            angle = [Parameter(f"t{step:03d}")] if is_free else [float(rng.uniform(-7, 7))]
        getattr(circuit, name)(*angle, *qubits)
    return circuit, [float(rng.uniform(-7, 7)) for _ in range(circuit.num_parameters)]


def random_measured(
    seed: int, max_qubits: int, *, gates_per_qubit: int = 4
) -> tuple[QuantumCircuit, list[float], dict[str, float]]:
    """A random circuit of 2 qubits or more, its parameter values, and its exact outcome distribution.

    Some of the qubits, at least one, are measured in random order into one or two registers with gaps.
    """
    rng = np.random.default_rng([seed, 1])
    n_qubits = int(rng.integers(2, max_qubits + 1))
    circuit, values = random_body(seed, n_qubits, steps=gates_per_qubit * n_qubits)
    registers = [ClassicalRegister(int(rng.integers(1, n_qubits + 1)), name) for name in ("a", "b")]
    registers = registers[: int(rng.integers(1, 3))]
    for register in registers:
        circuit.add_register(register)
    n_measured = min(int(rng.integers(1, n_qubits + 1)), circuit.num_clbits)
    if rng.random() < 0.4:
        n_measured = min(n_qubits, circuit.num_clbits)
    qubits = [int(q) for q in rng.permutation(n_qubits)[:n_measured]]
    clbits = [int(c) for c in rng.permutation(circuit.num_clbits)[:n_measured]]
    bound = circuit.assign_parameters(values) if values else circuit
    expected = distribution(bound, dict(zip(clbits, qubits, strict=True)))
    circuit.measure(qubits, clbits)
    return circuit, values, expected


def distribution(circuit: QuantumCircuit, qubit_of: Mapping[int, int]) -> dict[str, float]:
    """Exact distribution of counts keys when clbit c of an unmeasured `circuit` reads qubit `qubit_of[c]`."""
    gates = circuit.copy_empty_like()
    bare = QuantumCircuit(circuit.num_qubits)
    for step in circuit.data:
        bare.append(step.operation, [circuit.find_bit(q).index for q in step.qubits])
    weights = Statevector(bare).probabilities()
    found: dict[str, float] = {}
    for state in np.flatnonzero(weights > 1e-12):
        words = []
        for register in reversed(gates.cregs):
            places = [gates.find_bit(bit).index for bit in reversed(list(register))]
            words.append("".join(str(int(state) >> qubit_of[c] & 1) if c in qubit_of else "0" for c in places))
        key = " ".join(words)
        found[key] = found.get(key, 0.0) + float(weights[state])
    return found


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Half the sum of the differences, 0 to 1."""
    return sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in one.keys() | other.keys()) / 2


def variation_bound(expected: Mapping[str, float], shots: int) -> float:
    """Total variation that `shots` samples of `expected` exceed with probability FALSE_ALARM at most.

    The smaller of two proved bounds, each at half the rate: McDiarmid's around the mean, which is at most
    sum sqrt(p (1 - p) / n) / 2; and Bretagnolle-Huber-Carol's, 2**K exp(-2 n t**2).
    """
    rate = math.log(2 / FALSE_ALARM)
    mean = sum(math.sqrt(p * (1 - min(p, 1)) / shots) for p in expected.values()) / 2
    mcdiarmid = mean + math.sqrt(rate / (2 * shots))
    carol = math.sqrt((len(expected) * math.log(2) + rate) / (2 * shots))
    return min(mcdiarmid, carol)
