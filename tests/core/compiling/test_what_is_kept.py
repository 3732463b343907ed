"""What reaches the wire of a circuit that must not be changed, and what of its names and notes comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from qiskit import QuantumCircuit, qasm2, qasm3, transpile

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.programs import Program, to_program
from qflows.programs.notes import ASKED
from qflows.sandbox import Sandbox
from qflows.settings import Settings

Gates = list[tuple[str, tuple[float, ...], tuple[int, ...], tuple[int, ...]]]


def gates_of(circuit: QuantumCircuit) -> Gates:
    """Every step in order: name, angles, qubits and clbits by their numbers."""
    return [
        (
            step.operation.name,
            tuple(float(value) for value in step.operation.params),
            tuple(circuit.find_bit(qubit).index for qubit in step.qubits),
            tuple(circuit.find_bit(clbit).index for clbit in step.clbits),
        )
        for step in circuit.data
    ]


def sent_to_ibm(sandbox: Sandbox) -> list[QuantumCircuit]:
    """The circuits of the captured body, unpacked by IBM's own client."""
    from qiskit_ibm_runtime import RuntimeDecoder

    (job,) = sandbox.admin.jobs("ibm")
    body = json.loads(json.dumps(sandbox.admin.job(job["id"])["request"]), cls=RuntimeDecoder)
    return [pub[0] for pub in body["params"]["pubs"]]


def protected() -> QuantumCircuit:
    """Gates that cancel, kept apart; read crosswise."""
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    for _ in range(3):
        circuit.cx(0, 1)
        circuit.barrier()
    circuit.rz(0.25, 1)
    circuit.measure([0, 1], [2, 0])
    return circuit


@pytest.mark.parametrize("level", [0, 3])
def test_isa_circuit_reaches_ibms_wire_unchanged(every_vendor: Sandbox, core: Client, level: int) -> None:
    provider: Any = core.device("ibm-kingston").provider
    target = provider.target("ibm_kingston", {})
    isa = transpile(protected(), target=target, initial_layout=[100, 101], optimization_level=level, seed_transpiler=1)
    result = core.run(isa, script_scope("isa"), device="ibm-kingston", shots=100, timeout=60)
    (sent,) = sent_to_ibm(every_vendor)
    assert gates_of(sent) == gates_of(isa)
    assert sum(name == "cz" for name, *_ in gates_of(sent)) == 3
    assert {qubit for _, _, qubits, _ in gates_of(sent) for qubit in qubits} == {100, 101}
    assert (sent.num_qubits, sent.num_clbits) == (156, 3)
    assert max(result.counts, key=result.counts.__getitem__) == "101"


def test_every_circuit_of_an_isa_batch_reaches_ibms_wire_unchanged(every_vendor: Sandbox, core: Client) -> None:
    provider: Any = core.device("ibm-kingston").provider
    target = provider.target("ibm_kingston", {})
    asked = []
    for place, angle in ((3, 0.1), (40, 0.2), (3, 0.3)):
        circuit = QuantumCircuit(1, 1)
        circuit.rx(angle, 0)
        circuit.delay(400, 0, "ns")
        circuit.sx(0)
        circuit.measure(0, 0)
        asked.append(transpile(circuit, target=target, initial_layout=[place], optimization_level=0))
    core.submit_list(asked, script_scope("isa"), device="ibm-kingston", shots=50).result(60)
    made = sent_to_ibm(every_vendor)
    # circuits that differ in angles alone travel as one, with a list of numbers
    assert {qubit for one in made for step in one.data for qubit in map(one.qubits.index, step.qubits)} == {3, 40}
    names = {tuple(step.operation.name for step in one.data) for one in made}
    assert names == {tuple(step.operation.name for step in asked[0].data)}


# -- names and metadata ------------------------------------------------------------------------------------------------

NOTES = {"experiment_type": "T1", "xval": 2.5e-05, "qubits": [0, 1], "inner": {"canary-7261": None}}
DEVICES = ["local-aer", "local-noisy", "ionq-simulator", "ionq-forte-1", "ibm-sandbox", "braket-sv1", "braket-garnet",
           "qbraid-bell-1"]  # fmt: skip


def noted(index: int = 0) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name=f"night-{index}", metadata={**NOTES, "index": index})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rz(0.1 + index, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


@pytest.mark.parametrize("device", DEVICES)
def test_metadata_and_names_come_back_in_another_process_and_are_not_sent(
    every_vendor: Sandbox, core: Client, device: str
) -> None:
    result = core.run(noted(), script_scope("one"), device=device, shots=100, timeout=60)
    assert result.provenance["circuits"] == [{"name": "night-0", "metadata": {**NOTES, "index": 0}}]
    batch = core.submit_list([noted(1), noted(2)], script_scope("many"), device=device, shots=100)
    batch.result(60)
    later = Client(Settings(settle_s=0.2))  # the same ledger, nothing kept in memory
    programs = [
        program
        for key in [result.job.key, *(job.key for job in batch.sub_jobs())]
        for program in later.submitter.spec(key).programs
    ]
    assert [(one.name, one.metadata) for one in programs] == [
        (f"night-{index}", {**NOTES, "index": index}) for index in range(3)
    ]
    assert later.find(result.job.key).name == "night-0"
    assert all(one.circuit().metadata == dict(one.metadata) for one in programs)
    later.ledger.close()
    requests = [every_vendor.admin.job(job["id"])["request"] for job in every_vendor.admin.jobs()]
    assert "canary-7261" not in json.dumps(requests)
    if requests:
        assert len(requests) >= 2


def test_compiling_keeps_names_and_metadata_and_notes_what_was_asked(core: Client) -> None:
    for device in ("braket-garnet", "ionq-forte-1", "ibm-sandbox", "local-noisy"):
        result = core.run(noted(), script_scope("c"), device=device, shots=100, compile=1, timeout=60)
        (ran,) = core.submitter.spec(result.job.key).programs
        assert ran.name == "night-0"
        assert {key: ran.metadata[key] for key in NOTES} == NOTES
        assert set(ran.metadata) - {*NOTES, "index"} <= {ASKED}


def test_each_door_names_its_program(core: Client) -> None:
    from braket.circuits import Circuit
    from braket.ir.openqasm import Program as Ir

    circuit = noted()
    text = qasm3.dumps(circuit)
    read = core.device("ionq-simulator").provider.read
    json_circuit = {"qubits": 1, "circuit": [{"gate": "x", "target": 0}], "name": "night-0"}
    named: list[Program | None] = [
        to_program(circuit),
        to_program("// night-0\n" + qasm2.dumps(circuit)),
        to_program("// night-0\n" + text),
        to_program(Ir(source="// night-0\nOPENQASM 3.0;\nbit[1] b;\nqubit[1] q;\nx q[0];\nb[0] = measure q[0];")),
        to_program(Circuit().x(0).measure(0), name="night-0"),
        read(json_circuit),
    ]
    assert [one.name for one in named if one is not None] == ["night-0"] * 6
    assert to_program(circuit, name="other").name == "other"
    # a name is a label: the program is the same
    assert to_program(circuit, name="other") == to_program(circuit)
    assert to_program(circuit).metadata["inner"] == {"canary-7261": None}
