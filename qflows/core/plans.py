"""What programs become on a device and what they would cost; nothing is recorded or sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from qflows.core import orders, rules
from qflows.core.batches.planning import Planned
from qflows.core.choice import asking, history
from qflows.core.choice.deciding import Asked, Chooser
from qflows.core.devices import Device
from qflows.core.money import Price, Rates, price_of
from qflows.core.records import Records
from qflows.core.rules import Rule
from qflows.core.scope import Scope
from qflows.model import Job
from qflows.protocol import JobSpec, Provider

T = TypeVar("T")


class Plans(Records):
    """Devices, rules that choose them, jobs that programs become, and prices. Look-ups are in `Records`."""

    @cached_property
    def chooser(self) -> Chooser:
        """Choose devices by rule."""
        rates = Rates.from_settings(self.settings)
        return Chooser(lambda: self.ledger, self.vendors, rates, lambda name: history.farthest(self.ledger, name))

    def rule(self, device: str) -> Rule | None:
        """The rule that `device` states or names; None for a device. Raises ProgramRejected."""
        if rules.looks_like_one(device):
            return rules.read(device)
        kept = self.vendors.rule(device) if isinstance(device, str) else None
        return rules.read(kept, device) if kept is not None else None

    def through(
        self,
        device: str,
        scope: Scope,
        asked: Callable[[], Asked],
        use: Callable[[str, Scope], T],
        jobs: Callable[[T], Sequence[Job]],
    ) -> T:
        """Call `use(device, scope)`, choosing the device if `device` is a rule; see `Chooser.through`."""
        rule = self.rule(device)
        if rule is None:
            return use(device, scope)
        return self.chooser.through(rule, scope, asked(), use, jobs)

    def device(self, name: str) -> Device:
        """The device with this name. Raises UnknownDevice, CredentialsMissing."""
        return self.vendors.device(name)

    def provider(self, vendor: str, credentials_block: str | None = None) -> Provider:
        """The provider of a vendor, with the fields of saved credentials or the vendor's environment."""
        return self.vendors.provider(vendor, credentials_block)

    def specs(self, source: Any, *, device: str, shots: int | None, **wishes: Any) -> list[JobSpec]:
        """The jobs for `source` on `device`, checked; nothing is sent or recorded. See `orders.job_specs`."""
        return orders.job_specs(self.device(device), source, shots=shots, **wishes)

    def plan_batch(
        self, sources: Sequence[Any], *, device: str, shots: int | Sequence[int] | None, **wishes: Any
    ) -> Planned:
        """The jobs for a list of programs, or a sweep; nothing is recorded or sent. See `orders.batch_plan`."""
        return orders.batch_plan(self.device(device), sources, shots=shots, **wishes)

    def price(
        self,
        programs: Any,
        *,
        device: str,
        shots: int | Sequence[int] | None = None,
        **wishes: Any,
    ) -> Price:
        """The cost of a program, or of a list of them as a batch, on `device`; buys and records nothing.

        See `qflows.price`.
        """
        rule = self.rule(device)
        if rule is not None:
            device = self.first_fitting(rule, asking.for_programs(programs, shots, wishes))
        specs = asking.layout(self.device(device), programs, shots, wishes)
        return self.price_of(specs, device=device)

    def first_fitting(self, rule: Rule, asked: Asked) -> str:
        """The device that a rule would choose now; decides and records nothing. Raises NoDeviceFits."""
        return self.chooser.first(rule, asked)

    def price_of(self, specs: Sequence[JobSpec], *, device: str) -> Price:
        """The cost of jobs that are already laid out."""
        return price_of(self.device(device), specs, Rates.from_settings(self.settings))
