"""Buying for measurements: through the ledger, under keys, never above an amount, with nothing left behind."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from qiskit import QuantumCircuit

from qflows.core import money, profiles
from qflows.core.client import Client
from qflows.core.profiles import DeviceProfile
from qflows.core.scope import script_scope
from qflows.errors import JobFailed, ProgramRejected, ProviderError, QflowsError, WaitTimeout
from qflows.ledger import raws, reads
from qflows.model import Cost, ItemResult, Quote, exact
from qflows.protocol import Bought, JobSpec, Provider

log = logging.getLogger("qflows.doctor")

_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z_]+)\s*")
_BILLED_FROM_S = 3.0  # the shortest time that devices billed by the minute charge for


@dataclass(frozen=True, slots=True)
class Amount:
    """How much may be spent, in a unit: usd, credits, qpu_s, or a currency with a rate."""

    value: Decimal
    unit: str

    @classmethod
    def parse(cls, text: str) -> Amount:
        """From a text such as "1 usd" or "20 qpu_s". Raises ProgramRejected for anything else."""
        found = _AMOUNT.fullmatch(text)
        if found is None:
            raise ProgramRejected(f'an amount is a number and a unit, such as "1 usd" or "20 qpu_s", not {text!r}')
        return cls(Decimal(found[1]), found[2].lower())


@dataclass
class LedgerBench:
    """The bench of one vendor's account."""

    core: Client
    provider: Provider
    allowed: Amount
    run_key: str
    patience_s: float = 120.0
    why: str = ""
    reserved: Decimal = Decimal(0)
    bought: list[Bought] = field(default_factory=list)
    _bounds: dict[str, Decimal] = field(default_factory=dict)

    # -- money -------------------------------------------------------------------------------------------------

    @property
    def left(self) -> Decimal:
        """What is neither spent nor set aside."""
        return self.allowed.value - self.reserved

    def bound(self, device: str, spec: JobSpec) -> Decimal | None:
        """The most that a job can cost, in the unit of the amount; None if no bound is known."""
        target = self.core.device(device)
        try:
            quote = money.quote_of(target, spec)
        except ProviderError as error:
            self.why = str(error)
            return None
        if quote is None:
            quote = Quote(None, None, self.allowed.unit, "")
        if quote.is_free:
            return Decimal(0)
        price = target.profile.price
        amount, unit = quote.bound, quote.unit
        if price is not None and price.per_minute and quote.unit != "qpu_s":
            # billed by time: this job is cancelled when its time is up
            seconds = max(_BILLED_FROM_S, self.patience_s)
            amount, unit = exact(price.per_minute) * exact(seconds) / 60, price.unit
        rate = money.Rates.from_settings(self.core.settings).rate(unit, self.allowed.unit)
        if amount is None or rate is None:
            self.why = f"no upper bound of the price is known in {self.allowed.unit} (the vendor charges {unit})"
            return None
        return amount * rate

    def reserve(self, amount: Decimal | None) -> bool:
        """Set an amount aside; return False, with `why`, if it is unknown or more than is left."""
        if amount is None:
            return False
        if amount > self.left:
            self.why = f"it could cost {money.shown(amount)} {self.allowed.unit}, and {money.shown(self.left)} is left"
            return False
        self.reserved += amount
        return True

    def may_repeat(self, bought: Bought) -> bool:
        """See `Bench`."""
        return self.reserve(self._bounds.get(bought.key))

    def did_not(self, bought: Bought) -> None:
        """See `Bench`."""
        self.reserved -= self._bounds.get(bought.key, Decimal(0))

    # -- devices -----------------------------------------------------------------------------------------------

    def cheapest(self, options: Mapping[str, Any] | None = None, *, shots: int = 1, is_qpu: bool = False) -> str | None:
        """See `Bench`. Only devices that are available now, to avoid waiting for a window."""
        listed = [info for info in self.provider.devices() if info.is_available]
        there = {info.device_id for info in listed if not (is_qpu and info.is_simulator)}
        ranked: list[tuple[bool, Decimal, str]] = []
        for profile in profiles.shipped().values():
            if profile.provider != self.provider.name or profile.device not in there or profile.retired:
                continue
            if profile.options:
                continue
            bound = self._least(profile, options, shots)
            if bound is not None and bound <= self.left:
                ranked.append((bound > 0, bound, profile.device))
        return min(ranked)[2] if ranked else None

    def _least(self, profile: DeviceProfile, options: Mapping[str, Any] | None, shots: int) -> Decimal | None:
        circuit = QuantumCircuit(1, 1)
        circuit.measure(0, 0)
        try:
            shots = self._shots(profile.name, shots)
            (spec,) = self.core.specs(circuit, device=profile.name, shots=shots, options=options)
        except QflowsError as error:
            log.info("%s was skipped: %s", profile.name, error)
            return None
        return self.bound(profile.name, spec)

    def _shots(self, device: str, wanted: int) -> int:
        return max(wanted, self.core.device(device).limits.min_shots)

    # -- buying ------------------------------------------------------------------------------------------------

    def buy(
        self, programs: Sequence[Any], *, device_id: str, shots: int, options: Mapping[str, Any] | None = None
    ) -> Bought | None:
        """See `Bench`."""
        device = self.name_of(device_id)
        try:
            planned = self.core.plan_batch(
                list(programs), device=device, shots=self._shots(device, shots), options=options
            )
        except (QflowsError, ValueError) as error:
            self.why = str(error)
            return None
        if len(planned.specs) != 1:
            self.why = f"{device} does not take {len(programs)} circuits in one job"
            return None
        spec = planned.specs[0][1]
        bound = self.bound(device, spec)
        if not self.reserve(bound):
            return None
        (job,) = self.core.submit([spec], device=device, scope=script_scope(self.run_key))
        answered_at = time.monotonic()
        if job.vendor_id is None:
            self.why = job.error_message or f"job {job.key[:12]} is {job.status}"
            return None
        made = Bought(job.key, job.vendor_id, spec, answered_at)
        self.bought.append(made)
        self._bounds[job.key] = bound or Decimal(0)
        return made

    def name_of(self, device_id: str) -> str:
        """The plain profile of a device, which knows its price; otherwise `vendor:device-id`."""
        named = [p for p in profiles.shipped().values() if p.provider == self.provider.name and p.device == device_id]
        plain = [profile.name for profile in named if not profile.options]
        return plain[0] if plain else f"{self.provider.name}:{device_id}"

    def finish(self, bought: Bought) -> Sequence[ItemResult] | None:
        """See `Bench`. A job that does not finish in time is cancelled."""
        try:
            found = self.core.result([bought.key], timeout=self.patience_s)
        except (WaitTimeout, JobFailed) as error:
            self.why = str(error)
            return None
        self._settle(bought, found.cost)
        return reads.items(self.core.ledger, bought.key)

    def _settle(self, bought: Bought, cost: Cost | None) -> None:
        """Free what was set aside beyond the price that the result names."""
        rate = money.Rates.from_settings(self.core.settings).rate(cost.unit, self.allowed.unit) if cost else None
        if cost is None or rate is None:
            return
        actual, bound = exact(cost.amount) * rate, self._bounds[bought.key]
        self.reserved -= max(bound - actual, Decimal(0))

    def raw(self, bought: Bought) -> Mapping[str, bytes]:
        """See `Bench`."""
        kept = raws.of(self.core.ledger, [bought.key])
        return kept[bought.key].documents if bought.key in kept else {}

    # -- cleaning up ---------------------------------------------------------------------------------------------

    def clean_up(self) -> list[str]:
        """Cancel what still runs, and extra jobs that carry one of our keys. Returns what could not be cleaned up."""
        keys = [one.key for one in self.bought]
        for one in self.bought:
            self.core.submitter.cancel_extras_of(self.provider, one.spec.device_id, one.key)
        live = [key for key, job in reads.by_keys(self.core.ledger, keys).items() if not job.is_terminal]
        if live:
            try:
                self.core.cancel(live, timeout=self.patience_s)
            except QflowsError as error:
                log.warning("%s", error)
        left = [job for job in reads.by_keys(self.core.ledger, keys).values() if not job.is_terminal]
        return [f"job {job.key[:12]} ({job.vendor_id}) is still {job.status}" for job in left]
