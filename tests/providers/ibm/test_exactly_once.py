"""Every fault of a submission, for IBM's own client and for qflows: jobs at the vendor; and the opening of sessions."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from submission_faults import faults_of, finish, status

from qflows.errors import Ambiguous, Refused, Throttled
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec, Provider
from qflows.sandbox import Sandbox
from qflows.testing import bell, send_job

SUBMIT, LIST = "ibm.submit", "ibm.list"
FAULTS = faults_of(SUBMIT, LIST) | {
    "503 after": status(SUBMIT, 503),
    "429 before": status(SUBMIT, 429, accepted=False, retry_after=1),
    "429 after": status(SUBMIT, 429, retry_after=1),
    "200 without a job": status(SUBMIT, 200, html=True),
}
# jobs at the vendor after one SamplerV2.run() of qiskit-ibm-runtime 0.51.0 alone, and whether it had an id for its
# user; "always" sleeps 15 s and is in a slow test
OWN_CLIENT: dict[str, tuple[int, bool]] = {
    "none": (1, True),
    "drop before": (0, False),
    "drop after": (1, False),
    "500 before": (1, True),
    "500 after": (2, True),
    "502 after": (2, True),
    "503 after": (2, True),
    "504 after": (2, True),
    "429 after": (1, False),
    "408 after": (1, False),
    "200 without a job": (1, False),
    "truncated": (1, False),
}


def buy(ledger: Ledger, provider: Provider, *, n_programs: int = 1, **options: str) -> str:
    """See `finish`."""
    spec = JobSpec("ibm", "ibm_manila", tuple(bell(f"b{i}") for i in range(n_programs)), 50, options=options)
    return finish(ledger, provider, Intent(spec, Want("run", "a", "h"), "ibm:ibm_manila", provider.account))


BATCHED = ("drop after", "502 after", "truncated")


@pytest.mark.parametrize(("fault", "n_programs"), [(fault, 1) for fault in FAULTS] + [(fault, 3) for fault in BATCHED])
def test_submission_under_a_fault_leaves_one_job_and_its_counts(
    sandbox: Sandbox, provider: Provider, ledger: Ledger, fault: str, n_programs: int
) -> None:
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    key = buy(ledger, provider, n_programs=n_programs)
    assert [job["key"] for job in sandbox.admin.jobs("ibm")] == [key]


@pytest.mark.parametrize("fault", ["none", *BATCHED, "502 always", "listing lag", "429 before"])
def test_jobs_that_the_client_prepares_have_the_same_guards(
    sandbox: Sandbox, provider: Provider, ledger: Ledger, fault: str
) -> None:
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    key = buy(ledger, provider, primitives="executor")
    [job] = sandbox.admin.jobs("ibm")
    assert job["key"] == key
    assert sandbox.admin.job(job["id"])["request"]["program_id"] == "executor"


def test_a_program_that_ibm_serves_no_more_is_refused_with_the_option_that_helps(
    sandbox: Sandbox, provider: Provider
) -> None:
    sandbox.admin.fault("status", SUBMIT, status=404, accepted=False)
    with pytest.raises(Refused, match="primitives='executor'"):
        send_job(provider, JobSpec("ibm", "ibm_manila", (bell(),), 10), "a" * 64)


def fields(sandbox: Sandbox) -> dict[str, str]:
    """Fields of a credentials block for the sandbox."""
    return {"token": "sandbox", "instance": sandbox.env["QISKIT_IBM_INSTANCE"], "url": sandbox.url}


def own_client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The vendor's service, by environment alone."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    # the client walks the stack for every request to say who calls, which is slow below pytest
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")
    from qiskit_ibm_runtime import QiskitRuntimeService

    return QiskitRuntimeService()


def run_alone(service: Any) -> bool:
    """One circuit through the client alone; True if its user got a job id."""
    from qiskit import transpile
    from qiskit_ibm_runtime import SamplerV2

    backend = service.backend("ibm_manila")
    circuit = transpile(bell().circuit(), backend, optimization_level=0, initial_layout=[0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        sampler = SamplerV2(mode=backend)
    try:
        return bool(sampler.run([circuit], shots=10).job_id())
    except Exception:  # what it raises is in the vendor notes; here only jobs count
        return False


@pytest.mark.parametrize("fault", OWN_CLIENT)
def test_vendor_client_alone_leaves_as_many_jobs_as_the_table_says(
    sandbox: Sandbox, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = own_client(sandbox, monkeypatch)
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    has_id = run_alone(service)
    assert (sandbox.admin.count_jobs("ibm"), has_id) == OWN_CLIENT[fault]


@pytest.mark.slow(reason="the vendor's own client waits between its repeats")
def test_vendor_client_alone_buys_six_times_when_every_answer_is_502(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = own_client(sandbox, monkeypatch)
    sandbox.admin.fault(**FAULTS["502 always"][0])
    assert not run_alone(service)
    assert sandbox.admin.count_jobs("ibm") == 6


def test_after_a_429_nothing_is_sent_until_the_vendor_said(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.switches("ibm", submits_per_minute=2)
    spec = JobSpec("ibm", "ibm_manila", (bell(),), 10)
    for i in range(2):
        send_job(provider, spec, f"{i:064d}")
    with pytest.raises(Ambiguous) as refused:
        send_job(provider, spec, "a" * 64)
    assert refused.value.vendor_code == "1202"
    for i in range(5):
        with pytest.raises(Throttled) as held:
            send_job(provider, spec, f"b{i:063d}")
        assert 50 < (held.value.retry_after_s or 0) <= 62
    assert sandbox.admin.requests(SUBMIT) == 3


# -- a process that dies -------------------------------------------------------------------------------------------

VICTIM = """
import json, sys
from qiskit import QuantumCircuit
from qflows import providers
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.programs import to_program
from qflows.protocol import JobSpec
from qflows.core.submit import Submitter

url, fields = json.loads(sys.argv[1])
circuit = QuantumCircuit(2, 2)
circuit.h(0)
circuit.cx(0, 1)
circuit.measure([0, 1], [0, 1])
provider = providers.connect("ibm", fields, timeout_s=10)
spec = JobSpec("ibm", "ibm_manila", (to_program(circuit),), 50)
Submitter(Ledger.open(url)).submit(provider, [Intent(spec, Want("run", "a", "h"), "ibm:ibm_manila", provider.account)])
"""


@pytest.mark.parametrize(
    ("when", "verdict", "fault"),
    [("before", "drop", "drop after"), ("after", "proceed", "502 always")],
)
def test_process_killed_while_its_request_is_on_the_wire_leaves_one_job(
    sandbox: Sandbox, provider: Provider, ledger: Ledger, when: str, verdict: str, fault: str
) -> None:
    sandbox.admin.fault("hold", SUBMIT, when=when)
    # a process of its own: Rust threads of the compiler do not survive a fork
    given = json.dumps([str(ledger.engine.url), fields(sandbox)])
    child = subprocess.Popen([sys.executable, "-c", VICTIM, given])
    try:
        sandbox.admin.wait_until(lambda: bool(sandbox.admin.held()) or child.poll() is not None, timeout_s=60)
        assert sandbox.admin.held(), "the child ended before its request was on the wire"
    finally:
        child.kill()
        child.wait()
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    sandbox.admin.release_held(verdict=verdict)
    key = buy(ledger, provider)
    assert [job["key"] for job in sandbox.admin.jobs("ibm")] == [key]


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dedicated", "batch"])
@pytest.mark.parametrize("fault", ["drop_after", "truncate", "status"])
def test_session_whose_answer_was_lost_is_opened_once_and_found_again(
    sandbox: Sandbox, provider: Any, fault: str, mode: str
) -> None:
    members = {"status": 502, "accepted": True} if fault == "status" else {}
    sandbox.admin.fault(fault, "ibm.session_create", times=None, **members)
    since = datetime.now(UTC) - timedelta(minutes=1)
    with pytest.raises(Ambiguous):
        provider.open_session("ibm_manila", mode=mode, max_time_s=60, options={})
    assert sandbox.admin.requests("ibm.session_create") == 1
    (found,) = provider.recent_sessions("ibm_manila", since=since)
    assert (found.mode, found.is_open) == (mode, True)
    provider.cancel_session(found.session_id)
    assert provider.session(found.session_id).state == "closed"


def test_vendor_client_alone_opens_two_sessions_when_one_answer_is_502(
    sandbox: Sandbox, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qiskit_ibm_runtime import Session

    backend = own_client(sandbox, monkeypatch).backend("ibm_manila")
    sandbox.admin.fault("status", "ibm.session_create", status=502, accepted=True)
    assert Session(backend).session_id
    since = datetime.now(UTC) - timedelta(minutes=1)
    assert len(provider.recent_sessions("ibm_manila", since=since)) == 2
