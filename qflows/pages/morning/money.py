"""The section about money: what was paid, by device and by project, and what every budget still holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from qflows.display import plural
from qflows.ledger.budgets import amount_of
from qflows.ledger.spending import Standing
from qflows.ledger.summaries import Spending
from qflows.pages.morning.gather import Report
from qflows.pages.morning.page import ROWS, Line, Picture, Section, Table, Tone

_BY_DEVICE = ("device", "vendor", "ended jobs", "cost")
_BY_PROJECT = ("project", "jobs this month", "billed", "computed", "not reported")
_BUDGETS = ("budget", "counted in", "used", "spent", "reserved", "left", "limit", "when full")


def amounts(spending: Iterable[Spending]) -> list[str]:
    """Sums by unit: billed, estimated (`~`), and how many jobs have no price reported."""
    sums: defaultdict[tuple[str, bool], float] = defaultdict(float)
    silent = 0
    for one in spending:
        if one.unit is None:
            silent += one.n
        else:
            sums[one.unit, one.is_estimate] += one.amount
    told = [f"{'~' if estimate else ''}{amount:.6g} {unit}" for (unit, estimate), amount in sorted(sums.items())]
    return told + ([f"{plural(silent, 'job')} not reported"] if silent else [])


def used_up(report: Report) -> list[Standing]:
    """Budgets whose warning share is spent or reserved, the fullest first."""
    full = [one for one in report.budgets if one.share >= one.budget.warn]
    return sorted(full, key=lambda one: -one.share)


def money_section(report: Report) -> Section:
    """What was paid in the report's time and this month, and the budgets; calm unless a budget is nearly used up."""
    content: list[Line | Table | Picture] = [_warning(one) for one in used_up(report)[:ROWS]]
    devices: defaultdict[tuple[str, str], list[Spending]] = defaultdict(list)
    for one in report.spending:
        devices[one.device, one.provider].append(one)
    rows = tuple(
        (device, provider, str(sum(one.n for one in spent)), "; ".join(amounts(spent)))
        for (device, provider), spent in sorted(devices.items())
    )
    if rows:
        content.append(Table(_BY_DEVICE, rows, frozenset({"ended jobs"})))
    else:
        content.append(Line("No vendor job finished in this period."))
    month = "; ".join(amounts(report.month)) or "nothing"
    content.append(Line(f"This month so far: {month}. ~ is an estimate until the vendor has billed."))
    content += _by_project(report)
    if report.budgets:
        budgets = tuple(_budget_row(one) for one in sorted(report.budgets, key=lambda one: -one.share)[:ROWS])
        content.append(Table(_BUDGETS, budgets, frozenset(_BUDGETS[2:7])))
    return Section("Money", Tone.WORK if used_up(report) else Tone.CALM, tuple(content))


def _warning(one: Standing) -> Line:
    rule = one.budget
    text = (
        f"Budget {rule.name} ({one.bucket}): {one.share:.0%} of {amount_of(one.limit):.6g} "
        f"{rule.currency} is spent or reserved."
    )
    return Line(text, f"qflows budgets set {rule.name} --amount ...")


def _by_project(report: Report) -> list[Table]:
    """A table by project, only if projects are named: a table of one dash says nothing."""
    if not any(one.of != "-" for one in report.projects):
        return []
    rows = tuple(
        (
            "no project" if one.of == "-" else one.of,
            str(one.jobs),
            f"{one.billed:.6g} {one.unit}" if one.billed else "",
            f"~{one.computed:.6g} {one.unit}" if one.computed else "",
            plural(one.unknown, "job") if one.unknown else "",
        )
        for one in report.projects[:ROWS]
    )
    return [Table(_BY_PROJECT, rows, frozenset(_BY_PROJECT[1:]))]


def _budget_row(one: Standing) -> tuple[str, ...]:
    rule = one.budget
    amounts_ = (f"{amount_of(value):.6g} {rule.currency}" for value in (one.spent, one.reserved, one.left, one.limit))
    return (rule.name, one.bucket, f"{one.share:.0%}", *amounts_, rule.policy)
