"""Multi-circuit jobs: one outcome per circuit, whichever way IonQ reports a partial failure, down to the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import ProgramRejected, Unreadable
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ionq import results
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import PROBES, Target, bell, counts_of, key_of, read_result, run, send_job, spec_of, wait

SIMULATOR = Target("simulator")
VARIANTS = ["parent_failed", "parent_completed"]


def flip(qubit: int) -> Program:
    circuit = QuantumCircuit(3, 3, name=f"flip-{qubit}")
    circuit.x(qubit)
    circuit.measure(range(3), range(3))
    return to_program(circuit)


def word(qubit: int) -> str:
    return {0: "001", 1: "010", 2: "100"}[qubit]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("profile", ["both", "spec", "legacy"])
def test_failed_child_is_an_error_at_its_own_place(
    provider: Provider, sandbox: Sandbox, variant: str, profile: str
) -> None:
    sandbox.admin.switches("ionq", partial_failure=variant, result_profile=profile)
    sandbox.admin.fault("fail_job", "ionq.submit", children=[1], code="SimulationError", message="no <b>memory</b>")
    spec, key = spec_of(provider, SIMULATOR, flip(0), flip(1), flip(2), shots=20), key_of("partial", variant)
    vendor_id = send_job(provider, spec, key).vendor_id
    expected = Phase.FAILED if variant == "parent_failed" else Phase.DONE
    assert wait(provider, [vendor_id])[vendor_id].phase is expected
    first, broken, last = read_result(provider, vendor_id, spec, key).items
    assert (counts_of(first), counts_of(last)) == ({word(0): 20}, {word(2): 20})
    assert broken.counts is None
    assert broken.error is not None
    assert (broken.error.code, broken.error.message) == ("SimulationError", "no <b>memory</b>")


@pytest.mark.parametrize("variant", VARIANTS)
def test_partial_failure_reaches_the_ledger_with_the_good_counts(
    provider: Provider, sandbox: Sandbox, tmp_path: Path, variant: str
) -> None:
    sandbox.admin.switches("ionq", partial_failure=variant)
    sandbox.admin.fault("fail_job", "ionq.submit", children=[0, 2], code="InternalError", message="lost")
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    submitter = Submitter(ledger)
    spec = spec_of(provider, SIMULATOR, flip(0), flip(1), flip(2), shots=20)
    intent = Intent(spec, Want("run", "1", "0"), "ionq:simulator", provider.account)
    (job,) = submitter.submit(provider, [intent])
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=20)[job.key]
    assert done.status is (JobStatus.FAILED if variant == "parent_failed" else JobStatus.COMPLETED)
    items = reads.items(ledger, job.key)
    assert [item.error.code if item.error else None for item in items] == [
        "InternalError",
        None,
        "InternalError",
    ]
    assert items[1].counts == {word(1): 20}
    assert sandbox.admin.count_jobs("ionq") == 1
    ledger.close()


def test_all_children_failed_is_an_error_each(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "ionq.submit", children=[0, 1])
    spec, key = spec_of(provider, SIMULATOR, flip(0), flip(1), shots=20), key_of("all failed")
    vendor_id = send_job(provider, spec, key).vendor_id
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.FAILED
    assert all(item.error and not item.counts for item in read_result(provider, vendor_id, spec, key).items)


def test_good_composite_needs_one_request_for_all_counts(provider: Provider, sandbox: Sandbox) -> None:
    spec, key = spec_of(provider, SIMULATOR, *[flip(i % 3) for i in range(40)], shots=5), key_of("requests")
    items = run(provider, spec, key).items
    assert [counts_of(item) for item in items] == [{word(i % 3): 5} for i in range(40)]
    assert sandbox.admin.requests("ionq.results") == 1


def test_partly_failed_composite_lists_children_by_the_page(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "ionq.submit", children=[7])
    spec, key = spec_of(provider, SIMULATOR, *[flip(i % 3) for i in range(40)], shots=5), key_of("pages")
    vendor_id = send_job(provider, spec, key).vendor_id
    wait(provider, [vendor_id])
    before = sandbox.admin.requests("ionq.list")
    items = read_result(provider, vendor_id, spec, key).items
    assert sandbox.admin.requests("ionq.list") - before == 2
    assert [i for i, item in enumerate(items) if item.error] == [7]
    assert all(item.counts == {word(i % 3): 5} for i, item in enumerate(items) if i != 7)


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_order_of_listings_does_not_move_circuits_or_hide_jobs(
    provider: Provider, sandbox: Sandbox, order: str
) -> None:
    from datetime import UTC, datetime, timedelta

    sandbox.admin.switches("ionq", list_order=order, list_children=True, child_metadata="copy")
    sandbox.admin.fault("fail_job", "ionq.submit", children=[5])
    keys = [key_of("order", order, i) for i in range(3)]
    specs = [spec_of(provider, SIMULATOR, *[flip((i + n) % 3) for i in range(30)], shots=5) for n in range(3)]
    ids = [send_job(provider, spec, key).vendor_id for spec, key in zip(specs, keys, strict=True)]
    since = datetime.now(UTC) - timedelta(minutes=5)
    found = provider.find_submitted(keys, since=since, device_ids={"simulator"})
    # children that copy their parent's metadata bear its key and are no jobs of their own
    assert {key: [hit.vendor_id for hit in hits] for key, hits in found.items()} == {
        key: [vendor_id] for key, vendor_id in zip(keys, ids, strict=True)
    }
    wait(provider, ids)
    items = read_result(provider, ids[0], specs[0], keys[0]).items
    assert [i for i, item in enumerate(items) if item.error] == [5]
    assert all(item.counts == {word(i % 3): 5} for i, item in enumerate(items) if i != 5)


def test_cancelled_composite_is_cancelled_with_its_children(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    spec = spec_of(provider, SIMULATOR, flip(0), flip(1), shots=5)
    vendor_id = send_job(provider, spec, key_of("cancel both")).vendor_id
    provider.cancel(vendor_id)
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.CANCELLED
    assert {job["phase"] for job in sandbox.admin.jobs("ionq", children=True)} == {"cancelled"}


def test_widths_and_registers_are_each_circuits_own(provider: Provider) -> None:
    noisy = Target("simulator", {"noise_model": "aria-1", "memory": True})
    spec = spec_of(provider, noisy, *(to_program(p.circuit) for p in PROBES), shots=60)
    for probe, item in zip(PROBES, run(provider, spec, key_of("widths")).items, strict=True):
        assert item.memory is not None
        assert {len(key) for key in item.memory} == {len(probe.key)}
        assert counts_of(item).get(probe.key, 0) > 45


def test_child_that_is_lost_is_unreadable_not_empty(provider: Provider, sandbox: Sandbox) -> None:
    spec, key = spec_of(provider, SIMULATOR, flip(0), flip(1), shots=5), key_of("lost child")
    vendor_id = send_job(provider, spec, key).vendor_id
    wait(provider, [vendor_id])
    longer = spec_of(provider, SIMULATOR, flip(0), flip(1), flip(2), shots=5)
    with pytest.raises(Unreadable, match="2 children where 3 circuits"):
        read_result(provider, vendor_id, longer, key)


def test_mixed_gate_sets_in_one_job_are_refused(provider: Provider) -> None:
    native = provider.read({"gateset": "native", "qubits": 1, "circuit": [{"gate": "gpi", "target": 0, "phase": 0.5}]})
    assert native is not None
    with pytest.raises(ProgramRejected, match="cannot mix"):
        provider.check(spec_of(provider, SIMULATOR, native, bell(), shots=5))


def test_bits_of_qubits_that_only_other_circuits_have_are_left_out() -> None:
    narrow, wide = to_program(PROBES[0].circuit), flip(0)
    assert (narrow.n_qubits, wide.n_qubits) == (2, 3)
    spec = JobSpec("ionq", "qpu.forte-1", (narrow, wide), 10)
    found = results.item_result(narrow, {"1": 0.7, "5": 0.3}, spec=spec, seed=1)
    assert found.counts == {"01": 10}
    with pytest.raises(Unreadable):
        results.item_result(narrow, {"1": 0.7, "9": 0.3}, spec=spec, seed=1)
