"""Texts that no database keeps, from people and from vendors: told, and nothing else is touched."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qflows
from qflows.core.client import Client
from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import InDoubt, ProgramRejected, QflowsError
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.programs import to_program
from qflows.protocol import Accepted, JobSpec, Prepared
from qflows.settings import Settings
from qflows.states import JobStatus

_spec = importlib.util.spec_from_file_location(
    "fake_vendor_for_odd_texts", Path(__file__).parents[1] / "ledger" / "fake_vendor.py"
)
assert _spec is not None
assert _spec.loader is not None
fakes = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = fakes
_spec.loader.exec_module(fakes)

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
HALF, NOTHING = "a\ud800", "a\0b"  # what a terminal makes of bytes that are no UTF-8, and what PostgreSQL refuses


def _buy(**wishes: Any) -> Callable[[], Any]:
    return lambda: qflows.submit(BELL, device="local-aer", shots=10, **({"run_key": "r"} | wishes))


@pytest.mark.parametrize("text", [HALF, NOTHING], ids=["half a character", "NUL"])
def test_text_that_cannot_be_kept_is_refused_by_name(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    core = Client(Settings(home=tmp_path))
    acts = {
        "run_key": _buy(run_key=text),
        "label": _buy(label=text),
        "name": _buy(name=text),
        "project": _buy(project=text),
        "batch": lambda: qflows.batch([BELL], device="local-aer", shots=10, run_key="r", name=text),
        "group": lambda: qflows.group(text, run_key="r").open(),
    }
    for name, act in acts.items():
        with pytest.raises(ProgramRejected, match=r"U\+(D800|0000), which cannot be stored"):
            act()
        assert reads.listing(core.ledger) == [], name
    for look in (core.find, core.group, core.batch, lambda t: core.abandon(t, reason="x"), lambda t: core.jobs(name=t)):
        try:
            look(text)
        except QflowsError:
            pass
    with pytest.raises(ProgramRejected, match="label"):
        _buy(label="x" * 2_000_000)()
    core.ledger.close()


class Odd(fakes.FakeVendor):  # type: ignore[name-defined,misc]
    """Answers each POST with the next of these ids."""

    ids: tuple[str, ...] = ()

    def send(self, prepared: Prepared) -> Accepted:
        accepted = super().send(prepared)
        if len(self.bought) > len(self.ids):
            return accepted
        self.bought[-1].vendor_id = self.ids[len(self.bought) - 1]
        return Accepted(self.bought[-1].vendor_id)


def _intents(n: int) -> list[Intent]:
    return [
        Intent(
            JobSpec("acme", "sim", (to_program(BELL),), 10 + i),
            Want("run", "attempt", f"holder:{i}"),
            "acme:sim",
            "acct",
        )
        for i in range(n)
    ]


@pytest.mark.parametrize(
    "ids",
    [("acme-good", "\x1b[2J"), ("acme-good", "\ud800"), ("acme-good", "a\0"), ("acme-good", "x" * 300),
     ("acme-good", ""), ("acme-good", "acme-good")],
    ids=["escape", "half", "NUL", "long", "empty", "given twice"],
)  # fmt: skip
def test_id_that_cannot_be_a_job_s_asks_a_person_and_stops_nobody(ledger: Ledger, ids: tuple[str, ...]) -> None:
    vendor = Odd()
    vendor.ids = ids
    submitter = Submitter(ledger, settle_s=0.01, workers=1)
    good, bad, other = submitter.submit(vendor, _intents(3))
    assert [job.status for job in (good, bad, other)] == [JobStatus.QUEUED, JobStatus.IN_DOUBT, JobStatus.QUEUED]
    with pytest.raises(InDoubt, match="qflows jobs resolve"):
        Poller(submitter, Sole(vendor)).wait([good.key, bad.key, other.key], timeout=20)
    after = reads.by_keys(ledger, [good.key, bad.key, other.key])
    assert (after[good.key].status, after[other.key].status) == (JobStatus.COMPLETED, JobStatus.COMPLETED)
    assert (after[bad.key].status, after[bad.key].vendor_id, vendor.posts) == (JobStatus.IN_DOUBT, None, 3)


class Strange(fakes.FakeVendor):  # type: ignore[name-defined,misc]
    """Its look-up raises what no vendor's adapter should."""

    def find_submitted(self, keys: Any, *, since: Any, device_ids: Any) -> Any:
        raise AttributeError("'str' object has no attribute 'get'")


def test_look_up_that_raises_anything_does_not_stop_the_lane(ledger: Ledger) -> None:
    vendor = Strange()
    vendor.script = ["lost"]
    submitter = Submitter(ledger, settle_s=0.01, workers=1)
    doubtful, good = submitter.submit(vendor, _intents(2))
    assert doubtful.status is JobStatus.IN_DOUBT
    Poller(submitter, Sole(vendor)).tick([doubtful, good])
    assert Poller(submitter, Sole(vendor)).wait([good.key], timeout=20)[good.key].status is JobStatus.COMPLETED
    assert (reads.job(ledger, doubtful.key).status, vendor.posts) == (JobStatus.IN_DOUBT, 2)
