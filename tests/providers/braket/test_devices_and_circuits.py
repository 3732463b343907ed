"""Limits are the device's own document; the wire names qubits, barriers and branches, or the job is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from braket_devices import BUCKET, CEPHEUS, EMERALD, ENTERPRISE, FORTE, GARNET, IBEX, SV1, described
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Gate

from qflows.core import profiles
from qflows.errors import ProgramRejected, Throttled
from qflows.programs import Program, to_program
from qflows.programs.features import Feature
from qflows.protocol import JobSpec
from qflows.providers import connect
from qflows.providers.braket.adapter import BraketProvider
from qflows.providers.braket.devices import Device
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, run, send_job

RESERVATION = "arn:aws:braket:eu-north-1:123456789012:reservation/a1b2"
PAIR = frozenset({Feature.BARRIER, Feature.PHYSICAL})


def spec(*programs: Program, device: str = GARNET, shots: int = 100, **options: Any) -> JobSpec:
    return JobSpec("braket", device, programs or (bell(),), shots, options=options)


def sent(sandbox: Sandbox) -> dict[str, Any]:
    """The action of the newest task."""
    newest = max(sandbox.admin.jobs("braket"), key=lambda job: job["seq"])
    return json.loads(sandbox.admin.job(newest["id"])["request"]["action"])


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        (GARNET, (20, 1, 20_000, 100, 200_000, tuple(range(1, 21)), False, None)),
        (EMERALD, (54, 1, 20_000, 100, 200_000, tuple(range(1, 55)), False, None)),
        (IBEX, (12, 1, 2_000, 100, 10_000, None, False, None)),
        (CEPHEUS, (107, 10, 50_000, 100, 200_000, (*range(8), *range(9, 108)), False, None)),
        (FORTE, (36, 100, 5_000, 100, 200_000, None, True, None)),
        (SV1, (34, 1, 100_000, 1, None, None, True, 35)),
    ],
    ids=lambda value: str(value).rsplit("/", 1)[-1][:14],
)
def test_limits_are_those_of_the_device_s_document(provider: BraketProvider, device: str, wanted: Any) -> None:
    found = provider.limits(device)
    assert wanted == (
        found.max_qubits,
        found.min_shots,
        found.max_shots,
        found.max_programs,
        found.max_total_shots,
        found.labels,
        found.measures_all,
        found.max_unfinished,
    )


def test_program_sets_follow_the_document_and_not_the_name(provider: BraketProvider, sandbox: Sandbox) -> None:
    assert provider.limits(ENTERPRISE).max_programs == 100
    sandbox.admin.switches("braket", program_sets="")
    assert provider.limits(ENTERPRISE).max_programs == 1


def test_features_are_those_the_document_lists(provider: BraketProvider) -> None:
    dynamic = {Feature.MID_CIRCUIT, Feature.FEED_FORWARD}
    qpu = {Feature.PHYSICAL, Feature.VERBATIM, Feature.NATIVE}
    assert provider.limits(GARNET).takes == qpu | dynamic | {Feature.BARRIER}
    assert provider.limits(CEPHEUS).takes == qpu | {Feature.BARRIER}
    assert provider.limits(FORTE).takes == qpu
    assert provider.limits(SV1).takes == PAIR


def test_graph_with_fewer_nodes_than_qubits_narrows_the_device() -> None:
    # Garnet in 2025-08 had 20 qubits and a graph of 16
    body = described(GARNET, "cz", "prx")
    document = json.loads(body["deviceCapabilities"])
    document["paradigm"]["connectivity"] = {"fullyConnected": False, "connectivityGraph": {"1": ["2"], "2": ["1", "4"]}}
    limits = Device.read(body | {"deviceCapabilities": json.dumps(document)}).limits()
    assert (limits.max_qubits, limits.labels) == (3, (1, 2, 4))


NAMES = sorted(name for name, profile in profiles.shipped().items() if profile.provider == "braket")


@pytest.mark.parametrize("name", NAMES)
def test_named_profile_never_says_more_than_the_device(provider: BraketProvider, name: str) -> None:
    profile = profiles.shipped()[name]
    named, own = profile.limits(), provider.limits(profile.device)
    assert (named.min_shots, named.max_shots) == (own.min_shots, own.max_shots)
    assert named.max_programs in (None, own.max_programs)
    assert named.max_total_shots in (None, own.max_total_shots)
    if not profile.options:
        assert (named.max_qubits, named.labels) == (own.max_qubits, own.labels)
    if not profile.simulator and profile.price:
        cost = provider.estimate(spec(device=profile.device, shots=1000))
        assert cost is not None
        assert float(cost.expected) == pytest.approx(profile.price.per_job + 1000 * profile.price.per_shot)


def test_living_devices_have_profiles_and_retired_ones_have_none() -> None:
    devices = {profiles.shipped()[name].device for name in NAMES}
    assert {GARNET, EMERALD, IBEX, CEPHEUS, FORTE, ENTERPRISE, SV1} <= devices
    assert not any("Ankaa" in device for device in devices)


def test_simulator_of_a_user_in_stockholm_runs_where_there_is_one(sandbox: Sandbox) -> None:
    given = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "x", "region": "eu-north-1"}
    provider = connect("braket", given | {"endpoint_url": sandbox.url, "s3_bucket": BUCKET})
    assert ":eu-west-2:" in send_job(provider, spec(device=SV1), key_of("stockholm")).vendor_id


def test_quota_of_a_simulator_is_waited_for_without_asking_again_and_again(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    sandbox.admin.clock("frozen")
    sandbox.admin.switches("braket", concurrent_tasks=1)
    send_job(provider, spec(device=SV1), key_of("first"))
    for _ in range(3):
        with pytest.raises(Throttled, match="quota of unfinished tasks|quota allows") as caught:
            send_job(provider, spec(device=SV1), key_of("second"))
    assert caught.value.retry_after_s
    assert sandbox.admin.requests("braket.submit") == 2  # one of them refused by the vendor, the others kept back here


# -- measurement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [SV1, FORTE], ids=lambda arn: arn.rsplit("/", 1)[1])
def test_partial_measurement_is_completed_and_the_asked_columns_come_back(
    provider: BraketProvider, sandbox: Sandbox, device: str
) -> None:
    circuit = QuantumCircuit(4)
    circuit.add_register(ClassicalRegister(3, "c"))
    circuit.x([1, 3])
    circuit.measure([3, 0], [0, 2])
    (item,) = run(provider, spec(to_program(circuit), device=device), key_of("partial", device)).items
    assert item.counts == {"001": 100}
    assert sent(sandbox)["source"].count("measure") == 4


def test_partial_measurement_stays_partial_where_it_is_taken(provider: BraketProvider, sandbox: Sandbox) -> None:
    circuit = QuantumCircuit(3, 1)
    circuit.x(1)
    circuit.measure(1, 0)
    assert run(provider, spec(to_program(circuit)), key_of("one")).items[0].counts == {"1": 100}
    assert sent(sandbox)["source"].count("measure") == 1


def test_qubit_that_is_read_into_two_bits_is_measured_once(provider: BraketProvider, sandbox: Sandbox) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.measure([0, 1, 0], [0, 1, 2])
    for device in (SV1, GARNET):
        result = run(provider, spec(to_program(circuit), device=device), key_of("twice", device))
        assert result.items[0].counts == {"101": 100}
        assert sent(sandbox)["source"].count("measure") == 2


# -- physical qubits, barriers, delays, branches ---------------------------------------------------------------------


def on_own_qubits(*, width: int = 9) -> Program:
    circuit = QuantumCircuit(width, 2)
    circuit.r(3.141592653589793, 0.0, 5)
    circuit.cz(5, 6)
    circuit.measure([6, 5], [0, 1])
    return to_program(circuit)


@pytest.mark.parametrize("options", [{"verbatim": True}, {"disable_qubit_rewiring": True}], ids=str)
def test_wire_names_the_qubits_that_the_program_names(
    provider: BraketProvider, sandbox: Sandbox, options: dict[str, bool]
) -> None:
    (item,) = run(provider, spec(on_own_qubits(), **options), key_of("own", *options)).items
    assert item.counts == {"10": 100}
    source = sent(sandbox)["source"]
    assert ("$5, $6" in source, "q[" in source) == (True, False)
    assert ("pragma braket verbatim" in source) == ("verbatim" in options)
    (job,) = sandbox.admin.jobs("braket")
    assert json.loads(job["facts"]["deviceParameters"])["paradigmParameters"]["disableQubitRewiring"] is True


def test_own_circuit_of_braket_keeps_its_qubits_and_its_box(provider: BraketProvider, sandbox: Sandbox) -> None:
    braket = pytest.importorskip("braket.circuits")
    boxed = braket.Circuit().add_verbatim_box(braket.Circuit().prx(5, 3.141592653589793, 0).cz(5, 6)).measure([5, 6])
    (item,) = run(provider, spec(to_program(boxed)), key_of("boxed")).items
    assert item.counts == {"01": 100}
    source = sent(sandbox)["source"]
    assert "#pragma braket verbatim\nbox{" in source
    assert "cz $5, $6;" in source
    assert "measure $5" in source


def test_explicit_false_is_sent(provider: BraketProvider, sandbox: Sandbox) -> None:
    run(provider, spec(disable_qubit_rewiring=False), key_of("false"))
    (job,) = sandbox.admin.jobs("braket")
    assert json.loads(job["facts"]["deviceParameters"])["paradigmParameters"]["disableQubitRewiring"] is False


def test_barriers_are_passed_on_where_the_device_takes_them_and_refused_where_it_compiles_without(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.barrier()
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    folded = to_program(circuit)
    for device in (GARNET, CEPHEUS):
        assert run(provider, spec(folded, device=device), key_of("barrier", device)).items[0].counts == {"00": 100}
        assert "barrier q[0], q[1];" in sent(sandbox)["source"]
    assert run(provider, spec(folded, device=SV1), key_of("barrier", SV1)).items[0].counts == {"00": 100}
    assert "barrier" not in sent(sandbox)["source"]
    for device in (FORTE, IBEX):
        with pytest.raises(ProgramRejected, match="barrier"):
            provider.prepare(spec(folded, device=device), "k")
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.measure_all()  # its barrier keeps nothing apart
    assert run(provider, spec(to_program(circuit), device=FORTE), key_of("all")).items[0].counts == {"01": 100}


@pytest.mark.parametrize("device", [SV1, GARNET, FORTE], ids=lambda arn: arn.rsplit("/", 1)[1])
@pytest.mark.parametrize("verbatim", [False, True])
def test_delays_are_refused_before_anything_is_recorded(provider: BraketProvider, device: str, verbatim: bool) -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.r(3.14, 0.0, 1)
    circuit.delay(500, 1, unit="us")
    circuit.measure(1, 0)
    options = {"verbatim": True} if verbatim and device != SV1 else {}
    with pytest.raises(ProgramRejected, match="delay"):
        provider.check(spec(to_program(circuit), device=device, **options))


def test_qubit_that_would_follow_two_measured_ones_is_refused_before_it_is_sent(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.measure([0, 1], [0, 1])
    for clbit in (0, 1):
        with circuit.if_test((circuit.clbits[clbit], 1)):
            circuit.x(2)
    circuit.measure(2, 2)
    with pytest.raises(ProgramRejected, match="qubit 2 follow the measurements of 0 and 1; on Garnet .* one measured"):
        provider.prepare(spec(to_program(circuit)), "k")
    assert sandbox.admin.jobs("braket") == []


@pytest.mark.parametrize("labels", [(1,), (0, 2), (5, 1)])
def test_simulator_without_qubits_of_its_own_gives_the_bits_of_labeled_ones(
    provider: BraketProvider, labels: tuple[int, ...]
) -> None:
    measures = "".join(f"b[{bit}] = measure ${label};" for bit, label in enumerate(labels))
    text = f'OPENQASM 3.0; include "stdgates.inc"; bit[{len(labels)}] b; x ${labels[0]}; {measures}'
    (item,) = run(provider, spec(to_program(text), device=SV1), key_of(str(labels))).items
    assert item.counts == {"1".rjust(len(labels), "0"): 100}


def test_branches_run_on_iqm_as_an_experiment_and_nowhere_else(sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", qpu_noise=False)
    given = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "x", "region": "us-east-1"}
    # the emulator first imports Braket's interpreter, which takes seconds
    provider = connect("braket", given | {"endpoint_url": sandbox.url, "s3_bucket": BUCKET}, timeout_s=60.0)
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    program = to_program(circuit)
    (item,) = run(provider, spec(program), key_of("branch")).items
    assert item.counts == {"11": 100}
    assert "if (b[0])" in sent(sandbox)["source"]
    (job,) = sandbox.admin.jobs("braket")
    assert job["facts"]["experimental"] == {"enabled": "ALL"}
    with pytest.raises(ProgramRejected, match="experimental_capabilities"):
        provider.prepare(spec(program, experimental_capabilities="NONE"), "k")
    for device in (SV1, FORTE, CEPHEUS):
        with pytest.raises(ProgramRejected, match="measurements at the end only|feed-forward"):
            provider.check(spec(program, device=device))


def test_native_gate_of_another_vendor_is_refused(provider: BraketProvider) -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.append(Gate("gpi", 1, [0.5]), [1])
    circuit.measure(1, 0)
    with pytest.raises(ProgramRejected, match="gpi is not native on Garnet"):
        provider.prepare(spec(to_program(circuit), verbatim=True), "k")


# -- options and labels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "options"),
    [
        (SV1, {"verbatim": True}),
        (SV1, {"resilience": 1}),
        (SV1, {"memory": "no"}),
        (SV1, {"memory": 1}),
        (GARNET, {"disable_qubit_rewiring": "false"}),
        (GARNET, {"error_mitigation": "debias"}),
        (FORTE, {"error_mitigation": "sharpen"}),
        (FORTE, {"experimental_capabilities": "ALL"}),
        (GARNET, {"experimental_capabilities": "all"}),
        (GARNET, {"reservation_arn": ""}),
        (GARNET, {"reservation_arn": "a1b2"}),
        (SV1, {"reservation_arn": RESERVATION}),
        (GARNET, {"verbatim": "true"}),
        (GARNET, {"literal_angles": None}),
    ],
    ids=str,
)
def test_wrong_option_is_refused_before_anything_is_sent(
    provider: BraketProvider, sandbox: Sandbox, device: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ProgramRejected, match=next(iter(options))):
        provider.check(spec(device=device, shots=5000, **options))
    assert sandbox.admin.requests("braket.submit") == 0


def test_options_are_listed_by_device(provider: BraketProvider) -> None:
    assert set(provider.options_model(SV1).model_fields) == {"memory", "literal_angles"}
    assert "error_mitigation" in provider.options_model(FORTE).model_fields
    assert "experimental_capabilities" in provider.options_model(GARNET).model_fields
    assert all(field.description for field in provider.options_model(FORTE).model_fields.values())


def test_open_reservation_context_is_named_and_not_ignored(
    provider: BraketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what `with DirectReservation(...)` of the SDK sets
    monkeypatch.setenv("AMZN_BRAKET_RESERVATION_DEVICE_ARN", GARNET)
    monkeypatch.setenv("AMZN_BRAKET_RESERVATION_TIME_WINDOW_ARN", RESERVATION)
    with pytest.raises(ProgramRejected, match="DirectReservation"):
        provider.check(spec())
    provider.check(spec(reservation_arn=RESERVATION))
    provider.check(spec(device=EMERALD))


@pytest.mark.parametrize(
    "tags",
    [
        {f"t{i}": "v" for i in range(49)},
        {"n" * 129: "v"},
        {"n": "v" * 257},
        {"aws:mine": "v"},
        {"qflows:key": "v"},
        {"a,b": "1", "a;b": "2"},
    ],
    ids=["49 tags", "long name", "long value", "reserved", "ours", "the same at AWS"],
)
def test_tags_that_aws_would_cut_are_refused(provider: BraketProvider, tags: dict[str, str]) -> None:
    with pytest.raises(ProgramRejected):
        provider.check(replace(spec(), tags=tags))


def test_forty_eight_tags_arrive_whole(provider: BraketProvider, sandbox: Sandbox) -> None:
    tags = {f"t{i}": "v" * 256 for i in range(48)}
    wanted = replace(spec(), tags=tags, name="bell")
    provider.check(wanted)
    send_job(provider, wanted, key_of("tags"))
    (job,) = sandbox.admin.jobs("braket")
    assert job["facts"]["tags"] == tags | {"qflows:name": "bell", "qflows:key": key_of("tags")}


def test_prepared_job_is_sent_as_it_was_prepared(provider: BraketProvider, sandbox: Sandbox) -> None:
    prepared = provider.prepare(spec(), key_of("prepared"))
    assert sandbox.admin.requests("braket.submit") == 0
    assert provider.send(prepared).vendor_id
    (job,) = sandbox.admin.jobs("braket")
    assert job["key"] == key_of("prepared")
