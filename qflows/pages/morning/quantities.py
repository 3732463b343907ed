"""The sections about what was measured: drift, every device with its trends, and how the numbers are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from qflows.characterization.characterize import METHODS, UNCERTAINTIES
from qflows.core import drift
from qflows.core.drift import Verdict
from qflows.display import plural
from qflows.model import rounded, uncertain
from qflows.pages.morning.gather import Report, Trend
from qflows.pages.morning.page import ROWS, Line, Picture, Section, Table, Tone, moment, unit_text
from qflows.pages.morning.plot import MOST, trends_png

_EXPECTED = 0.0027  # of stable values are beyond three sigmas


def drift_section(report: Report) -> Section:
    if not report.flagged:
        if report.n_compared:
            text = f"No flag: {plural(report.n_compared, 'value')} within 3σ of their last {drift.WINDOW}."
        else:
            text = (
                f"Nothing was compared: a quantity needs {drift.MIN_HISTORY} earlier values "
                "from the same device before it is judged. Values come from the flows benchmark and probe."
            )
        return Section("Drift", Tone.CALM, (Line(text),))
    content: list[Line | Table | Picture] = [_flag_line(trend) for trend in report.flagged[:ROWS]]
    if len(report.flagged) > ROWS:
        content.append(Line(f"… and {len(report.flagged) - ROWS} more quantities; --json has all."))
    chance = report.n_compared * _EXPECTED
    content.append(
        Line(f"{plural(report.n_compared, 'value')} compared; about {chance:.1f} flags are expected by chance.")
    )
    shown = report.flagged[:MOST]
    content.append(Picture(trends_png(shown), "trends of the flagged quantities"))
    return Section("Drift", Tone.ALARM, tuple(content))


def _flag_line(trend: Trend) -> Line:
    worst = max(trend.flagged, key=lambda one: abs(one.sigmas or 0.0))
    one = worst.measurement
    times = f", flagged {len(trend.flagged)} times, the worst" if len(trend.flagged) > 1 else ""
    mean = rounded(worst.mean or 0.0, worst.spread)
    text = (
        f"{one.device}: {one.name} is {uncertain(one.value, one.std_error)}{unit_text(one.unit)}, "
        f"{worst.sigmas:+.1f}σ from the mean {mean} of {worst.n} earlier values{times} at {moment(one.at)}. "
        f"{_calibration_text(trend)}{_since_text(trend)}"
    )
    return Line(text)


def _since_text(trend: Trend) -> str:
    """For a flag that has ended: a night has many values of an hourly probe."""
    last = trend.verdicts.index(trend.flagged[-1]) if trend.flagged[-1] in trend.verdicts else -1
    after = len(trend.verdicts) - 1 - last
    return f" The {plural(after, 'value')} since then {'is' if after == 1 else 'are'} within 3σ." if after else ""


def _calibration_text(trend: Trend) -> str:
    if trend.calibration is None:
        return "The vendor published no calibration to compare."
    if not trend.calibration:
        return "The calibration is the same as before."
    return f"The calibration changed: {'; '.join(trend.calibration)}."


# -- devices


def device_sections(report: Report) -> list[Section]:
    devices: defaultdict[str, list[Trend]] = defaultdict(list)
    for trend in report.trends:
        if trend.newest.is_headline:
            devices[trend.newest.device].append(trend)
    return [_device(report, name, trends) for name, trends in sorted(devices.items())]


def _device(report: Report, name: str, trends: Sequence[Trend]) -> Section:
    orders = [trend for trend in trends if trend.newest.family == "bit order"]
    others = [trend for trend in trends if trend.newest.family != "bit order"]
    rows = [_quantity(report, trend) for trend in others]
    if orders:
        worst = min(orders, key=lambda trend: trend.newest.value)
        rows.insert(0, (f"{worst.newest.name} (worst of {len(orders)})", *_quantity(report, worst)[1:]))
    columns = ("quantity", "value", "mean before (n)", "distance", "measured")
    table = Table(columns, tuple(rows), frozenset({"value", "mean before (n)", "distance"}))
    drawn = others or orders
    plot = Picture(trends_png(drawn), f"the last {drift.WINDOW} values of {name}")
    more = [Line(f"{len(drawn) - MOST} more quantities are not drawn.")] if len(drawn) > MOST else []
    return Section(name, Tone.CALM, (table, plot, *more))


def _quantity(report: Report, trend: Trend) -> tuple[str, ...]:
    verdict = trend.verdicts[-1]
    one = verdict.measurement
    age = report.until - one.at
    when = moment(one.at) + (f" ({age.days} d ago)" if age >= timedelta(days=1) and one.at < report.since else "")
    return (
        one.name,
        uncertain(one.value, one.std_error) + unit_text(one.unit),
        _mean(verdict),
        _distance(verdict),
        when,
    )


def _mean(verdict: Verdict) -> str:
    if verdict.mean is None or verdict.spread is None:
        return ""
    return f"{rounded(verdict.mean, verdict.spread)} ({verdict.n})"


def _distance(verdict: Verdict) -> str:
    if verdict.sigmas is None:
        if verdict.n >= drift.MIN_HISTORY:
            return "no error bar"
        return f"{verdict.n} of {drift.MIN_HISTORY} earlier values"
    mark = " FLAG" if verdict.is_flagged else ""
    since = f", level since {verdict.level_since:%Y-%m-%d}" if verdict.level_since else ""
    return f"{verdict.sigmas:+.1f}σ{mark}{since}"


def methods_section(report: Report) -> Section:
    families = {trend.newest.family for trend in report.trends}
    lines = [
        Line(
            f"Drift: a value minus the weighted mean of up to {drift.WINDOW} before it, over the spread of those "
            "values (shots and the scatter between nights) and the mean's own uncertainty, by Student's distribution; "
            f"flagged beyond {drift.SIGMAS:g}σ, which about 0.3 % of stable values are. "
            f"Flagged values stay out of the history; {drift.SETTLED} in a row on one side are the new level."
        )
    ]
    for family in sorted(families):
        value = f"{METHODS[family][0]} ({METHODS[family][1]}). " if family in METHODS else ""
        lines.append(Line(f"{family}: {value}Uncertainty: {UNCERTAINTIES.get(family, 'as measured')}."))
    return Section("How the numbers are made", Tone.CALM, tuple(lines))
