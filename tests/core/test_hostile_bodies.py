"""Bodies that are slow, cut, lied about or packed, after the vendor has acted: every verb ends and says so,
what was not sent leaves no doubt, and what was bought is bought once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_bodies import KINDS, Answer  # noqa: E402
from hostile_vendors import BELL, VENDORS, behind_a_proxy  # noqa: E402

from qflows.core.client import Client  # noqa: E402
from qflows.core.scope import Scope  # noqa: E402
from qflows.errors import InDoubt, QflowsError, WaitTimeout  # noqa: E402
from qflows.ledger import lanes, reads  # noqa: E402
from qflows.sandbox import Sandbox  # noqa: E402
from qflows.settings import Settings  # noqa: E402
from qflows.states import JobStatus  # noqa: E402

HASTY_S = 0.8
"""The deadline of an exchange that is spoilt."""
MOST_BYTES = 150_000_000
"""No exchange takes more than this off the wire, however long the other side writes."""
BUYS = {  # the request that buys, and what is read before it
    "ionq": r"^POST /v0.4/jobs$",
    "ibm": r"^POST /api/v1/jobs$",
    "braket": r"^POST /quantum-task$",
    "qbraid": r"^POST /api/v1/jobs$",
}
ALL_BUT_TOKENS = r"^\w+ /(?!iam|search|catalog)"
RESULTS = r"^GET .*/result"
ASK = {"poll", "devices", "import by time", "cancel", "read a session", "end a session", "read a group", "end a group"}
"""Verbs that must ask the vendor; what the others answer may come from a list of prices, or from the id alone."""
SAY = {"devices", "import by time", "read a session", "read a group"}
"""Of these, those that cannot answer without the vendor."""


@dataclass
class Desk:
    """A vendor behind a proxy that can spoil, and two clients of one ledger: one has time, one soon gives up."""

    vendor: Any
    admin: Any
    proxy: Any
    patient: Client
    hasty: Client
    env: dict[str, str]

    def until_asked(self, act: Callable[[], Any]) -> str | None:
        """What an error of ours says, None without one; again if a slow machine let the deadline pass before anything
        was asked. Anything but an error of ours fails the test."""
        before, told = self.proxy.n_echoed, None
        for _ in range(5):
            lanes.free(self.hasty.ledger, self.vendor.name)
            told = _told(act, self.vendor)
            if self.proxy.n_echoed > before:
                break
        return told


@pytest.fixture(scope="module")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(VENDORS)) as running:
        yield running


@pytest.fixture(scope="module", params=VENDORS)
def desk(
    request: pytest.FixtureRequest, all_vendors: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    vendor, home = VENDORS[request.param], tmp_path_factory.mktemp(request.param)
    all_vendors.admin.reset()
    with pytest.MonkeyPatch.context() as patch, behind_a_proxy(vendor, all_vendors, patch) as proxy:
        patient, hasty = _client(home, 10), _client(home, HASTY_S)
        connected: Any = hasty.provider(vendor.name)
        for _ in range(20):
            try:
                connected.devices()
                break
            except QflowsError:
                continue
        yield Desk(vendor, all_vendors.admin, proxy, patient, hasty, _of_vendors(os.environ))
        patient.ledger.close()
        hasty.ledger.close()


def _of_vendors(env: Mapping[str, str]) -> dict[str, str]:
    names = ("AWS_", "IONQ_", "QISKIT_IBM_", "QBRAID_")
    return {name: value for name, value in env.items() if name.startswith(names)}


@pytest.fixture(autouse=True)
def where_the_vendor_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is cleaned for every test, and some clients read it late."""
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)


def _client(home: Path, timeout_s: float) -> Client:
    return Client(Settings(home=home, settle_s=0.1, poll_min_s=0.01, http_timeout_s=timeout_s, lease_s=60))


def _reads(core: Client, vendor: Any, keys: dict[str, str], group: str) -> dict[str, Callable[[], Any]]:
    """Verbs that buy nothing."""
    name, provider = vendor.name, core.provider(vendor.name)
    ids = {label: str(reads.job(core.ledger, key).vendor_id) for label, key in keys.items() if label != "session"}
    verbs: dict[str, Callable[[], Any]] = {
        "poll": lambda: _look(core, vendor, keys["queued"], ids["queued"]),
        "cancel": lambda: provider.cancel(ids["unwanted"]),
        "import by id": lambda: core.import_jobs(name, ids=["elsewhere"]),
        "import by time": lambda: core.import_jobs(name, since="1h"),
        "price": lambda: core.price(BELL, device=vendor.device, shots=10),
        "devices": lambda: _all_of(provider.devices()),  # type: ignore[attr-defined]
    }
    if vendor.session_device:
        verbs["read a session"] = lambda: core.session(keys["session"]).details()
        verbs["end a session"] = lambda: core.session(keys["session"]).close()
    if group:
        verbs["read a group"] = lambda: provider.group(group)  # type: ignore[attr-defined]
        verbs["end a group"] = lambda: provider.close_group(group)  # type: ignore[attr-defined]
    return verbs


def _look(core: Client, vendor: Any, key: str, vendor_id: str) -> None:
    """One look at a job, past every pause; it is where it was."""
    lanes.free(core.ledger, vendor.name)
    if vendor.name == "qbraid":  # reads a job ever more rarely, and shows in between what was seen
        core.provider(vendor.name)._watch.forget(vendor_id)  # type: ignore[attr-defined]
    with pytest.raises(WaitTimeout, match="1 at the vendor"):
        core.wait([key], timeout=0)


def _all_of(found: Any) -> None:
    """Raises what a list of devices says of those that are not in it."""
    if troubles := getattr(found, "troubles", None):
        raise QflowsError(f"{found}: {troubles}")


def _told(act: Callable[[], Any], vendor: Any) -> str | None:
    """What an error says; None without one. Anything but an error of ours fails the test."""
    try:
        act()
    except QflowsError as error:
        text = str(error)
        assert any(word in text for word in (vendor.name, "AWS", "IBM", "1 at the vendor")), text
        assert "Traceback" not in text
        assert " object at 0x" not in text
        return text
    return None


@pytest.mark.slow(reason="a body that drips is given up only after the client's whole patience, verb by verb")
@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_body_is_bounded_and_told_and_buys_nothing_twice(desk: Desk, kind: str) -> None:
    vendor, admin, proxy, patient, hasty = desk.vendor, desk.admin, desk.proxy, desk.patient, desk.hasty
    how = KINDS[kind]
    is_whole = how.is_whole(vendor.name)
    written: list[int] = []
    proxy.spoil = lambda handler, status, type_, body: written.append(how.write(handler, Answer(status, type_, body)))
    proxy.spoils = "(?!)"
    admin.clock("frozen")
    bought, keys = admin.count_jobs(vendor.name), {}
    for label in ("queued", "done", "unwanted"):
        specs = patient.specs(BELL, device=vendor.device, shots=20)
        (job,) = patient.submit(specs, device=vendor.device, scope=Scope(kind, "a", label))
        keys[label], bought = job.key, bought + 1
    admin.release([str(reads.job(patient.ledger, keys["done"]).vendor_id)])
    group = ""
    if vendor.session_device:
        held = patient.open_session(vendor.session_device, kind, max_time_s=600)
        held.release()
        keys["session"] = str(held.key)
    if patient.provider(vendor.name).capabilities.native_groups:
        made = patient.new_group("g", run_key=kind, native=vendor.device, ambient=False).open()
        group = str(made.record.native_id)

    # reading
    proxy.spoils = ALL_BUT_TOKENS
    told = {}
    for verb, act in _reads(hasty, vendor, keys, group).items():
        before = proxy.n_echoed
        told[verb] = desk.until_asked(act) if verb in ASK else _told(act, vendor)
        assert proxy.n_echoed > before or verb not in ASK, (verb, told)
    if is_whole is False:
        assert {verb for verb in SAY & set(told) if told[verb] is None} == set()
    if is_whole is False:
        proxy.spoils, before = RESULTS, proxy.n_echoed
        desk.until_asked(lambda: hasty.wait([keys["done"]], timeout=0))
        assert proxy.n_echoed > before
        assert not reads.job(hasty.ledger, keys["done"]).is_terminal
    # nothing was sent that buys, so there is nothing to doubt
    assert admin.count_jobs(vendor.name) == bought
    assert [job for job in reads.all_live(hasty.ledger) if job.status is JobStatus.IN_DOUBT] == []

    # bought, and the answer spoilt; then looked for in lists that are spoilt too
    proxy.spoils, before = BUYS[vendor.name], proxy.n_echoed
    specs = patient.specs(BELL, device=vendor.device, shots=21)
    (doubt,) = hasty.submit(specs, device=vendor.device, scope=Scope(kind, "a", "doubt"))
    if doubt.status is JobStatus.PREPARED:  # a slow machine: not sent in time
        desk.until_asked(lambda: hasty.wait([doubt.key], timeout=0))
        doubt = reads.job(hasty.ledger, doubt.key)
    assert proxy.n_echoed == before + 1
    admin.wait_until(lambda: admin.count_jobs(vendor.name) > bought)  # the deadline may have come first
    assert admin.count_jobs(vendor.name) == bought + 1
    expected = {True: {JobStatus.QUEUED}, False: {JobStatus.IN_DOUBT}}
    assert doubt.status in expected.get(is_whole, {JobStatus.QUEUED, JobStatus.IN_DOUBT})
    proxy.spoils = ALL_BUT_TOKENS
    lanes.free(hasty.ledger, vendor.name)
    _told(lambda: hasty.refresh([doubt.key]), vendor)
    assert admin.count_jobs(vendor.name) == bought + 1
    assert reads.job(hasty.ledger, doubt.key).status is doubt.status

    # a session whose opening is not answered asks a person, and is not opened again
    if vendor.session_device and is_whole is False:
        proxy.spoils, opened = r"^POST .*/sessions$", admin.requests(f"{vendor.name}.session_create")
        for _ in range(2):
            with pytest.raises(InDoubt, match="never answered"):
                hasty.open_session(vendor.session_device, f"{kind}, lost", max_time_s=600)
        admin.wait_until(lambda: admin.requests(f"{vendor.name}.session_create") > opened)
        assert admin.requests(f"{vendor.name}.session_create") == opened + 1

    # the vendor is itself again
    proxy.spoils = "(?!)"
    admin.clock("instant")
    admin.release()
    lanes.free(patient.ledger, vendor.name)
    wanted = [keys["queued"], keys["done"], doubt.key]
    done = patient.wait(wanted, timeout=30)
    assert {done[key].status for key in wanted} == {JobStatus.COMPLETED}
    assert sum(patient.result([doubt.key]).counts.values()) == 21
    assert patient.cancel([keys["unwanted"]], timeout=10)[keys["unwanted"]].is_terminal
    assert admin.count_jobs(vendor.name) == bought + 1
    assert max(written) < MOST_BYTES
