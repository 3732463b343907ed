"""What a finished job gave is kept as documents, and decoded from them alone: shapes as they were captured."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.errors import ProgramRejected, Unreadable
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec, Phase, RawAnswer
from qflows.providers.ionq import results, wire
from qflows.providers.ionq.adapter import IonQProvider
from qflows.sandbox import Sandbox
from qflows.testing import Target, bell, counts_of, key_of, read_result, run, send_job, spec_of, wait

QPU, SIMULATOR, ARIA = Target("qpu.forte-1"), Target("simulator"), Target("simulator", {"noise_model": "aria-1"})


def flip(*qubits: int, width: int = 3, name: str = "flip") -> Program:
    circuit = QuantumCircuit(width, width, name=name)
    for qubit in qubits:
        circuit.x(qubit)
    circuit.measure(range(width), range(width))
    return to_program(circuit)


def early(width: int = 2) -> Program:
    """A bit written in the middle, then the qubit reset and used again."""
    circuit = QuantumCircuit(width, 2, name="early")
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    return to_program(circuit)


def bought(provider: IonQProvider, spec: JobSpec, key: str) -> str:
    provider.check(spec)
    vendor_id = send_job(provider, spec, key).vendor_id
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
    return vendor_id


# -- kept documents --------------------------------------------------------------------------------------------------

KEPT = {
    "one": (SIMULATOR, [flip(0)], ["job", "probabilities"]),
    "paid": (QPU, [flip(0)], ["job", "probabilities", "cost"]),
    "memory": (Target("qpu.forte-1", {"memory": True}), [flip(0)], ["job", "probabilities", "shots", "cost"]),
    "debiased": (Target("qpu.forte-1", {"debiasing": True}), [bell()], ["job", "probabilities", "sharpened", "cost"]),
    "mid-circuit": (ARIA, [early()], ["job", "registers"]),
    "several": (SIMULATOR, [flip(0), flip(1)], ["job", "children/0", "aggregated"]),
    "dry run": (Target("qpu.forte-1", {"dry_run": True}), [flip(0)], ["job", "cost"]),
}


@pytest.mark.parametrize("name", KEPT)
def test_decoding_kept_documents_asks_nobody_and_gives_the_same(
    provider: IonQProvider, sandbox: Sandbox, name: str
) -> None:
    target, programs, documents = KEPT[name]
    spec, key = spec_of(provider, target, *programs, shots=600), key_of("kept", name)
    vendor_id = bought(provider, spec, key)
    raw = provider.fetch(vendor_id, spec)
    assert list(raw.documents) == documents
    seen = len(sandbox.admin.journal(vendor="ionq"))
    first = provider.decode(raw, spec, key)
    again = IonQProvider(base_url="https://nobody.invalid", api_key="x", timeout_s=1).decode(
        RawAnswer(dict(raw.documents)), spec, key
    )
    assert first == again
    assert len(sandbox.admin.journal(vendor="ionq")) == seen


def test_document_that_is_missing_or_torn_is_unreadable(provider: IonQProvider) -> None:
    spec, key = spec_of(provider, QPU, flip(0), shots=10), key_of("torn")
    raw = provider.fetch(bought(provider, spec, key), spec)
    for name in ("job", "probabilities"):
        for torn in (None, b"", b"{", b"[1", b"null", b'{"0": NaN}', b"<html>"):
            left = {n: d for n, d in raw.documents.items() if n != name or torn is not None}
            if torn is not None:
                left[name] = torn
            with pytest.raises(Unreadable):
                provider.decode(RawAnswer(left), spec, key)
    without_cost = {n: d for n, d in raw.documents.items() if n != "cost"}
    assert provider.decode(RawAnswer(without_cost), spec, key).cost is None


# -- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shots", "usd"),
    [({}, 499, 25.79), ({}, 500, 25.79), ({"debiasing": False}, 500, 25.79), ({"debiasing": True}, 500, 168.20)],
    ids=str,
)
def test_no_mitigation_is_bought_that_was_not_asked_for(
    provider: IonQProvider, sandbox: Sandbox, options: dict, shots: int, usd: float
) -> None:
    spec = spec_of(provider, Target("qpu.forte-1", options), bell(), shots=shots)
    estimate = provider.estimate(spec)
    result = run(provider, spec, key_of("money", options, shots))
    sent = sandbox.admin.job(sandbox.admin.jobs("ionq")[0]["id"])["request"]
    asked = bool(options.get("debiasing"))
    assert sent["settings"]["error_mitigation"] == {"debiasing": asked, "symmetry_verification": False}
    assert result.cost is not None
    assert estimate is not None
    assert (result.cost.amount, result.cost.is_estimate) == (usd, False)
    assert (float(estimate.expected), estimate.bound) == (usd, estimate.expected)


def test_sharpened_view_of_a_debiased_job_is_no_other_purchase(provider: IonQProvider, sandbox: Sandbox) -> None:
    target = Target("qpu.forte-1", {"debiasing": True})
    circuit = QuantumCircuit(1, 1)
    circuit.ry(1.0, 0)
    circuit.measure(0, 0)
    for n in (1, 2):
        spec = spec_of(provider, target, *[to_program(circuit)] * n, shots=1000)
        for item in run(provider, spec, key_of("views", n)).items:
            average, sharpened = counts_of(item)["0"] / 1000, item.metadata["sharpened"]["0"]
            assert 0.7 < average < 0.85 < sharpened
    assert sandbox.admin.count_jobs("ionq") == 2
    with pytest.raises(ProgramRejected, match="metadata"):
        provider.check(replace(spec, options={"debiasing": True, "sharpen": True}))


def test_dry_run_ends_with_its_quote_and_can_be_cancelled(provider: IonQProvider, sandbox: Sandbox) -> None:
    spec = spec_of(provider, Target("qpu.forte-1", {"dry_run": True, "debiasing": True}), bell(), shots=500)
    vendor_id = bought(provider, spec, key_of("dry"))
    result = read_result(provider, vendor_id, spec, key_of("dry"))
    assert result.cost is not None
    assert (result.cost.amount, result.cost.is_estimate) == (168.20, True)
    (item,) = result.items
    assert item.counts is None
    assert "dry run" in item.metadata["notes"][0]
    provider.cancel(vendor_id)
    assert provider.poll([vendor_id])[vendor_id].phase is Phase.DONE


def test_what_ionq_did_otherwise_than_asked_is_noted(provider: IonQProvider, sandbox: Sandbox) -> None:
    spec, key = spec_of(provider, QPU, bell(), shots=500), key_of("otherwise")
    raw = provider.fetch(bought(provider, spec, key), spec)
    job = json.loads(raw.documents["job"])
    assert "notes" not in provider.decode(raw, spec, key).metadata
    job["settings"] = {"error_mitigation": {"debiasing": True}}
    changed = RawAnswer({**raw.documents, "job": json.dumps(job).encode()})
    assert provider.decode(changed, spec, key).metadata["notes"] == [
        "debiasing was False in the job as sent and is True in IonQ's record of it"
    ]


def test_counts_of_another_backend_are_not_taken_for_those_of_the_qpu(provider: IonQProvider) -> None:
    spec, key = spec_of(provider, QPU, bell(), shots=10), key_of("elsewhere")
    raw = provider.fetch(bought(provider, spec, key), spec)
    job = json.loads(raw.documents["job"]) | {"backend": "simulator"}
    with pytest.raises(Unreadable, match=r"ran the job on simulator where qpu\.forte-1"):
        provider.decode(RawAnswer({**raw.documents, "job": json.dumps(job).encode()}), spec, key)


def test_completed_job_is_cancelled_by_nobody(provider: IonQProvider, sandbox: Sandbox) -> None:
    """The vendor would turn its status, and paid counts would be taken for none."""
    spec, key = spec_of(provider, QPU, bell(), shots=10), key_of("late cancel")
    vendor_id = bought(provider, spec, key)
    provider.cancel(vendor_id)
    assert sandbox.admin.requests("ionq.cancel") == 0
    assert counts_of(read_result(provider, vendor_id, spec, key).items[0]).shots == 10


def test_estimate_is_read_in_both_shapes_and_by_list_for_a_role_that_may_not_ask(
    provider: IonQProvider, sandbox: Sandbox
) -> None:
    spec = spec_of(provider, QPU, bell(), shots=400)
    for shape in ("rate_card", "rate_information"):
        sandbox.admin.switches("ionq", estimate_shape=shape)
        estimate = provider.estimate(spec)
        assert estimate is not None
        assert estimate.expected == Decimal("25.79")
    sandbox.admin.switches("ionq", estimate_status=401)
    listed = provider.estimate(spec)
    assert listed is not None
    assert listed.bound == Decimal("25.79")
    assert "2026-08" in listed.source


def test_estimate_counts_the_gates_as_they_are_billed(provider: IonQProvider) -> None:
    circuit = QuantumCircuit(4, 4)
    circuit.h(0)
    circuit.mcx([0, 1, 2], 3)
    circuit.ccx(0, 1, 2)
    circuit.cx(0, 1)
    circuit.measure(range(4), range(4))
    assert wire.billed_gates([to_program(circuit)]) == (1, 6 * 2 + 6 + 1)


# -- bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["both", "spec", "legacy", "v2"])
@pytest.mark.parametrize("qubit", [0, 2])
def test_first_version_counts_from_the_right_and_the_second_from_the_left(
    provider: IonQProvider, sandbox: Sandbox, profile: str, qubit: int
) -> None:
    sandbox.admin.switches("ionq", result_profile=profile)
    spec = spec_of(provider, SIMULATOR, flip(qubit), shots=20)
    assert counts_of(run(provider, spec, key_of("order", profile, qubit)).items[0]) == {f"{1 << qubit:03b}": 20}


def test_captured_second_version_is_read_from_the_left() -> None:
    body = {"probabilities": {"registers": {"output_all": {"100": 0.75, "001": 0.25}}}}
    spec = JobSpec("ionq", "qpu.forte-1", (flip(0),), 8)
    assert results.item_result(flip(0), body, spec=spec, seed=1).counts == {"001": 6, "100": 2}


def test_mid_circuit_job_pins_the_compiler_service(provider: IonQProvider, sandbox: Sandbox) -> None:
    for options, version in (({}, "v0.4"), ({"service_version": "v0.5"}, "v0.5")):
        target = Target("simulator", {"noise_model": "aria-1", **options})
        spec = spec_of(provider, target, early(), shots=200)
        assert counts_of(run(provider, spec, key_of("pinned", options)).items[0])["01"] > 180
        sent = sandbox.admin.jobs("ionq")[-1]["id"]
        assert sandbox.admin.job(sent)["request"]["settings"]["compilation"] == {"service_version": version}


def test_registers_that_the_service_has_flattened_are_unreadable_with_the_reason() -> None:
    with pytest.raises(Unreadable, match="not pinned"):
        results.register_shots(early(), {"shots": [{"registers": {"output_all": [1, 0]}}]}, shots=1)


def test_leaked_shots_are_dropped_and_counted(provider: IonQProvider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", qpu_mid_circuit=True, leaked_share=0.1, qpu_noise=False)
    spec = spec_of(provider, Target("qpu.forte-1", {"memory": True}), early(), shots=100)
    (item,) = run(provider, spec, key_of("leaks")).items
    assert counts_of(item) == {"01": 100}
    assert item.memory == ("01",) * 100
    assert item.metadata["leaked_shots"] == 10
    assert "10 of 110 shots leaked" in item.metadata["notes"][0]


def test_shots_as_ionqs_own_client_has_them_in_its_tests() -> None:
    """qiskit-ionq, 2026-07: a mask of zeros is no leak; a set bit drops the shot."""
    shots: list[dict[str, Any]] = [{"registers": {"b": [1, 0], "output_all": [1]}}] * 3
    shots += [{"registers": {"b": [0, 0]}, "leakage_bits": [0]}, {"registers": {"b": [1, 1]}, "leakage_bits": [0, 1]}]
    found = results.register_shots(early(), {"shots": shots}, shots=4)
    assert found.counts == {"00": 1, "01": 3}
    assert found.metadata["leaked_shots"] == 1
    with pytest.raises(Unreadable, match="3 shots where 4"):
        results.register_shots(early(), {"shots": shots[:3]}, shots=4)


def test_leaks_and_refusals_of_early_measurement_on_a_qpu_cost_nothing(
    provider: IonQProvider, sandbox: Sandbox
) -> None:
    spec = spec_of(provider, QPU, early(), shots=10)
    vendor_id = send_job(provider, spec, key_of("preflight")).vendor_id
    look = wait(provider, [vendor_id])[vendor_id]
    assert (look.phase, look.error_code, look.is_retryable) == (Phase.FAILED, "PreflightError", False)


@pytest.mark.parametrize("order", ["input", "reversed"])
@pytest.mark.parametrize("target", [SIMULATOR, Target("qpu.forte-1", {"memory": True})], ids=str)
def test_children_are_told_apart_by_their_names(
    provider: IonQProvider, sandbox: Sandbox, target: Target, order: str
) -> None:
    sandbox.admin.switches("ionq", children_order=order, qpu_noise=False)
    programs = [flip(k % 3, name="same") for k in range(30)]
    random.Random(5).shuffle(programs)
    spec = spec_of(provider, target, *programs, shots=9)
    found = [counts_of(item) for item in run(provider, spec, key_of("names", target, order)).items]
    key_by_digest = {flip(qubit).digest: f"{1 << qubit:03b}" for qubit in range(3)}
    assert found == [{key_by_digest[program.digest]: 9} for program in programs]


def test_children_with_other_names_than_ours_are_unreadable_and_nameless_ones_in_order(provider: IonQProvider) -> None:
    spec, key = spec_of(provider, SIMULATOR, flip(0), flip(1), shots=9), key_of("nameless")
    raw = provider.fetch(bought(provider, spec, key), spec)

    def renamed(*names: str | None) -> RawAnswer:
        page = json.loads(raw.documents["children/0"])
        for child, name in zip(page["jobs"], names, strict=True):
            child["name"] = name
        return RawAnswer({**raw.documents, "children/0": json.dumps(page).encode()})

    nameless = provider.decode(renamed(None, None), spec, key)
    assert [counts_of(item) for item in nameless.items] == [{"001": 9}, {"010": 9}]
    for names in (("0000 flip", "0000 flip"), ("0000 flip", "other")):
        with pytest.raises(Unreadable, match="names"):
            provider.decode(renamed(*names), spec, key)


# -- rounding --------------------------------------------------------------------------------------------------------


def thirds(digits: int) -> dict[str, float]:
    return {str(state): round(1 / 3, digits) for state in range(3)}


@pytest.mark.parametrize("digits", [2, 3, 4, 6, 12])
def test_probabilities_that_miss_one_by_rounding_are_scaled_with_a_note(digits: int) -> None:
    spec = JobSpec("ionq", "qpu.forte-1", (bell(),), 900)
    found = results.item_result(bell(), thirds(digits), spec=spec, seed=1)
    assert found.counts == {"00": 300, "01": 300, "10": 300}
    assert sum((found.probabilities or {}).values()) == pytest.approx(1, abs=1e-9)
    assert bool(found.metadata.get("notes")) == (digits <= 6)


@pytest.mark.parametrize(
    "body", [{"0": 0.5, "1": 0.49999}, {"0": 0.333, "1": 0.333, "2": 0.32}, {"0": 0.9}, {"0": 1.0, "1": 0.01}], ids=str
)
def test_probabilities_that_miss_one_by_more_than_their_digits_are_unreadable(body: dict) -> None:
    with pytest.raises(Unreadable, match="sum to"):
        results.item_result(bell(), body, spec=JobSpec("ionq", "qpu.forte-1", (bell(),), 900), seed=1)


def test_rounded_answers_of_the_simulator_are_sampled_all_the_same(provider: IonQProvider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", probability_digits=3)
    circuit = QuantumCircuit(3, 3)
    circuit.ry(1.0, 0)
    circuit.h([1, 2])
    circuit.measure(range(3), range(3))
    for n in (1, 2):
        spec = spec_of(provider, SIMULATOR, *[to_program(circuit)] * n, shots=100)
        for item in run(provider, spec, key_of("rounded", n)).items:
            assert counts_of(item).shots == 100


def test_many_outcomes_are_decoded_each_at_its_own_place() -> None:
    width = 17
    program = flip(width=width)
    body = json.dumps(dict.fromkeys(map(str, range(2**width)), 2.0**-width)).encode()
    spec = JobSpec("ionq", "qpu.forte-1", (program,), 2**width)
    raw = RawAnswer({"job": b'{"id": "x", "backend": "qpu.forte-1"}', "probabilities": body})
    provider = IonQProvider(base_url="https://nobody.invalid", api_key="x", timeout_s=1)
    counts = counts_of(provider.decode(raw, spec, "0" * 64).items[0])
    assert counts == {f"{state:017b}": 1 for state in range(2**width)}


@pytest.mark.parametrize("width", [63, 70])
def test_states_wider_than_a_machine_word_keep_their_bits(width: int) -> None:
    program = flip(width=width)
    spec = JobSpec("ionq", "qpu.forte-1", (program,), 4)
    found = results.item_result(program, {str(1 << width - 1): 0.5, "1": 0.5}, spec=spec, seed=1)
    assert found.counts == {"0" * (width - 1) + "1": 2, "1" + "0" * (width - 1): 2}
