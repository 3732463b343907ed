"""Programs that are in the device's own gates need no compiler, and get the circuit that it would make."""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any

import pytest
from qiskit import QuantumCircuit, qasm3
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_ibm_runtime.fake_provider import FakeFez

from qflows.programs import to_program
from qflows.protocol import JobSpec
from qflows.providers.ibm import compile as compiling
from qflows.providers.ibm import layout
from qflows.providers.ibm.compile import Compiled, Compiler, Described, flat
from qflows.providers.ibm.openqasm3 import as_openqasm3

BACKEND = FakeFez()
WIDTH = 3


def drawn(seed: int, *, pair: tuple[int, int] = (0, 1)) -> QuantumCircuit:
    """Gates of Heron on a few qubits, with barriers and angles of any size; the clbits are in two registers."""
    rng = random.Random(seed)
    circuit = QuantumCircuit(WIDTH, name=f"drawn {seed}", global_phase=rng.random())
    for _ in range(12):
        kind, qubit = rng.choice(["x", "sx", "rz", "cz", "barrier", "id"]), rng.randrange(WIDTH)
        if kind == "rz":
            circuit.rz(rng.choice([rng.uniform(-10, 10), 3.141592653589793 / 2, 1e-9, 0.0]), qubit)
        elif kind == "cz":
            circuit.cz(*pair)
        elif kind == "barrier":
            circuit.barrier(*rng.sample(range(WIDTH), rng.randint(1, WIDTH)))
        else:
            getattr(circuit, kind)(qubit)
    circuit.measure_all()
    return circuit


def compiled(circuit: QuantumCircuit, **options: Any) -> tuple[Compiled, Compiler]:
    spec = JobSpec("ibm", BACKEND.name, (to_program(circuit),), 10, options=options)
    compiler = Compiler()
    [sheet] = layout.sheets(spec)
    return compiler.compile(sheet, Described.of(BACKEND), spec.options, measured=True), compiler


def by_passes(circuit: QuantumCircuit, initial_layout: list[int] | None) -> QuantumCircuit:
    """What level 0 of Qiskit makes of the program's circuit."""
    manager = generate_preset_pass_manager(
        optimization_level=0, target=BACKEND.target, seed_transpiler=compiling.SEED, initial_layout=initial_layout
    )
    return manager.run(flat(to_program(circuit).circuit()))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("place", [None, [20, 21, 5]])
def test_level_0_makes_what_the_passes_make_and_runs_none(seed: int, place: list[int] | None) -> None:
    circuit = drawn(seed)
    options: dict[str, Any] = {} if place is None else {"initial_layout": place}
    found, compiler = compiled(circuit, optimization_level=0, **options)
    wanted = by_passes(circuit, place)
    assert found.circuit == wanted
    assert list(found.layout) == wanted.layout.final_index_layout()
    assert not compiler._managers
    assert not found.is_as_written
    assert as_openqasm3(wanted) == qasm3.dumps(wanted)  # of the same gates: those on other qubits may change places


def test_named_qubits_are_used_as_they_are_named() -> None:
    found, compiler = compiled(drawn(3), physical_qubits=[20, 21, 5])
    assert found.is_as_written
    assert found.circuit == by_passes(drawn(3), [20, 21, 5])
    assert not compiler._managers


@pytest.mark.parametrize("why", ["another gate", "no coupler", "a delay", "a level", "measured twice"])
def test_anything_else_is_compiled(why: str) -> None:
    circuit, level = drawn(4), 0
    if why == "another gate":
        circuit.h(0)
    elif why == "no coupler":
        circuit = drawn(4, pair=(0, 2))
        circuit.cz(0, 2)
    elif why == "a delay":
        circuit.delay(100, 0, "dt")
    elif why == "a level":
        level = 2
    else:
        circuit.reset(0)
        circuit.measure(0, 0)
    found, compiler = compiled(circuit, optimization_level=level)
    assert len(compiler._managers) == 1
    assert found.summary["openqasm3"] == qasm3.dumps(found.circuit)


def test_text_of_a_circuit_with_gates_of_its_own_is_the_exporters() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.ecr(0, 1)
    circuit.measure([0, 1], [0, 1])
    assert as_openqasm3(circuit) == qasm3.dumps(circuit)


def test_circuits_that_were_sent_are_freed_though_they_refer_to_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_KEPT", 1)
    monkeypatch.setattr(compiling, "_TIDY_AFTER", 3)
    compiler, seen = Compiler(), []
    gc.disable()  # of itself it would look later
    try:
        for number in range(3):
            spec = JobSpec("ibm", BACKEND.name, (to_program(drawn(number)),), 10, options={"optimization_level": 0})
            [sheet] = layout.sheets(spec)
            seen.append(
                weakref.ref(compiler.compile(sheet, Described.of(BACKEND), spec.options, measured=True).circuit)
            )
    finally:
        gc.enable()
    assert [one() is None for one in seen] == [True, True, False]
