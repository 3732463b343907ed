"""What people see in the Prefect UI: plots as data-URI images in markdown, tables of jobs, progress.

Both UI versions show `data:` images in markdown and strip inline SVG and CSS, so plots are PNG (Prefect 3.8.8).
Vendor text is data: it is escaped and capped before it goes on a page.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from qflows.characterize import Point
from qflows.model import Counts, Job

_BARS = 32  # more outcomes than this cannot be read on a plot
_SMALL_BARS = 10
_TEXT_CAP = 400
_MARKUP = re.compile(r"([\]<!`\\]|:(?=//))")
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")


def escape(text: Any) -> str:
    """Text that markdown shows as it is, on one line, bounded."""
    flat = " ".join(str(text).split())
    return _ACTIVE.sub(r"\\\1", flat if len(flat) <= _TEXT_CAP else flat[: _TEXT_CAP - 1] + "…")


def cell(text: Any) -> str:
    """Text for a table artifact. V1 reads cells as markdown and V2 shows them as they are (Prefect 3.8.8), so nothing
    is escaped; what would become a link, an image or a tag is broken up by invisible spaces instead."""
    flat = " ".join(str(text).split())
    short = flat if len(flat) <= _TEXT_CAP else flat[: _TEXT_CAP - 1] + "…"
    return _MARKUP.sub("\\1\u200b", short)


def key_name(*parts: str) -> str:
    """An artifact key: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:200] or "qflows"


def image(png: bytes, alt: str) -> str:
    """A markdown image that carries its own bytes."""
    return f"![{escape(alt)}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def _figure(width: float, height: float) -> Any:
    # the object interface: pyplot keeps global state and would pick a screen
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def histogram_png(counts: Mapping[str, float], title: str) -> bytes:
    """Bars of the most frequent outcomes, at most 32, in order of their bit strings; the rest summed in one bar."""
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    shown = dict(sorted(ranked[:_BARS]))
    rest = sum(value for _, value in ranked[_BARS:])
    if rest:
        shown["others"] = rest
    figure = _figure(max(4.0, 0.36 * len(shown) + 2), 3.2)
    axes = figure.add_subplot()
    axes.bar(range(len(shown)), list(shown.values()), color="#2f6fde")
    axes.set_xticks(range(len(shown)), list(shown), rotation=0 if max(map(len, shown)) < 5 and len(shown) < 12 else 70)
    axes.set_ylabel("shots" if isinstance(counts, Counts) else "probability")
    axes.set_title(title[:80], fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def histograms_png(histograms: Sequence[tuple[str, Mapping[str, float]]]) -> bytes:
    """Small histograms, three in a row, each with its ten most frequent outcomes in order of their bit strings."""
    columns = min(3, len(histograms))
    rows = -(-len(histograms) // columns)
    figure = _figure(max(4.6, 3.1 * columns), 2.1 * rows + 0.2)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (title, counts) in zip(panels, histograms, strict=False):
        shown = dict(sorted(sorted(counts.items(), key=lambda pair: -pair[1])[:_SMALL_BARS]))
        rest = sum(counts.values()) - sum(shown.values())
        if rest > 1e-9:
            shown["…"] = rest
        axes.bar(range(len(shown)), list(shown.values()), color="#2f6fde")
        is_short = max(map(len, shown)) * len(shown) < 28
        axes.set_xticks(range(len(shown)), list(shown), rotation=0 if is_short else 70, fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.set_title(title if len(title) <= 40 else title[:39] + "…", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(histograms) :]:
        axes.set_visible(False)
    return _png(figure)


def convergence_png(
    values: Sequence[float], errors: Sequence[float], *, reference: float | None, unit: str, title: str
) -> bytes:
    """Energy per evaluation with error bars and the reference; below it the distance to the reference, logarithmic."""
    figure = _figure(7.2, 4.6 if reference is not None else 3.2)
    rows = figure.subplots(2 if reference is not None else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = range(1, len(values) + 1)
    has_errors = any(error > 0 for error in errors)
    rows[0].errorbar(
        steps, values, yerr=errors if has_errors else None, fmt=".-", ms=4, lw=0.8, elinewidth=0.6, color="#2f6fde"
    )
    rows[0].set_ylabel(f"energy ({unit})")
    rows[0].set_title(title[:90], fontsize=10)
    if reference is not None:
        rows[0].axhline(reference, color="#c0392b", lw=1, ls="--", label=f"reference {reference:.9f}")
        rows[0].legend(fontsize=8, frameon=False)
        gaps = [max(abs(value - reference), 1e-16) for value in values]
        rows[1].semilogy(steps, gaps, ".-", ms=4, lw=0.8, color="#444444")
        if unit == "hartree":
            rows[1].axhline(1.6e-3, color="#27ae60", lw=0.8, ls=":", label="chemical accuracy 1.6 mHa")
            rows[1].legend(fontsize=8, frameon=False)
        rows[1].set_ylabel("|error|")
    rows[-1].set_xlabel("evaluation")
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


_MARKERS = "osD^vP*X"


def benchmark_png(
    groups: Sequence[tuple[str, float | None]], series: Mapping[str, Sequence[Point | None]], title: str
) -> bytes:
    """Grouped points with error bars: one group a metric (name, threshold), one colour and marker a device.

    Above the values, below the distance to 1, logarithmic, where good devices differ. A distance that is not above
    its standard error is drawn as an arrow from that bound down. Hollow: below the threshold, which is dashed.
    """
    figure = _figure(max(7.2, 0.5 * len(groups) + 0.14 * len(groups) * len(series) + 3.4), 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    step = 0.7 / max(len(series), 1)
    for place, (name, points) in enumerate(series.items()):
        colour, marker = f"C{place % 10}", _MARKERS[place % len(_MARKERS)]
        legend = name if any(points) else f"{name} (no values)"
        upper.plot([], [], marker, color=colour, ms=6, label=legend if len(legend) <= 40 else legend[:39] + "…")
        for group, point in enumerate(points):
            if point is None:
                continue
            x = group + (place - (len(series) - 1) / 2) * step
            style = {"fmt": marker, "color": colour, "ms": 6, "capsize": 2, "elinewidth": 1}
            style |= {"mfc": "white"} if point.is_below else {}
            upper.errorbar(x, point.value, yerr=point.std_error, **style)
            gap = 1 - point.value
            if gap > point.std_error:
                lower.errorbar(x, gap, yerr=point.std_error, **style)
            else:
                bound = max(gap, 0.0) + point.std_error
                lower.errorbar(x, bound, yerr=bound / 2, uplims=True, **(style | {"ms": 0, "capsize": 0}))
    _finish_benchmark(upper, lower, groups, title)
    return _png(figure)


def _finish_benchmark(upper: Any, lower: Any, groups: Sequence[tuple[str, float | None]], title: str) -> None:
    for group, (_, threshold) in enumerate(groups):
        if threshold is not None:
            upper.hlines(threshold, group - 0.42, group + 0.42, color="#c0392b", lw=1, ls="--")
        if group:
            for axes in (upper, lower):
                axes.axvline(group - 0.5, color="#dddddd", lw=0.8)
    upper.set_ylim(min(-0.03, upper.get_ylim()[0]), max(1.05, upper.get_ylim()[1]))
    upper.axhline(1.0, color="#bbbbbb", lw=0.8)
    upper.set_ylabel("value")
    upper.set_title(title[:110], fontsize=10)
    upper.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    lower.set_yscale("log")
    lower.set_ylabel("1 - value")
    lower.set_xticks(range(len(groups)), [name for name, _ in groups], rotation=35, ha="right", fontsize=8)
    lower.set_xlim(-0.5, len(groups) - 0.5)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)


JOB_COLUMNS = ("job", "name", "device", "shots", "status", "vendor id", "queue s", "run s", "cost", "note")


def job_row(job: Job) -> dict[str, str]:
    """One line of a job table; the same on a terminal, in the UI and as JSON."""
    times = job.timeline
    cost = job.cost
    return {
        "job": job.key[:12],
        "name": job.name,
        "device": job.device,
        "shots": "exact" if job.shots is None else str(job.shots),
        "status": job.status.value,
        "vendor id": job.vendor_id or "",
        "queue s": f"{times.queue_s:.1f}" if times.queue_s is not None else "",
        "run s": f"{times.execution_s:.1f}" if times.execution_s is not None else "",
        "cost": f"{'~' if cost.is_estimate else ''}{cost.amount:g} {cost.unit}" if cost else "",
        "note": job.error_message or job.queue_note or "",
    }


def job_table(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Rows for a table artifact."""
    return [{column: cell(value) for column, value in job_row(job).items()} for job in jobs]


def markdown_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """A markdown table; cells must be escaped already."""
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(str(row.get(column, "")) for column in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def publish_markdown(key: str, markdown: str, description: str) -> None:
    """Creates a markdown artifact of the running flow."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(markdown=markdown, key=key_name(key), description=description)


def progress(key: str, description: str) -> UUID:
    """The progress artifact of this name in the running flow: the one there is, when the run was suspended or
    retried, else a new one at 0 %."""
    from prefect.artifacts import create_progress_artifact
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort
    from prefect.context import FlowRunContext

    here = FlowRunContext.get()
    name = key_name(key)
    if here is not None and here.flow_run is not None:
        mine = ArtifactFilter(
            key=ArtifactFilterKey(any_=[name]), flow_run_id=ArtifactFilterFlowRunId(any_=[here.flow_run.id])
        )
        with get_client(sync_client=True) as api:
            found = api.read_artifacts(artifact_filter=mine, sort=ArtifactSort.CREATED_DESC, limit=20)
        for one in found:
            if one.type == "progress":
                return one.id
    return cast(UUID, create_progress_artifact(0.0, key=name, description=description))


def publish_jobs(key: str, jobs: Sequence[Job], description: str) -> None:
    """Creates a table artifact of jobs with ids, status, times and cost."""
    from prefect.artifacts import create_table_artifact

    create_table_artifact(table=job_table(jobs), key=key_name(key), description=description)
