"""What is known now of each device that a rule names, and which of them fit, best first.

Nothing is guessed. A value that no source reports is unknown: a condition on it excludes the device unless the rule
says otherwise, and unknown values sort last. Each step asks vendors only about the remaining devices, because each
calibration or price is a request.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from qflows.core import profiles
from qflows.core.devices import Device, Vendors
from qflows.core.money import Price, Rates, price_of, shown
from qflows.core.rules import CRITERIA, FLAGS, Criterion, Rule
from qflows.errors import CredentialsMissing, DocumentError, ProgramRejected, ProviderError, UnknownDevice
from qflows.protocol import ConditionProvider, DeviceInfo, DeviceList, JobSpec, Lookup, Provider

log = logging.getLogger("qflows.choice")

NOT_TOLD = "the vendor does not say"
Specs = Callable[[Device], Sequence[JobSpec]]
Drift = Callable[[str], "float | None"]


@dataclass
class Candidate:
    """One device: its values by criterion name, why values are missing, and why it is excluded."""

    device: str
    vendor: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    out: str = ""
    target: Device | None = None
    price: Price | None = None

    def row(self, rank: int | None = None) -> dict[str, Any]:
        """Plain JSON for the ledger."""
        values = {name: f"{value.normalize():f}" if name == "price" else value for name, value in self.values.items()}
        return {
            "device": self.device,
            "vendor": self.vendor,
            "rank": rank,
            "values": values,
            "unknown": dict(self.unknown),
            "note": "; ".join(self.notes),
            "out": self.out,
            "price": str(self.price) if self.price is not None else None,
        }


@dataclass(frozen=True)
class Look:
    """One evaluation of a rule's candidates. `specs`: the program's jobs on a device, None if not known yet.

    `drift`: how far a device's newest values are from its history, in sigmas; None without a history.
    """

    rule: Rule
    vendors: Vendors
    rates: Rates
    specs: Specs | None = None
    drift: Drift | None = None

    def candidates(self, names: Iterable[str] = ()) -> tuple[list[Candidate], list[Candidate]]:
        """Those that fit, best first, and all of them in the order of the rule."""
        everyone = [Candidate(name) for name in names or self.names()]
        steps = [self._name, self._listing, self._condition, self._program, self._price]
        for step in steps:
            step([one for one in everyone if not one.out])
        for one in everyone:
            if not one.out:
                self._rank_note(one)
        fitting = [one for one in everyone if not one.out]
        fitting.sort(key=lambda one: self._order(one, fitting))  # stable: the rule's order breaks ties
        return fitting, everyone

    def names(self) -> list[str]:
        """Devices by the rule's names, in its order. Raises UnknownDevice for a name that matches none."""
        found: dict[str, None] = {}
        for pattern in self.rule.names:
            if "*" not in pattern:
                if self.vendors.profile(pattern) is None:
                    if pattern in CRITERIA or pattern in FLAGS:
                        raise ProgramRejected(
                            f"rule {str(self.rule)!r}: {pattern} is a condition, not a device; conditions come after a "
                            f"semicolon: {CRITERIA.get(pattern, pattern)}"
                        )
                    raise profiles.unknown(pattern)
                found[pattern] = None
                continue
            here = [name for name in profiles.shipped() if fnmatch.fnmatchcase(name, pattern)]
            if not here:
                raise UnknownDevice(f"no device name matches {pattern!r}; `qflows devices` lists them")
            found |= dict.fromkeys(here)
        return list(found)

    # -- steps

    def _name(self, among: Sequence[Candidate]) -> None:
        for one in among:
            profile = self.vendors.profile(one.device)
            if profile is None:
                one.out = "no such device"
                continue
            one.vendor = profile.provider
            if profile.simulator is not None:
                one.values["simulator"] = profile.simulator
            if self._fails(one, ("vendor", *(FLAGS if profile.simulator is not None else ()))):
                continue
            try:
                one.target = self.vendors.device(one.device)
            except (UnknownDevice, CredentialsMissing, DocumentError, ImportError) as error:
                one.out = str(error)

    def _listing(self, among: Sequence[Candidate]) -> None:
        """Listings, with one request per vendor account."""
        lists: dict[int, Mapping[str, DeviceInfo] | str] = {}
        for one in among:
            assert one.target is not None
            provider, profile = one.target.provider, one.target.profile
            if id(provider) not in lists:
                lists[id(provider)] = _listed(provider)
            listed = lists[id(provider)]
            if isinstance(listed, str):
                one.out = f"its vendor did not answer: {listed}"
                continue
            info = listed.get(profile.device)
            if info is None and provider.capabilities.lookup is not Lookup.LOCAL:
                one.out = "the vendor does not list it for this account"
            elif info is not None and not info.is_available:
                one.out = f"not available: {info.note or 'the vendor says so'}"
            else:
                self._take(one, info)
                self._fails(one, ("qubits", "shots", "queue", "pending", *FLAGS))

    def _take(self, one: Candidate, info: DeviceInfo | None) -> None:
        assert one.target is not None
        profile = one.target.profile
        widths = [n for n in (profile.qubits, info.n_qubits if info else None) if n is not None]
        is_local = one.target.provider.capabilities.lookup is Lookup.LOCAL
        values = {
            "qubits": min(widths, default=None),
            "shots": profile.max_shots,
            "queue": 0.0 if is_local else info.queue_s if info else None,
            "pending": 0 if is_local else info.queue_length if info else None,
            "simulator": profile.simulator if profile.simulator is not None else info.is_simulator if info else None,
        }
        if values["shots"] is None and self.rule.asks_for("shots"):
            try:
                values["shots"] = one.target.limits.max_shots
            except ProviderError as error:
                one.unknown["shots"] = str(error)
        for name, value in values.items():
            _put(one, name, value)
        if info is not None and info.note and not info.note.isupper() and info.queue_length is None:
            one.notes.append(info.note)

    def _condition(self, among: Sequence[Candidate]) -> None:
        is_wanted = self.rule.verb == "best" or self.rule.asks_for("error", "readout", "opens")
        for one in among:
            assert one.target is not None
            provider = one.target.provider
            if is_wanted and isinstance(provider, ConditionProvider):
                try:
                    told = provider.condition(one.target.profile.device)
                except ProviderError as error:
                    one.unknown |= dict.fromkeys(("error", "readout", "opens"), str(error))
                else:
                    for name, value in (
                        ("error", told.two_qubit_error),
                        ("readout", told.readout_error),
                        ("opens", told.opens_s),
                    ):
                        _put(one, name, value)
                    one.notes += [told.source] if told.source else []
            elif is_wanted:
                one.unknown |= dict.fromkeys(("error", "readout", "opens"), NOT_TOLD)
            if self.rule.asks_for("drift"):
                far = self.drift(one.device) if self.drift else None
                _put(one, "drift", far, "fewer than 7 nights of measurements in this ledger")
            self._fails(one, ("error", "readout", "opens", "drift"))

    def _program(self, among: Sequence[Candidate]) -> None:
        """Whether the program can run there at all."""
        if self.specs is None:
            return
        for one in among:
            assert one.target is not None
            try:
                self.specs(one.target)
            except (ProgramRejected, ProviderError, ValueError) as error:
                one.out = str(error)

    def _price(self, among: Sequence[Candidate]) -> None:
        if self.rule.verb != "cheapest" and not self.rule.asks_for("price"):
            return
        if self.specs is None:
            raise ProgramRejected(
                f"{self.rule} needs a price, and no program is known here. Use least_busy or "
                "best, or call qflows.choose(rule, program, shots=...) first and pass the device that it returns"
            )
        for one in among:
            assert one.target is not None
            try:
                one.price = price_of(one.target, self.specs(one.target), self.rates)
            except ProviderError as error:
                one.unknown["price"] = str(error)
            self._price_or_why(one)
            self._fails(one, ("price",))

    def _price_or_why(self, one: Candidate) -> None:
        price = one.price
        if price is None or price.expected is None or price.unit is None:
            one.unknown.setdefault("price", "neither the vendor nor the device profile says what it costs")
            return
        unit = next((c.unit for c in self.rule.criteria if c.name == "price" and c.unit), None) or self.rates.currency
        rate = self.rates.rate(price.unit, unit)
        if rate is None:
            one.unknown["price"] = (
                f"{shown(price.expected)} {price.unit}, and QFLOWS_RATES has no rate from that to {unit}"
            )
        else:
            one.values["price"] = price.expected * rate

    # -- judging

    def _fails(self, one: Candidate, names: Iterable[str]) -> bool:
        """Exclude the candidate by the first of these conditions that it does not meet."""
        chosen = set(names)
        for condition in self.rule.criteria:
            if condition.name in chosen and not one.out:
                one.out = _objection(one, condition)
        return bool(one.out)

    def _rank_note(self, one: Candidate) -> None:
        wanted = {"cheapest": ("price",), "best": ("error",), "least_busy": ("queue", "pending")}[self.rule.verb]
        if not any(name in one.values for name in wanted):
            why = next((one.unknown[name] for name in wanted if name in one.unknown), NOT_TOLD)
            one.notes.append(f"ranked last, {' and '.join(wanted)} unknown: {why}")
        elif self.rule.verb == "least_busy" and "queue" not in one.values:
            one.notes.append("ranked after those with a wait in seconds: only the number of jobs pending is known")

    def _order(self, one: Candidate, among: Sequence[Candidate]) -> tuple[Any, ...]:
        keys = {
            "cheapest": ("price", "queue", "pending"),
            "least_busy": ("queue", "pending", "price"),
            "best": ("error", "readout", "queue", "pending"),
        }[self.rule.verb]
        return tuple((name not in one.values, one.values.get(name, 0)) for name in keys)


def _listed(provider: Provider) -> Mapping[str, DeviceInfo] | str:
    try:
        found = provider.devices()
    except (ProviderError, CredentialsMissing, ImportError) as error:
        return str(error)
    if isinstance(found, DeviceList) and found.troubles:
        log.warning("not all devices of %s could be listed: %s", provider.name, dict(found.troubles))
    return {info.device_id: info for info in found}


def _put(one: Candidate, name: str, value: Any, why: str = NOT_TOLD) -> None:
    if value is None:
        one.unknown.setdefault(name, why)
    else:
        one.values[name] = value
        one.unknown.pop(name, None)


def _objection(one: Candidate, condition: Criterion) -> str:
    """Why a condition is not met; empty if it is."""
    if condition.name == "vendor":
        return "" if condition.holds(one.vendor) else f"{condition} is not met: {one.vendor}"
    if condition.name in FLAGS:
        is_simulator = one.values.get("simulator")
        if is_simulator is None:
            return f"{condition}: unknown whether it is a simulator"
        return "" if is_simulator is condition.value else f"{condition} is not met"
    if condition.name not in one.values:
        if condition.may_be_unknown:
            return ""
        return f"{condition}: {condition.name} is not known ({one.unknown.get(condition.name, NOT_TOLD)})"
    found = one.values[condition.name]
    return "" if condition.holds(found) else f"{condition} is not met: {text_of(condition.name, found)}"


def text_of(name: str, value: Any) -> str:
    """A value as readable text."""
    if name in ("error", "readout"):
        return f"{100 * float(value):.3g} %"
    if name in ("queue", "opens"):
        seconds = float(value)
        if seconds >= 3600:
            return f"{seconds / 3600:.1f} h"
        return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
    if name == "price":
        return shown(Decimal(value))
    if name == "drift":
        return f"{float(value):.1f} sigma"
    if name == "simulator":
        return "yes" if value else "no"
    return str(value)
