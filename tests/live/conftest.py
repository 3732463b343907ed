"""What the live tests need: a budget, credentials, the cheapest device, and patience.

    QFLOWS_LIVE_BUDGET="2 usd, 60 qpu_s, 0 credits" python -m pytest tests/live

The budget is for one run of all vendors together, one amount a unit. A vendor without credentials, or without a device
that an amount can pay, is skipped. docs/vendors.md says more.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qflows.core.client import Client
from qflows.core.doctor.bench import Amount, LedgerBench
from qflows.errors import CredentialsMissing, ProviderError
from qflows.model import Cost, exact
from qflows.protocol import Accepted, JobSpec, Phase, Prepared, Provider, RawAnswer, VendorResult
from qflows.settings import Settings
from qflows.testing import Target, jobs

BUDGET, PATIENCE_S = "QFLOWS_LIVE_BUDGET", "QFLOWS_LIVE_PATIENCE_S"
_BILLED_S = 60.0  # set aside for a job on a device that bills by time, which these circuits never fill
_UNFINISHED = (Phase.QUEUED, Phase.RUNNING, Phase.HELD)


@dataclass
class Guarded:
    """A provider that sends what the budget still pays, and remembers what it sent."""

    inner: Provider
    bench: LedgerBench
    device: str
    device_id: str
    sent: dict[str, Accepted] = field(default_factory=dict)  # by key
    bounds: dict[str, Decimal] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def send(self, prepared: Prepared) -> Accepted:
        """Skips the test where the most that the job can cost is more than is left, or unknown."""
        bound = self.bench.bound(self.device, prepared.spec)
        if not self.bench.reserve(bound):
            pytest.skip(f"over the budget: {self.bench.why}")
        self.bounds[prepared.key] = bound or Decimal(0)
        self.sent[prepared.key] = self.inner.send(prepared)
        return self.sent[prepared.key]

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """What was set aside beyond the price is free again."""
        found = self.inner.decode(raw, spec, key)
        self._settle(key, found.cost)
        return found

    def _settle(self, key: str, cost: Cost | None) -> None:
        if cost is not None and cost.unit == self.bench.allowed.unit:
            self.bench.reserved -= max(self.bounds.pop(key, Decimal(0)) - exact(cost.amount), Decimal(0))

    def clean_up(self) -> list[str]:
        """Cancels what still waits or runs. Returns it."""
        ids = [one.vendor_id for one in self.sent.values()]
        looks = self.inner.poll(ids) if ids else {}
        left = [vendor_id for vendor_id in ids if vendor_id in looks and looks[vendor_id].phase in _UNFINISHED]
        for vendor_id in left:
            self.inner.cancel(vendor_id)
        return left


@pytest.fixture(autouse=True)
def only_loopback() -> None:
    """In place of the guard of the other tests: these go to the vendors."""


@pytest.fixture(autouse=True)
def no_accounts() -> None:
    """In place of the fixture that hides credentials from the other tests."""


@pytest.fixture(scope="session")
def purse() -> dict[str, Decimal]:
    """What is left of the budget, by unit. Skips without one."""
    text = os.environ.get(BUDGET, "")
    if not text.strip():
        pytest.skip(f'{BUDGET} is not set; "2 usd, 60 qpu_s, 0 credits" lets these tests spend as much')
    amounts = [Amount.parse(one) for one in text.split(",")]
    return {amount.unit: amount.value for amount in amounts}


@pytest.fixture(scope="class")
def guarded(
    request: pytest.FixtureRequest, purse: dict[str, Decimal], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """The vendor of the class on its cheapest device. At the end nothing of ours is left running."""
    vendor: str = request.cls.vendor
    core = Client(Settings(home=Path(tmp_path_factory.mktemp(vendor))))
    try:
        inner = core.provider(vendor)
    except CredentialsMissing as error:
        pytest.skip(f"{vendor}: {error}")
    whys: list[str] = []
    for unit, value in purse.items():
        bench = LedgerBench(core, inner, Amount(value, unit), "live", _BILLED_S)
        try:
            device_id = bench.cheapest(request.cls.options)
        except ProviderError as error:
            pytest.fail(f"{vendor} cannot be asked for its devices: {error}; `qflows doctor {vendor}` examines it")
        if device_id is None:
            whys.append(f"{value} {unit}: {bench.why or 'no device that is available now costs so little'}")
            continue
        made = Guarded(inner, bench, bench.name_of(device_id), device_id)
        yield made
        left = made.clean_up()
        purse[unit] = max(bench.left, Decimal(0))
        said = f"{vendor} on {device_id}: {len(made.sent)} jobs, at most {bench.reserved:f} {unit}"
        print(f"\n{said}; cancelled at the end: {len(left)}")
        core.ledger.close()
        return
    core.ledger.close()
    pytest.skip(f"{vendor}: nothing can be bought with {'; '.join(whys)}")


@pytest.fixture
def target(request: pytest.FixtureRequest, guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> Target:
    """The device, as the suite tries it: paid and noisy devices run fewer and smaller circuits."""
    device_id = guarded.device_id
    (info,) = [one for one in guarded.inner.devices() if one.device_id == device_id][:1]
    limits = guarded.inner.limits(device_id)
    options, is_free = request.cls.options, not any(guarded.bounds.values()) and guarded.bench.reserved == 0
    found = Target(device_id, options, max_qubits=6)
    if not info.is_simulator:
        found = Target(device_id, options, noise=0.3, max_qubits=4)
    for name, value in {
        "sampling": (found,),
        "random_circuits": 20 if is_free and info.is_simulator else 4,
        "random_shots": min(request.cls.random_shots, limits.max_shots or request.cls.random_shots),
        "probe_shots": max(request.cls.probe_shots, limits.min_shots),
    }.items():
        monkeypatch.setattr(request.instance, name, value)
    return found


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch, run_name: str) -> None:
    """Real queues are long, real vendors count requests, and real keys must be new in every run."""
    monkeypatch.setattr(jobs, "TIMEOUT_S", float(os.environ.get(PATIENCE_S, "900")))
    monkeypatch.setattr(jobs, "PAUSE_S", float(os.environ.get("QFLOWS_LIVE_PAUSE_S", "2")))
    monkeypatch.setattr(jobs, "RUN", run_name)


@pytest.fixture(scope="session")
def run_name() -> str:
    """Of this run of the tests alone."""
    return f"live-{uuid.uuid4().hex}"
