"""The facts of a report, read from the ledger alone. Free of Prefect; what its server knows is passed in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from qflows.core import drift
from qflows.core.drift import Verdict
from qflows.ledger import gates, groups, measurements, sessions, slots, spending, summaries
from qflows.ledger.gates import GateDecision
from qflows.ledger.groups import GroupRecord
from qflows.ledger.measurements import Measurement
from qflows.ledger.slots import SlotDecision
from qflows.ledger.spending import Spent, Standing
from qflows.ledger.store import Ledger
from qflows.ledger.summaries import FlowTally, OpenDoubt, Spending, Tally
from qflows.model import Job, SessionRecord

STALE = timedelta(days=30)  # a quantity not measured for this long is left out


@dataclass(frozen=True, slots=True)
class RunTrouble:
    """A flow run that ended badly, as the Prefect server has it."""

    name: str
    state: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Trend:
    """One quantity of one device: verdicts oldest first, the last `drift.WINDOW` plus one; the newest is last.

    `flagged`: those of the report's time. `calibration`: what changed between the value before the first of them and
    it; None if the vendor gave none on one of the two nights.
    """

    verdicts: tuple[Verdict, ...]
    flagged: tuple[Verdict, ...]
    calibration: tuple[str, ...] | None

    @property
    def newest(self) -> Measurement:
        """The newest value."""
        return self.verdicts[-1].measurement


@dataclass(frozen=True)
class Report:
    """Everything of `since` <= t < `until`, UTC; doubts, sessions and groups are those open now.

    `gates`: looks that held a run back, with the name of its flow. `month` and `projects`: spending since the first of
    the month. `budgets`: as they are now. `n_compared`: values of this time with enough history to be judged; three in
    a thousand of them are flagged by chance.
    """

    since: datetime
    until: datetime
    tallies: tuple[Tally, ...]
    flows: tuple[FlowTally, ...]
    bad: tuple[Job, ...]
    doubts: tuple[OpenDoubt, ...]
    held: tuple[Job, ...]
    callbacks: tuple[tuple[str, str, str], ...]
    runs: tuple[RunTrouble, ...]
    crash_retries: int
    spending: tuple[Spending, ...]
    month: tuple[Spending, ...]
    projects: tuple[Spent, ...]
    budgets: tuple[Standing, ...]
    sessions: tuple[SessionRecord, ...]
    groups: tuple[GroupRecord, ...]
    skipped: tuple[SlotDecision, ...]
    gates: tuple[tuple[GateDecision, str], ...]
    trends: tuple[Trend, ...]
    n_compared: int

    @property
    def flagged(self) -> list[Trend]:
        """Quantities with a flag in this time, the farthest first."""
        found = [trend for trend in self.trends if trend.flagged]
        return sorted(found, key=lambda trend: -max(abs(one.sigmas or 0.0) for one in trend.flagged))

    @property
    def n_jobs(self) -> int:
        """Number of jobs that were wanted or ended."""
        return sum(tally.n for tally in self.tallies)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; times in ISO 8601."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "jobs": [asdict(one) for one in self.tallies],
            "flows": [asdict(one) | {"last": one.last.isoformat()} for one in self.flows],
            "failed": [_job(job) for job in self.bad],
            "in_doubt": [_job(one.job) | {"age_s": one.age_s, "needs_person": one.needs_person} for one in self.doubts],
            "withheld": [_job(job) for job in self.held],
            "failed_callbacks": [{"group": id_, "name": name, "error": error} for id_, name, error in self.callbacks],
            "failed_flow_runs": [asdict(one) | {"at": one.at.isoformat()} for one in self.runs],
            "crash_retries": self.crash_retries,
            "spending": [asdict(one) for one in self.spending],
            "spending_this_month": [asdict(one) for one in self.month],
            "projects_this_month": [one.to_json() for one in self.projects],
            "budgets": [one.to_json() for one in self.budgets],
            "open_sessions": [{"key": one.key, "device": one.device, "state": one.state} for one in self.sessions],
            "open_groups": [{"id": one.id, "name": one.name, "state": one.state} for one in self.groups],
            "skipped_slots": [
                {"flow": one.flow_name, "slot": one.slot.isoformat(), "why": one.skipped} for one in self.skipped
            ],
            "gates": [
                {
                    "flow": flow,
                    "run_key": one.run_key,
                    "device": one.device,
                    "look": one.look + 1,
                    "verdict": one.verdict,
                    "why": one.why,
                    "at": one.at.isoformat(),
                }
                for one, flow in self.gates
            ],
            "compared": self.n_compared,
            "flagged": [
                one.to_json() | {"calibration_changes": trend.calibration}
                for trend in self.flagged
                for one in trend.flagged
            ],
            "quantities": [trend.verdicts[-1].to_json() for trend in self.trends if trend.newest.is_headline],
        }


def _job(job: Job) -> dict[str, Any]:
    return {
        "key": job.key,
        "run_key": job.run_key,
        "name": job.name,
        "device": job.device,
        "status": job.status,
        "vendor_id": job.vendor_id,
        "code": job.error_code,
        "reason": job.error_message,
    }


def gather(ledger: Ledger, since: datetime, until: datetime, runs: Sequence[RunTrouble] = ()) -> Report:
    """Read everything; `runs`: what the Prefect server knows and the ledger does not. Raises LedgerError."""
    first_of_month = until.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    trends, n_compared = _trends(ledger, since, until)
    return Report(
        since=since,
        until=until,
        tallies=tuple(summaries.tallies(ledger, since, until)),
        flows=tuple(summaries.flow_tallies(ledger, since, until)),
        bad=tuple(summaries.ended_badly(ledger, since, until)),
        doubts=tuple(summaries.open_doubts(ledger)),
        held=tuple(summaries.held(ledger)),
        callbacks=tuple(summaries.failed_callbacks(ledger)),
        runs=tuple(runs),
        crash_retries=summaries.crash_retries_between(ledger, since, until),
        spending=tuple(summaries.spending(ledger, since, until)),
        month=tuple(summaries.spending(ledger, first_of_month, until)),
        projects=tuple(spending.spent(ledger, "project", since=first_of_month)),
        budgets=tuple(spending.standing(ledger, at=until)),
        sessions=tuple(sessions.listing(ledger, only_live=True, limit=1000)),
        groups=tuple(groups.listing(ledger, only_live=True, limit=1000)),
        skipped=tuple(slots.skipped_between(ledger, since, until)),
        gates=tuple(gates.held_between(ledger, since, until)),
        trends=trends,
        n_compared=n_compared,
    )


def _trends(ledger: Ledger, since: datetime, until: datetime) -> tuple[tuple[Trend, ...], int]:
    """Series with a headline value of the last month, or a flag in this time; and how many values were judged."""
    fresh = measurements.between(ledger, since, until)
    wanted = measurements.newest_of_each(ledger, since=until - STALE, until=until)
    places = dict.fromkeys([one.series for one in wanted] + [one.series for one in fresh])
    in_time = defaultdict(int)
    for one in fresh:
        in_time[one.series] += 1
    found, n_compared = [], 0
    for place in places:
        # a flag of last night may rest on a jump of last month, so the scan begins long before the window
        series = measurements.series(ledger, *place, until=until, limit=measurements.SCAN + in_time[place])
        verdicts = drift.judge(series)
        mine = [one for one in verdicts if one.measurement.at >= since]
        n_compared += sum(one.sigmas is not None for one in mine)
        flagged = tuple(one for one in mine if one.is_flagged)
        if flagged or verdicts[-1].measurement.is_headline:
            changes = _calibration_changes(ledger, verdicts, flagged[0]) if flagged else None
            found.append(Trend(tuple(verdicts[-drift.WINDOW - 1 :]), flagged, changes))
    return tuple(sorted(found, key=lambda trend: trend.newest.series)), n_compared


def _calibration_changes(ledger: Ledger, verdicts: Sequence[Verdict], first: Verdict) -> tuple[str, ...] | None:
    place = verdicts.index(first)
    before, after = verdicts[place - 1].measurement.calibration, first.measurement.calibration
    if before is None or after is None:
        return None
    bodies = measurements.snapshots(ledger, {before, after})
    return tuple(drift.calibration_changes(bodies.get(before), bodies.get(after)))
