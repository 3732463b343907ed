"""Vendors that accept and never show it, or answer with pages of a gateway: two purchases at most, then a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import InDoubt, QflowsError
from qflows.ledger import reads
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

from .chaos.cells import DEVICES, LISTS, VENDORS

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
NEVER_S = 80_000.0


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def core(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    vendors.admin.reset()
    made = Client(Settings(home=tmp_path, settle_s=0.1, poll_min_s=0.01))
    yield made
    made.ledger.close()


def ask_again_and_again(core: Client, vendor: str, timeout: float) -> QflowsError:
    """As an impatient loop does, for `timeout` seconds or until a person was asked three times; the last thing told."""
    deadline, told, asked = time.monotonic() + timeout, None, 0
    while time.monotonic() < deadline and asked < 3:
        left = deadline - time.monotonic()
        with pytest.raises(QflowsError) as caught:
            core.run(BELL, Scope("run", "a", "caller"), device=DEVICES[vendor], shots=50, timeout=left)
        told = caught.value
        asked += isinstance(told, InDoubt)
    assert told is not None
    return told


@pytest.mark.parametrize("answer", ["502", "no answer", "truncated"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_that_is_never_listed_is_bought_twice_at_most_and_a_person_is_asked(
    core: Client, vendors: Sandbox, vendor: str, answer: str
) -> None:
    script: dict[str, Any] = {
        "502": {"kind": "status", "status": 502, "accepted": True, "html": True},
        "no answer": {"kind": "drop_after"},
        "truncated": {"kind": "truncate"},
    }[answer]
    admin = vendors.admin
    admin.fault(**script, route=f"{vendor}.submit", times=None)
    admin.fault("list_lag", LISTS[vendor], seconds=NEVER_S)
    told = ask_again_and_again(core, vendor, 20)
    assert isinstance(told, InDoubt)
    (job,) = reads.all_live(core.ledger)
    assert f"qflows jobs resolve {job.key[:12]} --submitted ID` or `--absent`" in str(told)
    assert (job.status, job.asks_person, job.sends) == (JobStatus.IN_DOUBT, True, 2)
    assert 1 <= admin.count_jobs(vendor) <= 2  # Braket knows the second one by its token

    # a person finds the first one at the console: it is that job, and the extra one is told
    admin.clear_faults()
    core.resolve(job.key, vendor_id=admin.jobs(vendor)[0]["id"])
    assert core.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED


PAGES: dict[str, dict[str, Any]] = {
    "403 page": {"status": 403, "html": True},
    "413 page": {"status": 413, "html": True},
    "503 page": {"status": 503, "html": True},
    "503 in its own words": {"status": 503, "message": "backend unavailable"},
    "429": {"status": 429},
}


@pytest.mark.parametrize(
    ("vendor", "page"),
    [(vendor, list(PAGES)[(at + step) % len(PAGES)]) for at, vendor in enumerate(VENDORS) for step in (0, 2)],
)
def test_a_submission_that_is_turned_away_for_long_is_repeated_rarely_and_said_so(
    core: Client, vendors: Sandbox, vendor: str, page: str
) -> None:
    admin = vendors.admin
    admin.fault("status", f"{vendor}.submit", times=None, **PAGES[page])
    told = ask_again_and_again(core, vendor, 2.5)
    posts = admin.requests(f"{vendor}.submit")
    assert admin.count_jobs(vendor) == 0
    assert 1 <= posts <= 3
    assert type(told).__name__ in ("InDoubt", "WaitTimeout", "JobFailed")
    live = reads.all_live(core.ledger)
    assert [job.status for job in live] in ([], [JobStatus.IN_DOUBT], [JobStatus.PREPARED])
    # the waiter is told the vendor's last message
    assert str(PAGES[page]["status"]) in str(told) or "fewer requests" in str(told) or "rate limit" in str(told)
