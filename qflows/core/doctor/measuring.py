"""Measuring an account: what its vendor's documents leave open, found out for very little money and stored."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from qflows.core.client import Client
from qflows.core.doctor.bench import Amount, LedgerBench
from qflows.errors import ProgramRejected, ProviderError
from qflows.ledger import facts, lanes
from qflows.protocol import Fact, MeasuredProvider, Provider

log = logging.getLogger("qflows.doctor")

LAGS = frozenset({"listing_lag_s", "get_lag_s"})
"""Facts that set the settle time: seconds that an accepted job was not shown, in lists or by its id."""


@dataclass
class Report:
    """What was seen, its maximum cost, and what could not be cleaned up (if anything, the run failed)."""

    vendor: str
    account: str
    run_key: str
    allowed: Amount
    facts: list[Fact] = field(default_factory=list)
    jobs: int = 0
    at_most: Decimal = Decimal(0)
    left_behind: list[str] = field(default_factory=list)
    trouble: str | None = None

    @property
    def is_ok(self) -> bool:
        """True if it finished and left nothing behind."""
        return self.trouble is None and not self.left_behind

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "vendor": self.vendor,
            "account": self.account,
            "run_key": self.run_key,
            "allowed": f"{self.allowed.value:f} {self.allowed.unit}",
            "spent_at_most": f"{self.at_most:f} {self.allowed.unit}",
            "jobs": self.jobs,
            "facts": [{"name": fact.name, "seen": fact.seen, "note": fact.note} for fact in self.facts],
            "left_behind": self.left_behind,
            "trouble": self.trouble,
        }


def measure(core: Client, vendor: str, allowed: Amount, *, patience_s: float = 120.0) -> Report:
    """Measure a vendor's account and store what was seen in the ledger, where look-ups use it from then on.

    Spends at most `allowed`. Raises ProgramRejected for a vendor with nothing to measure, CredentialsMissing.
    """
    provider = core.provider(vendor)
    if not isinstance(provider, MeasuredProvider):
        raise ProgramRejected(f"nothing to measure at {vendor}: its documentation answers every question")
    run_key = f"doctor-{vendor}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    report = Report(vendor, provider.account, run_key, allowed)
    bench = LedgerBench(core, provider, allowed, run_key, patience_s)
    try:
        for fact in provider.measure(bench):
            report.facts.append(fact)
            _use_lag(core, provider, fact)  # the next probe is watched with it
    except ProviderError as error:
        report.trouble = str(error)
    finally:
        report.left_behind = bench.clean_up()
        report.jobs, report.at_most = len(bench.bought), bench.reserved
        facts.record(core.ledger, vendor, provider.account, report.facts)
        provider.learn({fact.name: fact.seen for fact in report.facts if fact.seen is not None})
    return report


def _use_lag(core: Client, provider: Provider, fact: Fact) -> None:
    if fact.name in LAGS and isinstance(fact.seen, int | float) and fact.seen > 0:
        lanes.note_lag(core.ledger, provider.name, provider.account, float(fact.seen))
