"""Thirty kinds of garbage in place of every answer: sessions, groups, imports, prices, diagnoses and looks stay whole.

Whatever is answered, a verb ends with one of our errors or a result, nothing is bought twice, and what was bought
before ends well when the vendor is itself again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_vendors import BELL, VENDORS, behind_a_proxy  # noqa: E402

from qflows.core.client import Client  # noqa: E402
from qflows.core.doctor import checkup  # noqa: E402
from qflows.core.scope import Scope  # noqa: E402
from qflows.errors import QflowsError  # noqa: E402
from qflows.ledger import lanes  # noqa: E402
from qflows.sandbox import Sandbox  # noqa: E402
from qflows.settings import Settings  # noqa: E402
from qflows.states import JobStatus  # noqa: E402

GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"   ",
    "cut off": b'{"id": "a',
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "a text": b'"jobs"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of numbers": b"[1, 2]",
    "a list of nulls": b"[null, null]",
    "a list of lists": b"[[[]]]",
    "a list of objects": b"[{}, {}]",
    "data null": b'{"success": true, "data": null}',
    "data of numbers": b'{"success": true, "data": [1, null, {}]}',
    "jobs of nulls": b'{"jobs": [null, 1, {}], "quantumTasks": [null], "next": 5}',
    "numbers for all": b'{"id": 1, "status": 2, "jobs": 3, "data": 4, "devices": 5, "sessions": 6, "state": 7}',
    "lists for all": b'{"id": [], "status": [], "jobs": [[]], "data": [[]], "backends": [[]], "state": [{}]}',
    "nulls for all": b'{"id": null, "status": null, "state": null, "created": null, "backend": null, "name": null}',
    "odd dates": b'[{"id": "x", "submitted_at": "yesterday", "jobQrn": "x", "timeStamps": 5, "created": "0000"}]',
    "odd times": b'{"id": "x", "status": "started", "max_jobs": "a", "settings": 5, "created_at": 1e400}',
    "a control id": b'{"id": "\\u001b[2J", "jobQrn": "\\u0000", "quantumTaskArn": "\\ud800", "groupJobQrn": "\\u202e"}',
    "a long id": b'{"id": "' + b"x" * 100_000 + b'", "jobQrn": "' + b"y" * 100_000 + b'"}',
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "xml": b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
    "not utf-8": b"\xff\xfe\x00{",
    "utf-16": '{"id": "x"}'.encode("utf-16"),
    "deep lists": b"[" * 50_000,
    "deep objects": b'{"data":' * 50_000,
    "a long number": b'{"id": ' + b"9" * 10_000 + b"}",
}
# what a client asks for before it gets to jobs; without it some of them never ask the rest
DOORS = r"^(?!/(iam|search|catalog))"


@pytest.fixture(scope="module")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(VENDORS)) as running:
        yield running


@pytest.fixture
def sandbox(all_vendors: Sandbox) -> Sandbox:
    all_vendors.admin.reset()
    return all_vendors


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Any:
    return VENDORS[request.param]


@pytest.fixture
def proxy(vendor: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with behind_a_proxy(vendor, sandbox, monkeypatch) as running:
        yield running


@pytest.fixture
def core(proxy: Any, tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path, settle_s=0.1, poll_min_s=0.01, http_timeout_s=5, lease_s=20))
    yield made
    made.ledger.close()


def _verbs(core: Client, vendor: Any, key: str, number: int) -> dict[str, Callable[[], Any]]:
    """Those that came after containment was first tested, and those of sessions and groups."""
    name, device = vendor.name, vendor.device
    provider: Any = core.provider(name)
    verbs: dict[str, Callable[[], Any]] = {
        "price": lambda: core.price(BELL, device=device, shots=10),
        "import by time": lambda: core.import_jobs(name, since="1h"),
        "import by id": lambda: core.import_jobs(name, ids=["some-id"]),
        "rebuild": lambda: core.rebuild([name], since="1h"),
        "devices": provider.devices,
    }
    if number % 4 == 0:  # these take longest
        verbs["refresh"] = lambda: core.refresh([key])
        verbs["tick"] = lambda: core.reconciler().tick()
        verbs["doctor"] = lambda: list(checkup.vendor(core, name))
    if vendor.session_device:
        verbs["open a session"] = lambda: core.open_session(vendor.session_device, f"s{number}", max_time_s=600)
        verbs["use a session"] = lambda: core.session("held").details()
        verbs["end a session"] = lambda: core.session("held").close()
    if provider.capabilities.native_groups:
        verbs["open a group"] = lambda: core.new_group(f"g{number}", run_key="g", native=device, ambient=False).open()
        verbs["read a group"] = lambda: provider.group("some-group")
        verbs["end a group"] = lambda: provider.close_group("some-group")
    return verbs


@pytest.mark.slow(reason="every verb with every kind of garbage")
def test_garbage_ends_in_our_errors_and_harms_nothing(
    sandbox: Sandbox, proxy: Any, vendor: Any, core: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.admin.clock("frozen")
    specs = core.specs(BELL, device=vendor.device, shots=20)
    [job] = core.submit(specs, device=vendor.device, scope=Scope("run", "a", "c"))
    assert job.status in (JobStatus.QUEUED, JobStatus.RUNNING), job
    held = None
    if vendor.session_device:
        held = core.open_session(vendor.session_device, "held", max_time_s=600)
        held.release()
        monkeypatch.setattr(core, "session", lambda name, real=core.session: real(str(held.key)))
    wrong = []
    for number, (kind, body) in enumerate(GARBAGE.items()):
        proxy.raw, proxy.only = body, DOORS if number % 3 else ""
        for verb, act in _verbs(core, vendor, job.key, number).items():
            lanes.free(core.ledger, vendor.name)
            try:
                act()
            except QflowsError:
                pass
            except Exception as error:  # noqa: BLE001 - each is a fault
                wrong.append(f"{verb}, {kind}: {type(error).__name__}: {error!s:.120}")
    assert wrong == []
    assert proxy.n_echoed > len(GARBAGE) * 3
    proxy.only = "(?!)"
    sandbox.admin.clock("instant")
    sandbox.admin.release()
    lanes.free(core.ledger, vendor.name)
    done = core.wait([job.key], timeout=30)[job.key]
    assert (done.status, done.vendor_id, sandbox.admin.count_jobs(vendor.name)) == (
        JobStatus.COMPLETED,
        job.vendor_id,
        1,
    )
