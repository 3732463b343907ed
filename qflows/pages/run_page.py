"""The page that a flow run leaves: what ran, what it cost, what failed and what to do, readable in one minute.

Markdown for Prefect artifacts; both UI versions show tables, links and `data:` images in it (Prefect 3.8.8).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median

from qflows.core.compiling import CompiledRow
from qflows.display import plural
from qflows.model import Expectation, Job, uncertain
from qflows.pages.plots import histogram_png, histograms_png
from qflows.pages.text import PAGE_COLUMNS, escape, image, markdown_table, page_row
from qflows.privacy.redaction import clean
from qflows.states import JobStatus

_ID = 14  # characters of a vendor id on a page; `qflows jobs show` has all of it
_ROWS = 20
_VALUES = 8  # of one program
_UNITS = {"qpu_s": "QPU seconds", "usd": "USD"}
PLOTS = 12  # on a page

Histogram = tuple[str, Mapping[str, float]]  # title, counts or probabilities by bit string


def summary(jobs: Sequence[Job]) -> str:
    """One line: jobs by status, cost by unit, QPU seconds, waiting and running times, the last end."""
    states = Counter(job.status for job in jobs)
    told = [
        f"**{plural(len(jobs), 'job')}**: " + ", ".join(f"{n} {s.value.lower()}" for s, n in sorted(states.items()))
    ]
    told += filter(None, [costs(jobs), _qpu(jobs), _spans(jobs), _last_end(jobs)])
    return " · ".join(told)


def costs(jobs: Iterable[Job]) -> str:
    """What was paid, by unit; `~` if the vendor has not billed yet, and how many jobs have no price."""
    sums: defaultdict[tuple[str, bool], float] = defaultdict(float)
    silent = 0
    for job in jobs:
        if job.cost is not None:
            sums[job.cost.unit, job.cost.is_estimate] += job.cost.amount
        elif job.vendor_id is not None:
            silent += 1
    told = [
        f"{'~' if estimate else ''}{amount:.6g} {_UNITS.get(unit, unit)}"
        for (unit, estimate), amount in sorted(sums.items())
    ]
    if silent:
        told.append(f"cost of {plural(silent, 'job')} not known")
    return " + ".join(told)


def job_section(jobs: Sequence[Job], pages: Mapping[str, str] | None = None) -> list[str]:
    """The jobs that need attention first, then the others; at most twenty rows. `pages`: console pages, by job key."""
    order = sorted(jobs, key=lambda job: (job.status is JobStatus.COMPLETED, not job.is_terminal))
    rows = []
    for job in order[:_ROWS]:
        row = {name: escape(text) for name, text in page_row(job).items()}
        row["vendor id"] = escape(_brief(job.vendor_id or ""))
        if pages and job.key in pages:
            row["vendor id"] = f"[{row['vendor id']}]({pages[job.key]})"
        rows.append(row)
    # without an empty column the table fits beside the UI's own, on a screen 1,280 pixels wide
    columns = [one for one in PAGE_COLUMNS if one != "note" or any(row["note"] for row in rows)]
    shown = [markdown_table(rows, columns)]
    if len(jobs) > _ROWS:
        shown.append(f"… and {len(jobs) - _ROWS} more; the table artifact lists all.")
    return shown


def _brief(vendor_id: str) -> str:
    """An id by which a person recognizes it; a column of whole ones pushes the table into the UI's own on its right."""
    last = vendor_id.rpartition("/")[2] or vendor_id
    return last if len(last) <= _ID else f"{last[: _ID - 1]}…"


def next_steps(jobs: Sequence[Job], *, rerun: str = "") -> list[str]:
    """What a person can do about jobs without counts; empty if there is nothing to do. `rerun`: a command."""
    doubtful = [job for job in jobs if job.status is JobStatus.IN_DOUBT]
    failed = [job for job in jobs if job.status is JobStatus.FAILED]
    held = [job for job in jobs if job.is_held and not job.is_terminal]
    unsent = [job for job in jobs if job.status is JobStatus.PREPARED and job.error_message]
    steps = [f"- job `{job.key[:12]}` is in doubt: `qflows jobs resolve {job.key[:12]} …`" for job in doubtful[:5]]
    steps += [
        f"- job `{job.key[:12]}` cannot be read at the vendor: {escape(job.queue_note or job.word or '')}"
        for job in held[:5]
    ]
    for code, n in Counter(job.error_code or job.error_message or "" for job in unsent).most_common(5):
        # the amounts in the texts differ, by when each job was refused; the last one tells most
        why = [job.error_message or "" for job in unsent if code in (job.error_code, job.error_message)][-1]
        steps.append(f"- {plural(n, 'job')} not sent yet: {escape(why if why == code else f'{code}: {why}')}")
    for reason, n in Counter((job.error_code or "", job.error_message or "") for job in failed).most_common(5):
        steps.append(f"- {plural(n, 'job')} failed: {escape(': '.join(filter(None, reason)) or 'no reason given')}")
    if failed and rerun:
        steps.append(f"- to buy only the missing results again: `{rerun}`")
    return ["## To do", "\n".join(steps)] if steps else []


def health_section(parts: Sequence[tuple[str, str, str, bool | None]]) -> list[str]:
    """What reference circuits said of each part: circuits, value, reason, verdict. Bad parts first, at most twenty."""
    if not parts:
        return []
    ordered = sorted(parts, key=lambda part: part[3] is not False)
    rows = [
        {"circuits": circuits, "reference circuit": escape(value), "why": escape(why)}
        for circuits, value, why, _ in ordered[:_ROWS]
    ]
    bad = sum(good is False for *_, good in parts)
    told = f"**{bad} of {plural(len(parts), 'measurement')} show bad health**" if bad else "no part shows bad health"
    page = ["## Health of the parts", told, markdown_table(rows, ("circuits", "reference circuit", "why"))]
    return [*page, f"… and {len(parts) - _ROWS} more."] if len(parts) > _ROWS else page


def histogram_section(histograms: Sequence[Histogram], *, of: int | None = None) -> list[str]:
    """One plot of the first twelve programs; `of`: the total number if not all are passed."""
    shown = [(clean(title), values) for title, values in histograms[:PLOTS] if values]
    drawn = histogram_png(shown[0][1], shown[0][0]) if len(shown) == 1 else histograms_png(shown) if shown else None
    page = [image(drawn, ", ".join(title for title, _ in shown))] if drawn else []
    more = (len(histograms) if of is None else of) - min(len(histograms), PLOTS)
    return [*page, f"… and {more} more without a plot."] if more > 0 else page


def value_section(values: Sequence[tuple[str, Sequence[Expectation]]]) -> list[str]:
    """Expectation values with their standard errors, one line per program, at most twenty; empty if there are none."""
    lines = [
        f"- {escape(title)}: " + ", ".join(uncertain(one.value, one.std_error) for one in found[:_VALUES])
        for title, found in values[:_ROWS]
        if found
    ]
    return ["\n".join(lines)] if lines else []


def compiled_section(rows: Sequence[CompiledRow]) -> list[str]:
    """What was asked for beside what ran, at most twenty circuits; empty if no vendor reported it."""
    if not rows:
        return []
    table = [
        {
            "circuit": escape(name),
            "two-qubit gates": f"{asked.two_qubit_gates} → {ran.two_qubit_gates}",
            "depth": f"{asked.depth} → {ran.depth}",
            "qubits": ran.qubits,
        }
        for name, asked, ran in rows[:_ROWS]
    ]
    shown = ["## Submitted → compiled", markdown_table(table, ("circuit", "two-qubit gates", "depth", "qubits"))]
    return [*shown, f"… and {len(rows) - _ROWS} more."] if len(rows) > _ROWS else shown


def _qpu(jobs: Iterable[Job]) -> str:
    # if the vendor bills these seconds, they are already listed under cost
    times = [job.timeline.qpu_s for job in jobs if not (job.cost and job.cost.unit == "qpu_s")]
    seconds = [one for one in times if one is not None]
    return f"{sum(seconds):.3g} QPU seconds" if seconds else ""


def _spans(jobs: Sequence[Job]) -> str:
    queued = [job.timeline.queue_s for job in jobs if job.timeline.queue_s is not None]
    ran = [job.timeline.execution_s for job in jobs if job.timeline.execution_s is not None]
    told = [f"{verb} {_span(found)}" for verb, found in (("queued", queued), ("ran", ran)) if found]
    return ", ".join(told)


def _span(found: Sequence[float]) -> str:
    middle, longest = f"{median(found):.1f} s", f"{max(found):.1f} s"
    return middle if middle == longest else f"{middle} (longest {longest})"


def _last_end(jobs: Iterable[Job]) -> str:
    ends: list[datetime] = [job.timeline.finished for job in jobs if job.timeline.finished is not None]
    return f"last finished {max(ends):%Y-%m-%d %H:%M:%S} UTC" if ends else ""
