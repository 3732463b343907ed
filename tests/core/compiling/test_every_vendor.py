"""`compile=` and `physical_qubits=` mean the same on every vendor, or are refused with its reason, before a record."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit, transpile
from qiskit.transpiler import generate_preset_pass_manager

from qflows.core.client import Client
from qflows.core.compiling import compile_program, compiled_rows
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.pages import run_page
from qflows.primitives import SamplerV2
from qflows.programs import Program
from qflows.programs.notes import ASKED
from qflows.sandbox import Sandbox

# devices that compile on our side of the wire, and the native gates that come out
NATIVE = {
    "braket-garnet": {"r", "cz"},
    "braket-cepheus-1-108q": {"rx", "rz", "cz"},
    "braket-ibex-q1": {"r", "rz", "rxx"},
    "braket-forte-1": {"gpi", "gpi2", "zz"},
    "ionq-forte-1": {"gpi", "gpi2", "zz"},
    "ionq-simulator-forte-1": {"gpi", "gpi2", "zz"},
    "ibm-sandbox": {"rz", "sx", "x", "cx"},
    "ibm-kingston": {"rz", "sx", "x", "cz"},
    "local-noisy": {"rz", "sx", "x", "cx"},
}
AS_IT_IS = ("local-exact", "local-aer", "local-braket", "braket-sv1", "ionq-simulator", "qbraid-qir-sv")
NOT_GATES = {"measure", "barrier"}


def asymmetric(n_qubits: int = 3) -> QuantumCircuit:
    """Outcome 101 and nothing else, by gates that no device has as they are, and named bits out of order."""
    circuit = QuantumCircuit(n_qubits, n_qubits)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.ry(3.141592653589793, 0)
    circuit.barrier()
    circuit.swap(0, 2)
    circuit.cx(2, 1)
    circuit.measure([0, 1, 2], [0, 2, 1])
    return circuit


RIGHT = "110"  # clbit 2 from qubit 1, clbit 1 from qubit 2


def jobs_in(core: Client) -> int:
    with core.ledger.read() as connection:
        return int(connection.execute(sa.text("select count(*) from jobs")).scalar_one())


def gates_of(program: Program) -> set[str]:
    return set(program.gate_counts()) - NOT_GATES


def run(core: Client, source: Any, device: str, key: str = "k", **wishes: Any) -> Any:
    wishes.setdefault("shots", None if device == "local-exact" else 200)
    return core.run(source, script_scope(key), device=device, timeout=60, **wishes)


def most_often(result: Any) -> str:
    found = result.items[0].counts or result.items[0].probabilities
    return max(found, key=found.__getitem__)


@pytest.mark.parametrize("device", NATIVE)
def test_what_is_shown_before_buying_is_native_and_runs_exactly_as_shown(core: Client, device: str) -> None:
    shown = compile_program(core.device(device), asymmetric(), shots=200)
    assert gates_of(shown.program) <= NATIVE[device]
    assert shown.program.is_verbatim
    assert (shown.depth, shown.two_qubit_gates) == (shown.program.depth, shown.program.n_two_qubit)
    lost = shown.asked.n_two_qubit - shown.two_qubit_gates
    assert shown.removed.get("two-qubit gates", 0) == lost >= 0
    assert set(shown.layout) == {0, 1, 2}
    assert len(set(shown.layout.values())) == 3
    result = run(core, shown.program, device)
    assert most_often(result) == RIGHT
    job = core.find(result.job.key)
    (ran,) = core.submitter.spec(job.key).programs
    assert ran.digest == shown.program.digest
    ((name, asked, bought),) = compiled_rows(core.ledger, [job])
    assert name == shown.asked.name
    assert (asked.two_qubit_gates, asked.depth) == (shown.asked.n_two_qubit, shown.asked.depth)
    assert (bought.two_qubit_gates, bought.depth) == (shown.two_qubit_gates, shown.depth)
    (title, table) = run_page.compiled_section([(name, asked, bought)])
    assert title == "## Submitted → compiled"
    assert f"{asked.two_qubit_gates} → {bought.two_qubit_gates}" in table


@pytest.mark.parametrize("device", NATIVE)
@pytest.mark.parametrize("level", [0, 3])
def test_level_is_honored_where_something_is_compiled_here(core: Client, device: str, level: int) -> None:
    result = run(core, asymmetric(), device, compile=level)
    assert most_often(result) == RIGHT
    ((_, asked, ran),) = compiled_rows(core.ledger, [result.job])
    assert asked.two_qubit_gates == 4
    # level 0 keeps both gates that cancel, and writes a swap as three
    assert (ran.two_qubit_gates >= 6) if level == 0 else (ran.two_qubit_gates <= 4)


@pytest.mark.parametrize("device", AS_IT_IS)
def test_simulator_that_compiles_nothing_says_so_and_runs_what_is_written(core: Client, device: str) -> None:
    if device != "ionq-simulator":  # takes native gates, to which levels compile
        with pytest.raises(ProgramRejected, match="compiles nothing"):
            run(core, asymmetric(), device, compile=2)
    assert jobs_in(core) == 0
    shown = compile_program(core.device(device), asymmetric(), shots=None if device == "local-exact" else 200)
    assert most_often(run(core, shown.program, device)) == RIGHT
    plain = QuantumCircuit(2, 2)
    plain.x(0)
    plain.measure([0, 1], [0, 1])
    assert most_often(run(core, plain, device, "none", compile="none")) == "01"
    with pytest.raises(ProgramRejected, match="physical_qubits names 1|places qubits itself|qubits, physical"):
        run(core, plain, device, "short", physical_qubits=[1])


@pytest.mark.parametrize("wish", [{"compile": 1}, {"compile": "none"}, {"physical_qubits": [0, 1, 2]}])
def test_vendor_that_shows_nothing_refuses_with_its_reason_before_anything_is_recorded(
    core: Client, wish: dict[str, Any]
) -> None:
    with pytest.raises(ProgramRejected, match="qBraid"):
        run(core, asymmetric(), "qbraid-cepheus-1-108q", **wish)
    with pytest.raises(ProgramRejected, match="qBraid"):
        compile_program(core.device("qbraid-cepheus-1-108q"), asymmetric(), shots=100)
    assert jobs_in(core) == 0


def line(n_two: int = 3) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    for _ in range(n_two):
        circuit.cx(0, 1)
        circuit.barrier()
    circuit.measure([0, 1], [0, 1])
    return circuit


PLACES = {
    "ibm-kingston": [101, 100],
    "ibm-sandbox": [3, 4],
    "local-noisy": [3, 4],
    "braket-garnet": [16, 20],
    "braket-cepheus-1-108q": [9, 10],
}


@pytest.mark.parametrize("device", PLACES)
def test_physical_qubits_are_those_that_the_wire_names(every_vendor: Sandbox, core: Client, device: str) -> None:
    chosen = PLACES[device]
    result = run(core, line(), device, compile=1, physical_qubits=chosen)
    assert most_often(result) == "11"
    ((_, asked, ran),) = compiled_rows(core.ledger, [result.job])
    assert (asked.two_qubit_gates, ran.two_qubit_gates) == (3, 3)
    assert sorted(map(int, ran.qubits.split(", "))) == sorted(chosen)
    if device.startswith("ibm"):
        from qiskit_ibm_runtime import RuntimeDecoder

        (sent,) = every_vendor.admin.jobs("ibm")
        body = json.loads(json.dumps(every_vendor.admin.job(sent["id"])["request"]), cls=RuntimeDecoder)
        on_wire = body["params"]["pubs"][0][0]
        assert {on_wire.find_bit(qubit).index for step in on_wire.data for qubit in step.qubits} == set(chosen)
        assert on_wire.count_ops()["cx" if device == "ibm-sandbox" else "cz"] == 3
    if device.startswith("braket"):
        (sent,) = every_vendor.admin.jobs("braket")
        request = every_vendor.admin.job(sent["id"])["request"]
        source = json.loads(request["action"])["source"]
        assert set(re.findall(r"\$(\d+)", source)) == set(map(str, chosen))
        assert "verbatim" in source
        assert "q[" not in source
        prepared = core.device(device).provider.prepare(core.submitter.spec(result.job.key), "0" * 64)
        parameters = json.loads(prepared.body.parameters["deviceParameters"])
        assert parameters["paradigmParameters"]["disableQubitRewiring"] is True


@pytest.mark.parametrize(
    ("device", "qubits", "why"),
    [
        ("ibm-kingston", [0, 50], "physical qubits"),
        ("local-noisy", [0, 4], "without routing|physical qubits"),
        ("braket-garnet", [1, 20], "without routing"),
        ("braket-garnet", [0, 1], "no qubit 0|its qubits are"),
        ("ionq-forte-1", [0, 1], "places qubits itself"),
    ],
)
def test_uncoupled_or_missing_qubits_are_refused_before_anything_is_recorded(
    core: Client, device: str, qubits: list[int], why: str
) -> None:
    with pytest.raises(ProgramRejected, match=why):
        run(core, line(), device, compile=1, physical_qubits=qubits)
    assert jobs_in(core) == 0


@pytest.mark.parametrize("device", ["ibm-kingston", "ibm-sandbox", "local-noisy"])
def test_pass_manager_is_applied_here_and_what_it_made_is_recorded(core: Client, device: str) -> None:
    target = core.device(device)
    provider: Any = target.provider
    manager = generate_preset_pass_manager(
        optimization_level=0,
        target=provider.target(target.profile.device, {}),
        initial_layout=[2, 3],
        seed_transpiler=1,
    )
    result = run(core, line(), device, compile=manager)
    assert most_often(result) == "11"
    (recorded,) = core.submitter.spec(result.job.key).programs
    assert recorded.labels == (2, 3)
    assert recorded.is_verbatim
    assert recorded.metadata[ASKED]["two_qubit_gates"] == 3
    ((_, asked, ran),) = compiled_rows(core.ledger, [result.job])
    assert (asked.two_qubit_gates, ran.two_qubit_gates, ran.qubits) == (3, 3, "2, 3")
    wrong = generate_preset_pass_manager(optimization_level=0, basis_gates=["h", "t", "cx", "rx", "ry"])
    before = jobs_in(core)
    with pytest.raises(ProgramRejected, match="not in the gate set|as it is written"):
        run(core, asymmetric(), device, "other", compile=wrong)
    assert jobs_in(core) == before


def test_pass_manager_keeps_the_observables_on_their_qubits(core: Client) -> None:
    target = core.device("ibm-sandbox")
    provider: Any = target.provider
    manager = generate_preset_pass_manager(
        optimization_level=1,
        target=provider.target(target.profile.device, {}),
        initial_layout=[4, 3],
        seed_transpiler=1,
    )
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.id(1)
    found = run(core, circuit, "ibm-sandbox", compile=manager, observables=["IZ", "ZI"], shots=2000)
    values = [one.value for one in found.items[0].expectations]
    assert values[0] < -0.8
    assert values[1] > 0.8


def test_batch_session_sweep_and_primitives_take_the_same_arguments(core: Client) -> None:
    from qiskit.circuit import Parameter

    angle = Parameter("a")
    turned = QuantumCircuit(2, 2)
    turned.ry(angle, 0)
    turned.cx(0, 1)
    turned.measure([0, 1], [0, 1])
    batch = core.submit_list(
        (turned, [[0.0], [3.141592653589793]]), script_scope("b"), device="braket-garnet", shots=100, compile=2
    )
    found = batch.result(60)
    outcomes = [item.counts or {} for item in found.results if item is not None]
    assert [max(one, key=one.__getitem__) for one in outcomes] == ["00", "11"]
    assert all(ran.two_qubit_gates == 1 for _, _, ran in compiled_rows(core.ledger, batch.sub_jobs()))
    sampled = SamplerV2("local-noisy", shots=100, run_key="s", compile=0, physical_qubits=[3, 4], client=core)
    job = sampled.run([line()])
    assert job.result()[0].data.c.get_counts()
    assert job.batch is not None
    ((_, _, ran),) = compiled_rows(core.ledger, job.batch.sub_jobs())
    assert ran.qubits == "3, 4"
    with core.open_session("ibm-sandbox", "s") as session:
        result = session.run(line(), shots=100, compile=1, physical_qubits=[1, 2], timeout=60)
    ((_, _, ran),) = compiled_rows(core.ledger, [result.job])
    assert ran.qubits == "1, 2"


@pytest.mark.parametrize("device", PLACES)
def test_members_of_a_group_take_the_same_arguments(core: Client, device: str) -> None:
    chosen = PLACES[device]
    wishes: Any = {"shots": 100, "physical_qubits": chosen}
    with core.new_group(f"placed on {device}", run_key="g") as group:
        sent = group.submit(line(), device=device, compile=0, **wishes)
        ran = group.run(line(5), device=device, compile=1, timeout=60, **wishes)
        batch = group.batch([line(7)], device=device, compile=1, **wishes)
        with pytest.raises(ProgramRejected, match="level"):
            group.submit(line(), device=device, compile=9, **wishes)
    assert not group.results(60).failed()
    rows = compiled_rows(core.ledger, [core.find(sent.key), ran.job, *batch.sub_jobs()])
    assert [(asked.two_qubit_gates, bought.two_qubit_gates) for _, asked, bought in rows] == [(3, 3), (5, 5), (7, 7)]
    assert all(sorted(map(int, bought.qubits.split(", "))) == sorted(chosen) for _, _, bought in rows)


@pytest.mark.parametrize("device", ["ibm-kingston", "local-noisy"])
def test_gates_in_branches_count_when_qubits_are_chosen(core: Client, device: str) -> None:
    circuit = QuantumCircuit(4, 4)
    circuit.x([0, 3])
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ccx(0, 3, 1)
    circuit.measure([0, 1, 2, 3], [0, 1, 2, 3])
    shown = compile_program(core.device(device), circuit, shots=100)
    assert shown.two_qubit_gates <= 30  # 123 to 171 where Qiskit places qubits without them
    assert most_often(run(core, circuit, device)) == "1011"


@pytest.mark.parametrize(
    ("compile", "why"), [("fast", "pass manager"), (4, "level"), (True, "level"), (object(), "level")]
)
def test_wishes_that_mean_nothing_are_refused(core: Client, compile: Any, why: str) -> None:
    with pytest.raises(ProgramRejected, match=why):
        run(core, line(), "local-noisy", compile=compile)
    for unordered in ([1, 1], {3, 4}, {0: 3, 1: 4}, "34"):
        with pytest.raises(ProgramRejected, match="physical_qubits"):
            run(core, line(), "local-noisy", physical_qubits=unordered)
    with pytest.raises(ProgramRejected, match="plain JSON values: object is not one"):
        run(core, line(), "local-noisy", options={"noise_model": object()})
    with pytest.raises(ProgramRejected, match="disagree"):
        run(core, line(), "local-noisy", compile=1, options={"compile": 2})
    assert jobs_in(core) == 0


def test_circuit_in_the_devices_own_gates_runs_as_it_is_on_ibm(core: Client) -> None:
    provider: Any = core.device("ibm-kingston").provider
    isa = transpile(line(), target=provider.target("ibm_kingston", {}), initial_layout=[100, 101], optimization_level=0)
    result = run(core, isa, "ibm-kingston")
    compiled = result.items[0].metadata["compiled"]
    assert compiled["as_written"] is True
    assert compiled["layout"] == [100, 101]
