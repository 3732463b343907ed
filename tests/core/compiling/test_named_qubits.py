"""A program that names a device's own qubits is refused before anything is recorded if they cannot run it, and only
then."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit, transpile

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.primitives import SamplerV2
from qflows.programs import to_program
from qflows.sandbox import Sandbox

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[2] c;\n'
REASON = "without routing|not in the gate set|not among its gates|are not connected"
# a pair that is coupled and one that is not, and the native gate of two qubits
PAIRS = {
    "ibm-kingston": ((100, 101), (1, 40), "cz"),
    "ibm-sandbox": ((3, 4), (1, 4), "cx"),
    "local-noisy": ((3, 4), (0, 4), "cx"),
    "braket-garnet": ((16, 20), (1, 20), "cz"),
    "braket-cepheus-1-108q": ((9, 10), (0, 40), "cz"),
    "braket-emerald": ((1, 2), (1, 54), "cz"),
}
COMPILED_HERE = ("ibm-kingston", "ibm-sandbox", "local-noisy")


def read(a: int, b: int) -> str:
    return f"c[0] = measure ${a};\nc[1] = measure ${b};\n"


def verbatim(a: int, b: int, gate: str) -> str:
    return f"{HEAD}#pragma braket verbatim\nbox {{\n{gate} ${a}, ${b};\n}}\n{read(a, b)}"


def plain(a: int, b: int) -> str:
    """The gate is not removed, because its control is 1."""
    return f"{HEAD}x ${a};\ncx ${a}, ${b};\n{read(a, b)}"


def in_a_branch(a: int, b: int) -> str:
    return f"{HEAD}x ${a};\nc[0] = measure ${a};\nif (c[0]) {{ cx ${a}, ${b}; }}\nc[1] = measure ${b};\n"


def isa_of_another_device(a: int, b: int) -> QuantumCircuit:
    """Compiled for a device on which the two qubits are coupled."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    line = [[i, i + 1] for i in range(max(a, b))]
    return transpile(circuit, initial_layout=[a, b], coupling_map=[*line, [a, b], [b, a]], optimization_level=0)


def by_run(core: Client, device: str, source: Any) -> Any:
    return core.run(source, script_scope("run"), device=device, shots=200, timeout=60)


def by_observables(core: Client, device: str, source: Any) -> Any:
    bare = source.split("c[0] = measure")[0] if isinstance(source, str) else source.remove_final_measurements(False)
    return core.run(bare, script_scope("values"), device=device, shots=200, observables=["ZZ"], timeout=60)


def by_batch(core: Client, device: str, source: Any) -> Any:
    return core.submit_list([source, source], script_scope("batch"), device=device, shots=200).result(60)


def with_readout(core: Client, device: str, source: Any) -> Any:
    return core.submit_list([source], script_scope("m"), device=device, shots=200, mitigate=["readout"]).result(60)


def by_primitive(core: Client, device: str, source: Any) -> Any:
    circuit = source if isinstance(source, QuantumCircuit) else to_program(source).circuit()
    return SamplerV2(device, shots=200, run_key="s", client=core).run([circuit]).result()


DOORS = (by_run, by_observables, by_batch, with_readout)


def nothing_was_bought(sandbox: Sandbox, core: Client) -> bool:
    with core.ledger.read() as connection:
        recorded = int(connection.execute(sa.text("select count(*) from jobs")).scalar_one())
    return recorded == 0 and not any(sandbox.admin.jobs(vendor) for vendor in ("ibm", "braket"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("device", PAIRS)
def test_verbatim_gate_on_uncoupled_qubits_is_refused_before_a_record(
    every_vendor: Sandbox, core: Client, device: str, door: Callable[[Client, str, Any], Any]
) -> None:
    _, apart, gate = PAIRS[device]
    with pytest.raises(ProgramRejected, match=REASON):
        door(core, device, verbatim(*apart, gate))
    assert nothing_was_bought(every_vendor, core)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("device", COMPILED_HERE)
@pytest.mark.parametrize("write", [plain, isa_of_another_device])
def test_gate_on_uncoupled_qubits_that_a_program_names_is_refused_before_a_record(
    every_vendor: Sandbox,
    core: Client,
    device: str,
    write: Callable[[int, int], Any],
    door: Callable[[Client, str, Any], Any],
) -> None:
    with pytest.raises(ProgramRejected, match="without routing.*register of qubits"):
        door(core, device, write(*PAIRS[device][1]))
    assert nothing_was_bought(every_vendor, core)


@pytest.mark.parametrize("device", COMPILED_HERE)
def test_branches_options_and_primitives_are_looked_at_too(every_vendor: Sandbox, core: Client, device: str) -> None:
    apart = PAIRS[device][1]
    with pytest.raises(ProgramRejected, match=REASON):
        by_run(core, device, in_a_branch(*apart))
    with pytest.raises(ProgramRejected, match=REASON):
        by_primitive(core, device, isa_of_another_device(*apart))
    told = {"physical_qubits": list(apart)}
    circuit = to_program(plain(0, 1)).circuit()
    with pytest.raises(ProgramRejected, match="without routing.*initial_layout"):
        core.run(unplaced(circuit), script_scope("o"), device=device, shots=200, timeout=60, options=told)
    assert nothing_was_bought(every_vendor, core)


def unplaced(circuit: QuantumCircuit) -> QuantumCircuit:
    made = QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    made.compose(circuit, inplace=True)
    return made


def test_fractional_gates_are_a_description_of_their_own(every_vendor: Sandbox, core: Client) -> None:
    wishes: Any = {"device": "ibm-kingston", "shots": 200, "timeout": 60, "options": {"use_fractional_gates": True}}
    with pytest.raises(ProgramRejected, match="without routing"):
        core.run(plain(1, 40), script_scope("f"), **wishes)
    with pytest.raises(ProgramRejected, match="has no fractional gates"):
        core.run(plain(3, 4), script_scope("f"), **wishes | {"device": "ibm-sandbox"})
    assert nothing_was_bought(every_vendor, core)
    native = QuantumCircuit(2, 2)
    native.rx(math.pi, 0)
    native.rzz(0.3, 0, 1)
    native.measure([0, 1], [0, 1])
    found = core.run(native, script_scope("n"), compile="none", physical_qubits=[100, 101], **wishes)
    assert most_often(found) == "01"


@pytest.mark.parametrize("device", PAIRS)
def test_what_a_device_can_run_is_not_refused(core: Client, device: str) -> None:
    near, apart, _ = PAIRS[device]
    for a, b in (near, near[::-1]):  # couplings may be directed; gates work both ways
        result = core.run(plain(a, b), script_scope(f"near {a}"), device=device, shots=200, timeout=60)
        assert most_often(result) == "11"
    a, b = apart
    idle = f"{HEAD}x ${a};\nbarrier ${a}, ${b};\nx ${b};\n{read(a, b)}"
    assert most_often(core.run(idle, script_scope("idle"), device=device, shots=200, timeout=60)) == "11"
    routed = plain(0, 3).replace("$0", "q[0]").replace("$3", "q[3]").replace("bit[2] c;", "bit[2] c;\nqubit[4] q;")
    assert most_often(core.run(routed, script_scope("routed"), device=device, shots=200, timeout=60)) == "11"


@pytest.mark.parametrize("device", ["ibm-kingston", "local-noisy"])
def test_gate_that_the_compiler_removes_needs_no_coupler(core: Client, device: str) -> None:
    a, b = PAIRS[device][1]
    undone = f"{HEAD}x ${a};\ncx ${a}, ${b};\ncx ${a}, ${b};\n{read(a, b)}"
    assert most_often(core.run(undone, script_scope("u"), device=device, shots=200, timeout=60)) == "01"


def most_often(result: Any) -> str:
    counts = result.items[0].counts
    return max(counts, key=counts.__getitem__)
