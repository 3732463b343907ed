"""The unmodified qiskit-ionq and qflows meet at one IonQ: it reads our jobs, and it buys twice where we buy once."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.programs import to_program
from qflows.protocol import Provider
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import (
    CANARY,
    PROBES,
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

qiskit_ionq = pytest.importorskip("qiskit_ionq")

HARD_LIMIT_S = 30


class HardTimeout(BaseException):
    """Raised in the middle of anything; a BaseException, because qiskit-ionq retries GETs on every Exception."""


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[None]:
    def give_up(number: int, frame: object) -> None:
        raise HardTimeout(f"the test took more than {HARD_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HARD_LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> qiskit_ionq.IonQProvider:
    """IonQ's own client at the sandbox; fails if a `.env` file redirects it."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IONQ_API_KEY", CANARY)  # a project sees its own jobs only
    made = qiskit_ionq.IonQProvider()
    assert made.get_backend("ionq_simulator").client._url == sandbox.env["IONQ_API_URL"]
    return made


# -- their client reads our jobs -------------------------------------------------------------------------------------


# qiskit prints bits of no register nowhere, so those probes have no common spelling
@pytest.mark.parametrize("probe", [p for p in PROBES if "loose" not in p.name], ids=str)
def test_retrieved_single_job_has_our_counts(client, provider: Provider, probe) -> None:
    spec, key = spec_of(provider, Target("simulator"), to_program(probe.circuit), shots=70), key_of("read", probe)
    vendor_id = send_job(provider, spec, key).vendor_id
    theirs = client.get_backend("ionq_simulator").retrieve_job(vendor_id).result().get_counts()
    assert theirs == {probe.key: 70} == counts_of(read_result(provider, vendor_id, spec, key).items[0])


def test_retrieved_composite_job_has_our_counts_in_order(client, provider: Provider) -> None:
    probes = [p for p in PROBES if "loose" not in p.name]
    spec = spec_of(provider, Target("simulator"), *(to_program(p.circuit) for p in probes), shots=40)
    vendor_id = send_job(provider, spec, key_of("read-many")).vendor_id
    result = client.get_backend("ionq_simulator").retrieve_job(vendor_id).result()
    assert [result.get_counts(i) for i in range(len(probes))] == [{p.key: 40} for p in probes]


def test_retrieved_random_job_has_the_distribution_of_ours(client, provider: Provider) -> None:
    circuit, values, expected = Target("simulator").random_circuit(3)
    spec = spec_of(provider, Target("simulator"), to_program((circuit, values)), shots=4000)
    vendor_id = send_job(provider, spec, key_of("read-random")).vendor_id
    theirs = client.get_backend("ionq_simulator").retrieve_job(vendor_id).result().get_counts()
    frequencies = {key: n / 4000 for key, n in theirs.items()}
    assert total_variation(frequencies, expected) <= variation_bound(expected, 4000)


def test_retrieved_noisy_job_has_exactly_our_counts(client, provider: Provider) -> None:
    spec, key = spec_of(provider, Target("simulator", {"noise_model": "aria-1"}), bell(), shots=800), key_of("noisy")
    vendor_id = send_job(provider, spec, key).vendor_id
    ours = counts_of(read_result(provider, vendor_id, spec, key).items[0])
    backend = client.get_backend("ionq_simulator")
    backend.set_options(noise_model="aria-1")
    assert backend.retrieve_job(vendor_id).result().get_counts() == ours


def test_our_circuits_are_written_as_their_client_writes_them(client, provider: Provider, sandbox: Sandbox) -> None:
    circuit = QuantumCircuit(4, 4, name="table")
    for name in ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg"):
        getattr(circuit, name)(1)
    circuit.rx(0.3, 0)
    circuit.ry(-1.2, 2)
    circuit.rz(2.5, 3)
    circuit.rxx(0.1, 0, 3)
    circuit.ryy(0.2, 1, 2)
    circuit.rzz(0.3, 3, 1)
    circuit.cx(2, 0)
    circuit.ccx(3, 1, 0)
    circuit.swap(0, 2)
    circuit.measure(range(4), range(4))
    client.get_backend("ionq_simulator").run(circuit, shots=10)
    run(provider, spec_of(provider, Target("simulator"), to_program(circuit), shots=10), key_of("table"))
    theirs, ours = (sandbox.admin.job(job["id"])["request"]["input"] for job in sandbox.admin.jobs("ionq"))
    assert ours == theirs


# -- the table of duplicates -----------------------------------------------------------------------------------------

FAULTS: dict[str, dict] = {
    "dropped before": {"kind": "drop_before"},
    "accepted, dropped": {"kind": "drop_after"},
    "accepted, truncated": {"kind": "truncate"},
    "accepted, 500 once": {"kind": "status", "status": 500, "accepted": True},
    "accepted, 502 once": {"kind": "status", "status": 502, "accepted": True},
    "accepted, 503 once": {"kind": "status", "status": 503, "accepted": True},
    "accepted, 504 once": {"kind": "status", "status": 504, "accepted": True},
    "accepted, 524 once": {"kind": "status", "status": 524, "accepted": True},
    "accepted, 429 once": {"kind": "status", "status": 429, "accepted": True},
    "accepted, 502 twice": {"kind": "status", "status": 502, "accepted": True, "times": 2},
    "accepted, 504 always": {"kind": "status", "status": 504, "accepted": True, "times": 100},
}


def bought_by_their_client(client, sandbox: Sandbox, fault: dict) -> tuple[int, bool]:
    """(jobs at the vendor, whether the client has an id)."""
    sandbox.admin.reset()
    sandbox.admin.fault(**{"route": "ionq.submit", **fault})
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            has_id = bool(client.get_backend("ionq_simulator").run(circuit, shots=10).job_id())
        except Exception:  # requests.RequestException, IonQAPIError, its private IonQRetriableError
            has_id = False
    return sandbox.admin.count_jobs("ionq"), has_id


def bought_by_qflows(provider: Provider, sandbox: Sandbox, url: str, fault: dict) -> tuple[int, bool]:
    """(jobs at the vendor, whether the ledger has it completed). A permanent fault ends after the first look."""
    sandbox.admin.reset()
    sandbox.admin.fault(**{"route": "ionq.submit", **fault})
    ledger = Ledger.open(url)
    try:
        submitter = Submitter(ledger, settle_s=0.0)
        spec = spec_of(provider, Target("simulator"), bell(), shots=10)
        want = Want("duplicates", "1", "0")
        (job,) = submitter.submit(provider, [Intent(spec, want, "ionq:simulator", provider.account)])
        poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
        done = poller.wait([job.key], timeout=20)[job.key]
        return sandbox.admin.count_jobs("ionq"), done.status is JobStatus.COMPLETED
    finally:
        ledger.close()


def test_where_their_client_buys_twice_qflows_buys_once(
    client, provider: Provider, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for place, (name, fault) in enumerate(FAULTS.items()):
        theirs = bought_by_their_client(client, sandbox, fault)
        ours = bought_by_qflows(provider, sandbox, f"sqlite:///{tmp_path}/{place}.db", fault)
        rows.append((name, theirs, ours))
    with capsys.disabled():
        print(f"\n{'fault on POST /jobs':<24}{'qiskit-ionq 1.1.1':>20}{'qflows':>12}   (jobs bought, * result lost)")
        for name, (n_theirs, has_id), (n_ours, is_done) in rows:
            print(f"{name:<24}{n_theirs:>19}{' ' if has_id else '*'}{n_ours:>11}{' ' if is_done else '*'}")
    assert all(ours == (1, True) for _, _, ours in rows), rows
    assert {name: theirs[0] for name, theirs, _ in rows if theirs[0] > 1}.keys() >= {
        "accepted, 502 once", "accepted, 503 once", "accepted, 504 once", "accepted, 524 once", "accepted, 429 once",
    }  # fmt: skip


def test_job_of_their_client_is_no_job_of_ours(client, provider: Provider) -> None:
    from datetime import UTC, datetime, timedelta

    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    job = client.get_backend("ionq_simulator").run(circuit, shots=10, extra_metadata={"qflows_key": "not-ours"})
    since = datetime.now(UTC) - timedelta(minutes=5)
    assert provider.find_submitted([key_of("x")], since=since, device_ids={"simulator"}) == {}
    assert job.job_id() in wait(provider, [job.job_id()])
