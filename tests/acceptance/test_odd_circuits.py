"""Circuits that other people may try: on every device the counts of Qiskit's own simulator, or a refusal with a reason.

The table is short on gates and long on everything around them. `ANYWHERE` names what no device may refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Clbit, Parameter, Qubit
from qiskit.circuit.classical import expr
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator

from acceptance.doors.compare import VENDORS, prepare
from acceptance.doors.written import complaint
from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.sandbox import Sandbox
from qflows.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore")
SHOTS = 400
QUIET = {"local-noisy": {"noise_model": {"errors": []}}}
DEVICES = (
    "local-exact", "local-aer", "local-noisy", "local-braket", "ibm-kingston", "ionq-simulator", "ionq-forte-1",
    "braket-sv1", "braket-garnet", "qbraid-bell-1",
)  # fmt: skip


def holes() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 7)
    circuit.x(0)
    circuit.h(1)
    circuit.measure([0, 1, 2], [5, 1, 3])
    return circuit


def registers_of_one_style() -> QuantumCircuit:
    registers = [ClassicalRegister(n, name) for n, name in ((1, "c1"), (2, "c"), (1, "c10"), (1, "c2"))]
    circuit = QuantumCircuit(QuantumRegister(2, "q"), QuantumRegister(1, "q1"), *registers)
    circuit.x(0)
    circuit.h(2)
    circuit.measure([0, 1, 2], [3, 0, 4])
    return circuit


def loose_bits() -> QuantumCircuit:
    circuit = QuantumCircuit([Qubit(), Qubit()], [Clbit(), Clbit()], ClassicalRegister(1, "late"))
    circuit.x(1)
    circuit.measure([0, 1, 1], [2, 0, 1])
    return circuit


def reset_first() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.reset([0, 1])
    circuit.x(0)
    circuit.measure([0, 1], [1, 0])
    return circuit


def delays() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.delay(160, 0, "dt")
    circuit.delay(64, 1, "ns")
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def phases() -> QuantumCircuit:
    inner = QuantumCircuit(1, global_phase=np.pi / 2)
    circuit = QuantumCircuit(2, 2, global_phase=1.25)
    circuit.h(0)
    circuit.x(1)
    circuit.append(inner.to_gate(label="phase").control(1), [0, 1])  # a phase that a control makes visible
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def nothing_measured() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    return circuit


def only_measurements() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.measure([1, 0], [0, 1])
    return circuit


def no_bits() -> QuantumCircuit:
    return QuantumCircuit()


def overwritten() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.measure(1, 0)
    return circuit


def measured_in_the_middle() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.x(0)
    circuit.measure(0, 1)
    return circuit


def middle_overwritten() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def twice_read() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1, 0], [2, 0, 1])
    return circuit


def branch_on_a_register() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(3, "q"), ClassicalRegister(2, "a"), ClassicalRegister(1, "b"))
    circuit.h([0, 1])
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.cregs[0], 2)) as otherwise:
        circuit.x(2)
    with otherwise:
        circuit.id(2)
    circuit.measure(2, 2)
    return circuit


def branch_on_an_expression() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.h([0, 1])
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test(expr.logic_and(circuit.clbits[0], expr.logic_not(circuit.clbits[1]))):
        circuit.x(2)
    circuit.measure(2, 2)
    return circuit


def nested_branches() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.h([0, 1])
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[0], 1)), circuit.if_test((circuit.clbits[1], 1)):
        circuit.x(2)
    circuit.measure(2, 2)
    return circuit


def branch_unread() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name="branch_unread")  # Aer alone fails on it if it may drop qubits
    with circuit.if_test((circuit.cregs[0], 0)):
        circuit.rz(0.1, 0)
    circuit.x(1)
    circuit.measure(1, 1)
    return circuit


def loop() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(3)):
        circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def while_loop() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.h(0)
        circuit.measure(0, 0)
    return circuit


def switched() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.switch(circuit.cregs[0]) as case, case(1):
        circuit.x(1)
    circuit.measure(1, 1)
    return circuit


def unicode_names() -> QuantumCircuit:
    circuit = QuantumCircuit(
        QuantumRegister(1, "ψ"), QuantumRegister(1, "_q"), ClassicalRegister(2, "größe"), name="Größe 'ψ' 🐈; $1 \"x\""
    )
    circuit.x(0)
    circuit.measure([0, 1], [1, 0])
    return circuit


def keywords_as_names() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2, "gate"), ClassicalRegister(2, "measure"), name="if")
    circuit.x(0)
    circuit.measure([0, 1], [1, 0])
    return circuit


def wide() -> QuantumCircuit:
    circuit = QuantumCircuit(20, 20)
    circuit.x(17)
    circuit.h(3)
    circuit.cx(3, 17)
    circuit.measure([17, 3], [2, 19])
    return circuit


def barriers_everywhere() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.barrier()
    for _ in range(3):
        circuit.x(0)
        circuit.barrier(0)
    circuit.barrier(label="end")
    circuit.measure([0, 1], [0, 1])
    return circuit


def gate_in_gate() -> QuantumCircuit:
    inner = QuantumCircuit(2, name="swap and x")
    inner.swap(0, 1)
    inner.x(0)
    outer = QuantumCircuit(3, name="outer")
    outer.append(inner.to_gate(), [2, 0])
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.append(outer.to_gate().inverse(), [1, 2, 0])
    circuit.measure(range(3), range(3))
    return circuit


def open_controls() -> QuantumCircuit:
    from qiskit.circuit.library import XGate

    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.append(XGate().control(2, ctrl_state="01"), [0, 1, 2])
    circuit.measure(range(3), range(3))
    return circuit


def matrix() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    # rows and columns as |q1 q0>: not symmetric under exchange
    circuit.append(UnitaryGate(np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]])), [0, 1])
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def initialized() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.initialize([0, np.sqrt(0.2), np.sqrt(0.8), 0])
    circuit.measure([0, 1], [0, 1])
    return circuit


def prepared() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.prepare_state([0, np.sqrt(0.2), np.sqrt(0.8), 0])
    circuit.measure([0, 1], [0, 1])
    return circuit


def tiny_and_huge_angles() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.rx(1e-300, 0)
    circuit.ry(np.pi + 4e3 * np.pi, 1)
    circuit.rz(-1e-17, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def unbound() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(Parameter("θ"), 0)
    circuit.measure(0, 0)
    return circuit


def not_a_number() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(float("nan"), 0)
    circuit.measure(0, 0)
    return circuit


def shared_bits() -> QuantumCircuit:
    bits = [Clbit(), Clbit()]
    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(bits=bits), ClassicalRegister(bits=bits[:1]))
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def placed() -> QuantumCircuit:
    """Compiled for another device, with a layout."""
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return transpile(circuit, FakeManilaV2(), initial_layout=[3, 4], optimization_level=0)


def _alone(circuit: QuantumCircuit) -> dict[str, float]:
    """Shares of outcomes by Aer, with nothing of ours in between.

    Keys as Qiskit's, whose own formatting leaves out bits of no register: they come first. Without delays, which change
    nothing here, and whose units Qiskit does not mix.
    """
    plain = circuit.copy_empty_like()
    for step in circuit.data:
        if step.operation.name != "delay":
            plain.append(step)
    ready = transpile(plain, AerSimulator(), optimization_level=0)
    data = (
        AerSimulator(seed_simulator=3)
        .run(ready, shots=4_000, enable_truncation=circuit.name != "branch_unread")
        .result()
        .data(0)
    )
    place = {bit: k for k, bit in enumerate(ready.clbits)}
    registers = [[place[bit] for bit in register] for register in ready.cregs]
    loose = sorted(set(place.values()) - {k for own in registers for k in own})
    groups = [own for own in (loose, *reversed(registers)) if own]
    found: dict[str, float] = {}
    for word, n in data["counts"].items():
        key = " ".join("".join(str(int(word, 16) >> k & 1) for k in reversed(own)) for own in groups)
        found[key] = found.get(key, 0.0) + n / 4_000
    return found


ANYWHERE = (
    holes, registers_of_one_style, loose_bits, phases, only_measurements, twice_read, unicode_names,
    keywords_as_names, gate_in_gate, open_controls, matrix, prepared, tiny_and_huge_angles,
)  # fmt: skip
NOWHERE = {  # and a word of the refusal
    nothing_measured: "measur", no_bits: "qubit", unbound: "θ", not_a_number: "nan|finite|number", shared_bits: "share",
    while_loop: "while", switched: "switch",
}  # fmt: skip
SOMEWHERE = (
    reset_first, delays, overwritten, measured_in_the_middle, middle_overwritten, branch_on_a_register,
    branch_on_an_expression, nested_branches, initialized, branch_unread, loop, wide, barriers_everywhere, placed,
)  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        prepare(running)
        yield running


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for vendor in sandbox.admin.info()["vendors"].values():
        for name, value in vendor["env"].items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    made = Client(Settings(settle_s=0.2, poll_min_s=0.001))
    yield made
    made.ledger.close()


def bought(core: Client, source: Any, device: str, shots: int = SHOTS) -> tuple[dict[str, int], str]:
    """(counts, "") or ({}, why it was refused); nothing is recorded of what was refused."""
    before = len(core.jobs())
    try:
        scope = script_scope("odd")
        given = QUIET.get(device, {})
        item = core.run(source, scope, device=device, shots=shots, options=given, timeout=60).items[0]
    except ProgramRejected as error:
        assert len(core.jobs()) == before
        return {}, str(error)
    return dict(item.counts or {}), ""


@pytest.mark.parametrize("device", DEVICES)
def test_each_has_the_counts_of_qiskits_simulator_or_is_refused(core: Client, device: str) -> None:
    wrong: list[str] = []
    told: list[str] = []
    for make in (*ANYWHERE, *SOMEWHERE):
        counts, why = bought(core, make(), device)
        if why:
            told.append(f"{make.__name__}: {why}")
            wrong += [f"{make.__name__} refused: {why}"] if make in ANYWHERE else []
        elif said := complaint(counts, _expected(make), SHOTS):
            wrong.append(f"{make.__name__}: {said}")
    print(device, *told, sep="\n  ")
    assert wrong == [], "\n".join(wrong)


_KNOWN: dict[str, dict[str, float]] = {}


def _expected(make: Callable[[], QuantumCircuit]) -> dict[str, float]:
    if make.__name__ not in _KNOWN:
        _KNOWN[make.__name__] = _alone(make())
    return _KNOWN[make.__name__]


@pytest.mark.parametrize("device", DEVICES)
def test_impossible_ones_are_refused_before_anything_is_recorded(core: Client, device: str) -> None:
    for make, word in NOWHERE.items():
        with pytest.raises(ProgramRejected, match=f"(?i){word}"):
            core.run(make(), script_scope("odd"), device=device, shots=SHOTS, timeout=60)
    with pytest.raises(ProgramRejected, match="shots"):
        core.run(holes(), script_scope("odd"), device=device, shots=0, timeout=60)
    assert len(core.jobs()) == 0


TEXTS = {
    "physical": ('OPENQASM 3.0; include "stdgates.inc"; bit[2] b; x $2; b[1] = measure $2; b[0] = measure $1;', "10"),
    "verbatim": (
        "OPENQASM 3.0;\nbit[1] b;\n#pragma braket verbatim\nbox {\nprx(3.141592653589793, 0.0) $2;\n}\n"
        "b[0] = measure $2;\n",
        "1",
    ),
    "boxes": (
        "OPENQASM 3.0;\nbit[1] b;\n#pragma braket verbatim\nbox {\nprx(3.141592653589793, 0.0) $2;\n}\nbarrier $2;\n"
        "#pragma braket verbatim\nbox {\nprx(3.141592653589793, 0.0) $2;\n}\nb[0] = measure $2;\n",
        "0",
    ),
    "matrix": (
        "OPENQASM 3.0;\nqubit[2] q;\nbit[2] b;\n#pragma braket unitary([[0, 1.0], [1.0, 0]]) q[1]\ncnot q[1], q[0];\n"
        "x q[0];\nb = measure q;\n",
        "10",
    ),
    "old_condition": (
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg a[1]; creg b[1]; x q[0]; measure q[0] -> a[0]; '
        "if (a == 1) x q[1]; measure q[1] -> b[0];",
        "1 1",
    ),
    "whole_registers": ('OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; x q; measure q -> c;', "111"),
    "aliases": (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[2] c; let r = q[1:2]; x r[0]; c[1] = measure r[0]; '
        "c[0] = measure q[0];",
        "10",
    ),
}


@pytest.mark.parametrize("device", DEVICES)
def test_texts_too(core: Client, device: str) -> None:
    wrong = []
    for name, (text, wanted) in TEXTS.items():
        counts, why = bought(core, text, device)
        print(device, name, why)
        if why:
            wrong += [f"{name} refused: {why}"] if name in ("whole_registers", "aliases", "matrix") else []
        elif counts != {wanted: SHOTS}:
            wrong.append(f"{name}: {counts} instead of {wanted}")
    assert wrong == []


def test_table_is_not_blind() -> None:
    """Most circuits have outcomes that another order of bits would change."""
    seen = [_expected(make) for make in (*ANYWHERE, *SOMEWHERE)]
    assert sum(any(abs(one.get(key[::-1], 0) - p) > 0.1 for key, p in one.items()) for one in seen) > 14
    assert len(ANYWHERE) + len(NOWHERE) + len(SOMEWHERE) + len(TEXTS) >= 35
    bare = QuantumCircuit(2)
    bare.append(matrix().data[0].operation, [0, 1])
    assert Statevector(bare).probabilities_dict() == {"01": 1.0}
