"""The cost of a purchase before it is made: the vendor's own quote, otherwise the device profile's price.

Amounts stay in the vendor's unit. They are converted to another currency only at a rate that the user has set, because
the price of a QPU second or a credit depends on the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

from qflows import display
from qflows.core.devices import Device
from qflows.core.profiles import DeviceProfile
from qflows.display import plural
from qflows.errors import OverBudget, QflowsError, Refused, Unreadable
from qflows.ledger import budgets, charges
from qflows.ledger.intents import Intent
from qflows.ledger.store import Ledger
from qflows.model import Quote, exact
from qflows.protocol import JobSpec
from qflows.settings import Settings

T = TypeVar("T")
_MINUTE_S = 60
UNKNOWN = "no bound known"


@dataclass(frozen=True, slots=True)
class Rates:
    """A currency, and the value of one of each other unit in it."""

    currency: str = "usd"
    of: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Settings) -> Rates:
        """The rates that the user has set."""
        return cls(settings.currency, dict(settings.rates))

    def rate(self, unit: str, currency: str | None = None) -> Decimal | None:
        """What one `unit` is worth in `currency` (default: ours); None if no rate was set."""
        wanted = (currency or self.currency).lower()
        if unit.lower() == wanted:
            return Decimal(1)
        worth, of_wanted = self._worth(unit), self._worth(wanted)
        return worth / of_wanted if worth is not None and of_wanted is not None else None

    def _worth(self, unit: str) -> Decimal | None:
        return Decimal(1) if unit.lower() == self.currency else self.of.get(unit.lower())

    def convert(self, amount: Decimal | None, unit: str) -> Decimal | None:
        """An amount of `unit` in our currency; None if it is unknown or no rate was set."""
        rate = self.rate(unit)
        return amount * rate if amount is not None and rate is not None else None


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of a list of jobs; `quotes` holds one for each job, None if its cost is unknown.

    `expected` and `bound` are sums in the vendor's `unit`; None as soon as one job has none. `bound`: the most that the
    vendor's own rules allow. `expected_in` and `bound_in`: the same in `currency`, at the user's rates.
    """

    device: str
    quotes: tuple[Quote | None, ...]
    rates: Rates = field(default_factory=Rates)
    hint: str = ""

    @property
    def unit(self) -> str | None:
        """The vendor's unit: usd, credits, qpu_s; None if nothing is known, or units differ."""
        units = {quote.unit for quote in self.quotes if quote is not None}
        return units.pop() if len(units) == 1 else None

    @property
    def expected(self) -> Decimal | None:
        """The sum over all jobs, in the vendor's unit."""
        return self._sum([quote.expected if quote else None for quote in self.quotes])

    @property
    def bound(self) -> Decimal | None:
        """The most that all jobs together can cost, in the vendor's unit; None: no bound is known."""
        return self._sum([quote.bound if quote else None for quote in self.quotes])

    def _sum(self, amounts: Sequence[Decimal | None]) -> Decimal | None:
        known = [amount for amount in amounts if amount is not None]
        return sum(known, Decimal(0)) if len(known) == len(amounts) and self.unit is not None else None

    @property
    def currency(self) -> str:
        """The currency of `expected_in` and `bound_in`."""
        return self.rates.currency

    @property
    def expected_in(self) -> Decimal | None:
        """`expected` in the currency; None without a rate."""
        return self.rates.convert(self.expected, self.unit) if self.unit else None

    @property
    def bound_in(self) -> Decimal | None:
        """`bound` in the currency; None without a rate."""
        return self.rates.convert(self.bound, self.unit) if self.unit else None

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the prices, each once."""
        return tuple(dict.fromkeys(quote.source for quote in self.quotes if quote is not None))

    def row(self) -> dict[str, str]:
        """As a row of a table."""
        expected = "unknown" if self.expected is None else f"{shown(self.expected)} {self.unit}"
        bound = UNKNOWN if self.bound is None else f"{shown(self.bound)} {self.unit}"
        found = {"jobs": str(len(self.quotes)), "expected": expected, "at most": bound}
        if self.unit and self.unit != self.currency:
            found[f"expected, {self.currency}"] = shown(self.expected_in) or "no rate set"
            found[f"at most, {self.currency}"] = shown(self.bound_in) or "no rate set"
        found["source"] = "; ".join(self.sources) or "neither the vendor nor the device profile states a price"
        return found | ({"note": self.hint} if self.hint else {})

    def to_json(self) -> dict[str, Any]:
        """As data: amounts as decimal text, None if unknown."""
        amounts = {name: getattr(self, name) for name in ("expected", "bound", "expected_in", "bound_in")}
        return {
            "device": self.device,
            "jobs": len(self.quotes),
            "unit": self.unit,
            "currency": self.currency,
            **{name: None if amount is None else f"{amount:f}" for name, amount in amounts.items()},
            "sources": list(self.sources),
            "note": self.hint or None,
        }

    def __str__(self) -> str:
        bound = f"at most {shown(self.bound)}" if self.bound is not None else UNKNOWN
        expected = f"{shown(self.expected)} {self.unit}" if self.expected is not None else "unknown"
        return f"{plural(len(self.quotes), 'job')} on {self.device}: expected {expected}, {bound}"

    def __repr__(self) -> str:
        return f"<Price {self}>"

    def _repr_html_(self) -> str:
        return display.pairs({"device": self.device} | self.row())


def shown(amount: Decimal | None) -> str:
    """`1,234.50`: two places, more if they are significant; empty for None."""
    if amount is None:
        return ""
    places = max(2, min(6, -int(amount.normalize().as_tuple().exponent))) if amount else 2
    return f"{amount:,.{places}f}"


def quoted(ledger: Ledger, target: Device, intents: Sequence[Intent]) -> list[Intent]:
    """The intents with their costs, if a budget is in force; otherwise unchanged, after one read.

    Raises NotSent if the vendor must be asked and is unreachable; nothing is recorded then.
    """
    if not intents or not budgets.listing(ledger):
        return list(intents)
    return [replace(one, quote=quote_of(target, one.spec), is_priced=True) for one in intents]


def with_approval(ledger: Ledger, asks: Callable[[OverBudget], bool] | None, buy: Callable[[], T]) -> T:
    """Call `buy()`, and again if a person allowed what exceeds a budget. `asks` returns False if nobody did."""
    while True:
        try:
            return buy()
        except OverBudget as error:
            charges.tell(ledger, error)
            if asks is None or error.policy != "ask" or error.asked is None:
                raise
            if not asks(error):
                break
    return buy()  # the error now says who denied it, and why


def price_of(target: Device, specs: Sequence[JobSpec], rates: Rates) -> Price:
    """The cost of these jobs on a device. May ask the vendor for prices; buys nothing.

    Raises NotSent if the vendor is unreachable.
    """
    quotes = tuple(quote_of(target, spec) for spec in specs)
    return Price(target.profile.name, quotes, rates, _list_price(target.profile, quotes))


def quote_of(target: Device, spec: JobSpec) -> Quote | None:
    """The cost of one job: the vendor's quote, otherwise the profile's price; None if there is neither.

    Raises NotSent if the vendor is unreachable, Unreadable if its answer makes no sense.
    """
    try:
        told = target.provider.estimate(spec)
    except Refused:
        told = None
    except QflowsError:
        raise
    except Exception as error:  # vendor boundary
        raise Unreadable(
            f"the price information of {target.provider.name} cannot be read: {type(error).__name__}: {error}",
            provider=target.provider.name,
        ) from error
    return told if told is not None else _by_profile(target.profile, spec)


def _by_profile(profile: DeviceProfile, spec: JobSpec) -> Quote | None:
    price = profile.price
    if price is None:
        return None
    told = f"profile {profile.name}: {price.source or 'no source'}" + (f", {price.date}" if price.date else "")
    fixed = exact(price.per_job) + exact(price.per_shot) * (spec.shots or 0) * len(spec.programs)
    if price.per_minute:
        return Quote(None, None, price.unit, f"{told}; {price.per_minute:g} per minute, and nothing limits the minutes")
    return Quote(fixed, fixed, price.unit, told)


def _list_price(profile: DeviceProfile, quotes: Sequence[Quote | None]) -> str:
    """The profile's list price of QPU seconds: a hint, never a rate that the guard uses."""
    price = profile.price
    if price is None or not price.per_minute or any(quote is None or quote.unit != "qpu_s" for quote in quotes):
        return ""
    seconds = sum((quote.expected or Decimal(0) for quote in quotes if quote), Decimal(0))
    amount = seconds * exact(price.per_minute) / _MINUTE_S
    return f"about {amount:,.2f} {price.unit} at {price.per_minute:g} a minute ({price.source}, {price.date})"
