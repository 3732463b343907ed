"""One program through every door: equal bits and equal probabilities, and equal counts on local devices.

The suite takes a few dozen programs; `QFLOWS_DOORS=500` takes as many as it says.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qasm2, qasm3

from qflows import providers
from qflows.keys import digest
from qflows.programs import Program, to_program
from qflows.programs.to_openqasm import BRAKET, to_openqasm
from qflows.protocol import JobSpec, Provider
from qflows.providers.ionq.circuit_json import read_json_circuit

PROGRAMS = int(os.environ.get("QFLOWS_DOORS", "60"))
SHOTS = 200
# qiskit's name, Braket's method, IonQ's gate: what every door can say
ONE = [("h", "h", "h"), ("x", "x", "x"), ("y", "y", "y"), ("s", "s", "s"), ("sdg", "si", "si"), ("t", "t", "t")]
TURNS = [("rx", "rx", "rx"), ("ry", "ry", "ry"), ("rz", "rz", "rz")]

Step = tuple[str, tuple[float, ...], tuple[int, ...]]


def random_steps(rng: np.random.Generator, n_qubits: int) -> list[Step]:
    steps: list[Step] = []
    for _ in range(int(rng.integers(4, 14))):
        kind, qubits = int(rng.integers(4)), [int(q) for q in rng.permutation(n_qubits)]
        if kind == 0:
            steps.append((ONE[rng.integers(len(ONE))][0], (), (qubits[0],)))
        elif kind == 1:
            angle = round(float(rng.uniform(-3, 3)), 6)
            steps.append((TURNS[rng.integers(len(TURNS))][0], (angle,), (qubits[0],)))
        elif kind == 2 or n_qubits < 3:
            steps.append((("cx", "swap")[rng.integers(2)], (), tuple(qubits[:2])))
        else:
            steps.append(("ccx", (), tuple(qubits[:3])))
    return steps


def as_qiskit(steps: list[Step], n_qubits: int, bits: dict[int, int], width: int) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(n_qubits, "q"), ClassicalRegister(width, "b"))
    for name, angles, qubits in steps:
        getattr(circuit, name)(*angles, *qubits)
    for clbit, qubit in bits.items():
        circuit.measure(qubit, clbit)
    return circuit


def as_braket(steps: list[Step], n_qubits: int, bits: dict[int, int]) -> Any:
    from braket.circuits import Circuit

    names = {one: two for one, two, _ in ONE + TURNS} | {"cx": "cnot", "ccx": "ccnot", "swap": "swap"}
    circuit = Circuit().i(range(n_qubits))
    for name, angles, qubits in steps:
        getattr(circuit, names[name])(*qubits, *angles)
    for _, qubit in sorted(bits.items()):
        circuit.measure(qubit)
    return circuit


def as_ionq(steps: list[Step], n_qubits: int) -> dict[str, Any]:
    names = {one: three for one, _, three in ONE + TURNS}
    gates: list[dict[str, Any]] = []
    for name, angles, qubits in steps:
        if name in ("cx", "ccx"):
            gates.append({"gate": "x", "controls": list(qubits[:-1]), "targets": [qubits[-1]]})
        elif name == "swap":
            gates.append({"gate": "swap", "targets": list(qubits)})
        else:
            gates.append({"gate": names[name], "target": qubits[0]} | ({"rotation": angles[0]} if angles else {}))
    return {"qubits": n_qubits, "circuit": gates, "name": "doors"}


def exact(provider: Provider, program: Program) -> dict[str, float]:
    spec = JobSpec("local", "exact", (program,), None)
    (item,) = provider.decode(provider.fetch("x", spec), spec, digest("doors")).items
    assert item.probabilities is not None
    return {key: p for key, p in item.probabilities.items() if p > 1e-9}


def sampled(provider: Provider, program: Program, device: str) -> dict[str, int]:
    spec = JobSpec("local", device, (program,), SHOTS)
    (item,) = provider.decode(provider.fetch("x", spec), spec, digest("doors", device)).items
    return dict(item.counts or {})


def test_every_door_means_the_same() -> None:
    from braket.ir.openqasm import Program as OpenQasm

    provider = providers.connect("local")
    for seed in range(PROGRAMS):
        rng = np.random.default_rng([seed, 12])
        n_qubits = int(rng.integers(2, 5))
        steps = random_steps(rng, n_qubits)
        full = {qubit: qubit for qubit in range(n_qubits)}  # IonQ measures every qubit into its own bit
        # every qubit named once, because Braket leaves idle ones out
        named: list[Step] = [("id", (), (qubit,)) for qubit in range(n_qubits)]
        width = n_qubits + int(rng.integers(3))
        places = [int(c) for c in rng.permutation(width)[:n_qubits]]
        chosen = {c: int(q) for c, q in zip(places, rng.permutation(n_qubits), strict=True)}
        for bits, size in ((full, n_qubits), (chosen, width)):
            plain = as_qiskit(named + steps, n_qubits, bits, size)
            program = to_program(plain)
            doors = [to_program(qasm2.dumps(plain)), Program.from_text(program.text)]
            text = qasm3.dumps(plain).replace('include "stdgates.inc";', "")
            for ours, theirs in {"cx": "cnot", "ccx": "ccnot", "sdg": "si", "id": "i"}.items():
                text = "\n".join(
                    line.replace(f"{ours} ", f"{theirs} ", 1) if line.startswith(f"{ours} ") else line
                    for line in text.splitlines()
                )
            doors.append(to_program(OpenQasm(source=text, inputs=None)))
            for door in doors:
                assert door == program, seed  # the same text, not only the same meaning
            values = exact(provider, program)
            others: list[Any] = [qasm3.dumps(plain)]  # its reader spells id as u(0, 0, 0)
            if bits is full:
                others += [as_braket(steps, n_qubits, full)]
                others += [OpenQasm(source=to_openqasm(program, BRAKET), inputs=None)]
                found = read_json_circuit(as_ionq(steps, n_qubits))
                assert found is not None
                assert exact(provider, found) == pytest.approx(values, abs=1e-9), seed
            for other in map(to_program, others):
                assert exact(provider, other) == pytest.approx(values, abs=1e-9), seed
            if seed % 10 == 0:
                for device in ("exact", "aer", "braket"):
                    expected = sampled(provider, program, device)
                    assert sum(expected.values()) == SHOTS
                    assert set(expected) <= set(values)
                    for door in doors:
                        assert sampled(provider, door, device) == expected, (seed, device)
