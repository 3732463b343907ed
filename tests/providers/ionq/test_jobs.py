"""IonQ's own features through the adapter: native gates, IonQ JSON, mid-circuit, memory, prices, devices."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Gate
from qiskit.quantum_info import Statevector

from qflows.errors import NotSent, ProgramRejected, Refused, Unreadable
from qflows.programs import to_program
from qflows.protocol import JobSpec, Provider
from qflows.providers.ionq import results, wire
from qflows.providers.ionq.adapter import IonQProvider
from qflows.sandbox import Sandbox
from qflows.testing import (
    Target,
    bell,
    counts_of,
    key_of,
    read_result,
    run,
    send_job,
    spec_of,
    total_variation,
    variation_bound,
    wait,
)

SIMULATOR, QPU = Target("simulator"), Target("qpu.forte-1")
ARIA = Target("simulator", {"noise_model": "aria-1"})
SHOTS = 4000

# -- native gates and IonQ JSON --------------------------------------------------------------------------------------

NATIVE = [
    {"gate": "gpi2", "target": 0, "phase": 0.1},
    {"gate": "gpi", "target": 1, "phase": -0.23},
    {"gate": "gpi2", "target": 2, "phase": 0.37},
    {"gate": "ms", "targets": [2, 0], "phases": [0.11, -0.2], "angle": 0.17},
    {"gate": "zz", "targets": [0, 1], "angle": 0.19},
    {"gate": "gpi2", "target": 1, "phase": 0.6},
    {"gate": "ms", "targets": [1, 2], "phases": [0.3, 0.05]},
]


def native_matrix(gate: dict) -> np.ndarray:
    """IonQ's matrices from their documentation; first target least significant. Phases and angles in turns."""

    def gpi(phase: float) -> np.ndarray:
        turn = np.exp(2j * np.pi * phase)
        return np.array([[0, 1 / turn], [turn, 0]])

    if gate["gate"] == "gpi":
        return gpi(gate["phase"])
    if gate["gate"] == "gpi2":
        turn = np.exp(2j * np.pi * gate["phase"])
        return np.array([[1, -1j / turn], [-1j * turn, 1]]) / np.sqrt(2)
    if gate["gate"] == "zz":
        turn = np.exp(1j * np.pi * gate["angle"])
        return np.diag([1 / turn, turn, turn, 1 / turn])
    angle = np.pi * gate.get("angle", 0.25)
    pair = np.kron(gpi(gate["phases"][1]), gpi(gate["phases"][0]))
    return np.cos(angle) * np.eye(4) - 1j * np.sin(angle) * pair


def native_probabilities() -> np.ndarray:
    circuit = QuantumCircuit(3)
    for gate in NATIVE:
        circuit.unitary(native_matrix(gate), gate.get("targets", [gate.get("target")]))
    return Statevector(circuit).probabilities()


def expected_native() -> dict[str, float]:
    return {f"{state:03b}": float(p) for state, p in enumerate(native_probabilities()) if p > 1e-12}


def test_ionq_json_with_native_gates_runs_as_its_matrices_say(provider: Provider, sandbox: Sandbox) -> None:
    program = provider.read({"gateset": "native", "qubits": 3, "circuit": NATIVE})
    assert program is not None
    (item,) = run(provider, spec_of(provider, SIMULATOR, program, shots=SHOTS), key_of("native")).items
    assert item.probabilities is not None
    assert total_variation(item.probabilities, expected_native()) < 1e-9
    sent = sandbox.admin.job(sandbox.admin.jobs("ionq")[0]["id"])["request"]["input"]
    assert sent["gateset"] == "native"
    # the default angle is written out, everything else is as it was given
    assert sent["circuit"] == [*NATIVE[:-1], NATIVE[-1] | {"angle": 0.25}]


def test_native_gates_of_qiskit_ionq_run_as_their_matrices_say(provider: Provider) -> None:
    gates = pytest.importorskip("qiskit_ionq")
    circuit = QuantumCircuit(3, 3)
    made = {"gpi": gates.GPIGate, "gpi2": gates.GPI2Gate, "zz": gates.ZZGate}
    for gate in NATIVE:
        if gate["gate"] == "ms":
            circuit.append(gates.MSGate(*gate["phases"], gate.get("angle", 0.25)), gate["targets"])
        else:
            angle = gate.get("phase", gate.get("angle"))
            circuit.append(made[gate["gate"]](angle), gate.get("targets", [gate.get("target")]))
    circuit.measure(range(3), range(3))
    spec = spec_of(provider, ARIA, to_program(circuit), shots=SHOTS)
    counts = counts_of(run(provider, spec, key_of("n2")).items[0])
    found, bound = counts.probabilities(), variation_bound(expected_native(), SHOTS)
    assert total_variation(found, expected_native()) <= bound + 0.1


@pytest.mark.parametrize("backend", ["qpu.forte-1", "qpu.forte-enterprise-1"])
def test_forte_runs_zz_and_is_not_sent_ms(provider: Provider, sandbox: Sandbox, backend: str) -> None:
    def native(*gates: dict) -> JobSpec:
        program = provider.read({"gateset": "native", "qubits": 2, "circuit": list(gates)})
        assert program is not None
        return spec_of(provider, Target(backend), program, shots=1000)

    turns = [{"gate": "gpi", "target": 0, "phase": 0.0}, {"gate": "zz", "targets": [0, 1], "angle": 0.25}]
    assert counts_of(run(provider, native(*turns), key_of("zz", backend)).items[0])["01"] > 950
    with pytest.raises(ProgramRejected, match=r"no native gate ms; its native gates are gpi, gpi2, nop, zz"):
        provider.check(native({"gate": "ms", "targets": [0, 1], "phases": [0, 0]}))
    assert sandbox.admin.count_jobs("ionq") == 1


def test_ionq_json_of_abstract_gates_keeps_every_gate(provider: Provider) -> None:
    circuit = [
        {"gate": "h", "targets": [0, 1, 2]},
        {"gate": "not", "target": 1},
        {"gate": "x", "targets": [2], "controls": [0, 1]},
        {"gate": "cnot", "target": 0, "control": 2},
        {"gate": "rx", "target": 0, "rotation": 0.7},
        {"gate": "v", "target": 1, "control": 0},
        {"gate": "vi", "target": 2},
        {"gate": "xx", "targets": [0, 2], "rotation": 0.4},
        {"gate": "z", "target": 2, "rotation": 0.3, "control": 1},
        {"gate": "swap", "targets": [1, 2]},
        {"gate": "ti", "target": 0},
        {"gate": "ry", "target": 0, "rotation": 1.1},
    ]
    ours = QuantumCircuit(3)
    ours.h([0, 1, 2])
    ours.x(1)
    ours.ccx(0, 1, 2)
    ours.cx(2, 0)
    ours.rx(0.7, 0)
    ours.csx(0, 1)
    ours.sxdg(2)
    ours.rxx(0.4, 0, 2)
    ours.cp(0.3, 1, 2)
    ours.swap(1, 2)
    ours.tdg(0)
    ours.ry(1.1, 0)
    program = provider.read({"qubits": 3, "circuit": circuit})
    assert program is not None
    (item,) = run(provider, spec_of(provider, SIMULATOR, program, shots=10), key_of("json")).items
    expected = {f"{s:03b}": float(p) for s, p in enumerate(Statevector(ours).probabilities()) if p > 1e-12}
    assert item.probabilities is not None
    assert total_variation(item.probabilities, expected) < 1e-9


@pytest.mark.parametrize(
    "document",
    [
        {"qubits": 1, "circuit": [{"gate": "warp", "target": 0}]},
        {"qubits": 1, "circuit": [{"gate": "x", "target": 1}]},
        {"qubits": 1, "circuit": [{"gate": "rx", "target": 0}]},
        {"qubits": 1, "circuit": [{"gate": "x"}]},
        {"qubits": 1, "circuit": ["x"]},
        {"qubits": 1, "circuit": 7},
        {"qubits": True, "circuit": []},
        {"qubits": 10**9, "circuit": []},
        {"qubits": 2, "circuit": [{"gate": "cnot", "target": 0}]},
        {"qubits": 2, "circuit": [{"gate": "rx", "target": 0, "rotation": "much"}]},
        {"qubits": 2, "circuit": [{"gate": "rx", "target": 0, "rotation": float("nan")}]},
        {"qubits": 2, "circuit": [{"gate": "x", "target": 0, "control": 0}]},
        {"qubits": 2, "gateset": "native", "circuit": [{"gate": "h", "target": 0}]},
        {"qubits": 2, "gateset": "native", "circuit": [{"gate": "ms", "targets": [0, 1], "phases": [0.1]}]},
        {"qubits": 2, "gateset": "klingon", "circuit": []},
    ],
    ids=str,
)
def test_malformed_ionq_json_is_rejected_with_its_place(provider: Provider, document: dict) -> None:
    with pytest.raises(ProgramRejected, match="IonQ JSON"):
        provider.read(document)


@pytest.mark.parametrize("source", [None, 3, "OPENQASM 3;", {"circuit": []}, [], {"qubits": 2}])
def test_foreign_objects_are_left_to_other_readers(provider: Provider, source: object) -> None:
    assert provider.read(source) is None


# -- mid-circuit -----------------------------------------------------------------------------------------------------


def test_mid_circuit_measurement_on_a_noise_model_keeps_registers(provider: Provider) -> None:
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(1, "first"), ClassicalRegister(3, "last"))
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.x(1)
    circuit.measure([0, 1], [1, 3])
    counts = counts_of(run(provider, spec_of(provider, ARIA, to_program(circuit), shots=400), key_of("mid")).items[0])
    assert counts.shots == 400
    assert counts["100 1"] > 360


@pytest.mark.parametrize("programs", [1, 2])
def test_mid_circuit_where_ionq_cannot_is_refused_before_sending(provider: Provider, programs: int) -> None:
    circuit = QuantumCircuit(1, 2)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    target = SIMULATOR if programs == 1 else ARIA
    with pytest.raises(ProgramRejected, match="mid-circuit"):
        provider.check(spec_of(provider, target, *[to_program(circuit)] * programs, shots=10))


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["both", "spec", "legacy"])
@pytest.mark.parametrize("target", [SIMULATOR, ARIA, QPU], ids=str)
def test_memory_is_in_shot_order_and_adds_up(
    provider: Provider, sandbox: Sandbox, target: Target, profile: str
) -> None:
    sandbox.admin.switches("ionq", result_profile=profile)
    assert run(provider, spec_of(provider, target, bell(), shots=9), key_of("none")).items[0].memory is None
    wanted = Target(target.device_id, {**target.options, "memory": True})
    for programs in (1, 2):
        spec = spec_of(provider, wanted, *[bell(str(i)) for i in range(programs)], shots=300)
        for item in run(provider, spec, key_of("memory", target, programs)).items:
            assert item.memory is not None
            assert len(item.memory) == 300
            assert {key: item.memory.count(key) for key in set(item.memory)} == counts_of(item)


def test_compilation_options_reach_the_wire(provider: Provider, sandbox: Sandbox) -> None:
    run(provider, spec_of(provider, Target("simulator", {"opt": 0, "precision": "1E-3"}), bell(), shots=5), key_of("o"))
    sent = sandbox.admin.job(sandbox.admin.jobs("ionq")[0]["id"])["request"]
    assert sent["settings"]["compilation"] == {"opt": 0, "precision": "1E-3"}


def test_the_job_bears_key_name_and_labels_for_people(provider: Provider, sandbox: Sandbox) -> None:
    key = key_of("named")
    send_job(provider, spec_of(provider, SIMULATOR, bell(), shots=10, name="my Bell"), key)
    sent = sandbox.admin.job(sandbox.admin.jobs("ionq", key=key)[0]["id"])["request"]
    assert sent["name"] == "my Bell"
    assert all(isinstance(value, str) for value in sent["metadata"].values())
    assert len(sent["metadata"]) <= 6


def test_a_long_list_of_circuits_leaves_the_readable_header_out(provider: Provider, sandbox: Sandbox) -> None:
    circuits = []
    for i in range(900):
        circuit = QuantumCircuit(8, 8, name=f"circuit-{i:04d}-{i * 7919 % 1000}")
        circuit.x(i % 8)
        circuit.measure(np.random.default_rng(i).permutation(8), range(8))
        circuits.append(to_program(circuit))
    spec = spec_of(provider, SIMULATOR, *circuits, shots=10)
    metadata = wire.payload(spec, key_of("long"))["metadata"]
    assert all(len(value) <= 40_000 for value in metadata.values())


# -- devices and money -----------------------------------------------------------------------------------------------


def test_devices_show_width_queue_and_availability(provider: Provider) -> None:
    found = {device.device_id: device for device in provider.devices()}
    living = {"simulator", "qpu.forte-1", "qpu.forte-enterprise-1"}
    assert set(found) == living | {"qpu.aria-1", "qpu.aria-2", "qpu.harmony"}
    assert (found["simulator"].n_qubits, found["qpu.forte-1"].n_qubits) == (29, 36)
    assert found["simulator"].is_simulator
    assert not found["qpu.forte-1"].is_simulator
    assert found["qpu.forte-1"].queue_s == 60
    assert {name for name, device in found.items() if device.is_available} == living
    assert found["qpu.aria-1"].note == "retired"


def test_limits_come_from_the_backend_and_unknown_ones_are_refused(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", qpu_qubits=11)
    assert provider.limits("qpu.forte-1").max_qubits == 11
    assert provider.limits("simulator").max_qubits == 29
    assert (provider.limits("qpu.forte-1").max_shots, provider.limits("qpu.forte-1").mid_circuit) == (1_000_000, False)
    with pytest.raises(Refused):
        provider.limits("qpu.nowhere")
    with pytest.raises(Refused, match=r"retired qpu\.aria-1"):
        provider.limits("qpu.aria-1")


@pytest.mark.parametrize("duration", [1, 500])
def test_delay_is_refused_and_not_left_out(provider: Provider, duration: int) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(duration, 0, unit="us")
    circuit.measure(0, 0)
    with pytest.raises(ProgramRejected, match="have no delays"):
        provider.check(spec_of(provider, SIMULATOR, to_program(circuit), shots=10))


def test_branch_is_refused_with_the_vendors_reason(provider: Provider) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    with pytest.raises(ProgramRejected, match="branches on no target"):
        provider.check(spec_of(provider, ARIA, to_program(circuit), shots=10))


def folded(*, is_native: bool) -> QuantumCircuit:
    """Three gates that a compiler merges into one unless a barrier keeps them apart."""
    circuit = QuantumCircuit(1, 1)
    for place in range(3):
        if is_native:
            circuit.append(Gate("gpi", 1, [0.0]), [0])
        else:
            circuit.x(0)
        if place < 2:
            circuit.barrier()
    circuit.measure(0, 0)
    return circuit


def test_barrier_is_kept_by_what_is_sent_as_it_is_and_else_refused(provider: Provider, sandbox: Sandbox) -> None:
    kept = spec_of(provider, QPU, to_program(folded(is_native=True)), shots=500)
    assert counts_of(run(provider, kept, key_of("barrier")).items[0])["1"] > 470
    sent = sandbox.admin.job(sandbox.admin.jobs("ionq")[0]["id"])["request"]["input"]
    assert (sent["gateset"], [gate["gate"] for gate in sent["circuit"]]) == ("native", ["gpi"] * 3)
    compiled = to_program(folded(is_native=False))
    for target in (QPU, ARIA):
        with pytest.raises(ProgramRejected, match="across barrier"):
            provider.check(spec_of(provider, target, compiled, shots=10))
    # without errors nothing that a compiler does can be seen
    assert counts_of(run(provider, spec_of(provider, SIMULATOR, compiled, shots=7), key_of("b")).items[0]) == {"1": 7}
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.measure_all()  # its barrier separates nothing
    assert counts_of(run(provider, spec_of(provider, QPU, to_program(circuit), shots=100), key_of("all")).items[0])


@pytest.mark.parametrize("target", [SIMULATOR, QPU], ids=str)
def test_qubit_measured_into_two_bits_at_the_end_is_one_measurement(provider: Provider, target: Target) -> None:
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "meas"), ClassicalRegister(2, "meas0"))
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    circuit.measure([0, 1], [2, 3])
    spec = spec_of(provider, target, to_program(circuit), shots=200)
    counts = counts_of(run(provider, spec, key_of("twice", target)).items[0])
    assert all(key[:2] == key[3:] for key in counts)
    assert counts["10 10"] > 180


@pytest.mark.parametrize("device", ["simulator", "qpu.forte-1"])
def test_options_name_what_the_vendor_does_by_itself_and_what_it_costs(provider: Provider, device: str) -> None:
    fields = provider.options_model(device).model_json_schema()["properties"]
    assert all(field["description"] for field in fields.values())
    assert ("noise_model" in fields, "debiasing" in fields) == (device == "simulator", device != "simulator")
    if device != "simulator":
        assert "168.20" in fields["debiasing"]["costs"]
        assert "500 shots" in fields["debiasing"]["vendor_default"]


def test_estimate_grows_with_gates_and_is_free_on_the_simulator(provider: Provider) -> None:
    small = provider.estimate(spec_of(provider, QPU, bell(), shots=1000))
    large = provider.estimate(spec_of(provider, QPU, *[bell()] * 30, shots=10_000))
    free = provider.estimate(spec_of(provider, SIMULATOR, bell(), shots=1000))
    assert small is not None
    assert large is not None
    assert free is not None
    assert 0 < small.expected < large.expected
    assert (small.unit, small.bound) == ("usd", small.expected)
    assert free.is_free


def test_cost_of_a_finished_job_is_what_was_billed(provider: Provider) -> None:
    result = run(provider, spec_of(provider, QPU, bell(), shots=1000), key_of("cost"))
    assert result.cost is not None
    assert result.cost.amount > 0
    assert not result.cost.is_estimate
    assert result.started_at is not None
    assert result.finished_at is not None
    assert result.finished_at >= result.started_at


def test_a_cost_that_cannot_be_read_does_not_hide_the_counts(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("status", "ionq.cost", status=404, times=None)
    result = run(provider, spec_of(provider, QPU, bell(), shots=100), key_of("no cost"))
    assert counts_of(result.items[0]).shots == 100
    assert result.cost is None


def test_queued_qpu_job_tells_the_predicted_wait(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    vendor_id = send_job(provider, spec_of(provider, QPU, bell(), shots=10), key_of("queue")).vendor_id
    assert provider.poll([vendor_id])[vendor_id].queue_note == "predicted wait 60 s"


# -- hostile answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [{}, [], "x", None, {"0": 0.5}, {"0": 0.5, "9": 0.5}, {"0": "much"}, {"-1": 1.0}, {"0": float("nan")}, {"00": 2}],
    ids=str,
)
def test_a_body_that_is_no_distribution_is_unreadable(body: object) -> None:
    with pytest.raises(Unreadable):
        results.item_result(bell(), body, spec=JobSpec("ionq", "simulator", (bell(),), 10), seed=1)


def test_links_to_other_hosts_are_not_followed(provider: Provider, sandbox: Sandbox) -> None:
    assert isinstance(provider, IonQProvider)
    vendor_id = send_job(provider, spec_of(provider, SIMULATOR, bell(), shots=10), key_of("link")).vendor_id
    wait(provider, [vendor_id])
    own = f"/jobs/{vendor_id}/results/probabilities"
    for link in ("http://example.invalid/x", "//example.invalid/x", None, 7, "", "example.invalid"):
        assert set(json.loads(provider._http.document(own, url=link))) == {"0", "3"}


@pytest.mark.parametrize("vendor_id", ["../backends", "x/../../v0.4/whoami", "a?b=c", "x#y", "%2e%2e/whoami"])
def test_an_id_cannot_leave_the_path_of_jobs(provider: Provider, sandbox: Sandbox, vendor_id: str) -> None:
    with pytest.raises(Refused):
        read_result(provider, vendor_id, spec_of(provider, SIMULATOR, bell(), shots=10), key_of("path"))
    assert {entry["route"] for entry in sandbox.admin.journal(vendor="ionq")} <= {"ionq.get", None, "", "ionq.unknown"}


def test_redirects_are_not_followed_with_the_key(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("status", "ionq.backends", status=302, times=None)
    with pytest.raises(Exception) as caught:
        provider.devices()
    assert not isinstance(caught.value, NotSent)


def test_gate_of_another_vendor_is_refused(provider: Provider) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.append(Gate("prx", 1, [0.1, 0.2]), [0])
    circuit.measure(0, 0)
    with pytest.raises(ProgramRejected, match="not a native gate"):
        provider.check(spec_of(provider, SIMULATOR, to_program(circuit), shots=10))
