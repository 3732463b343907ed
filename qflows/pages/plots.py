"""Plots as PNG: both Prefect UIs show `data:` images in markdown and strip inline SVG (Prefect 3.8.8)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qflows.model import Counts

if TYPE_CHECKING:
    from qflows.characterization.characterize import Point

_BARS = 32  # more outcomes than this cannot be read on a plot
_SMALL_BARS = 10
_LABELLED = 16  # more bars than this are too narrow for their values


def _figure(width: float, height: float) -> Any:
    # the object interface: pyplot keeps global state and would pick a screen
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _amount(value: float) -> str:
    """A number of shots, or a probability in two digits."""
    return f"{value:,.0f}" if value >= 1 and value == int(value) else f"{value:.2g}"


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
    bars = axes.bar(range(len(shown)), list(shown.values()), color="#2f6fde")
    if len(shown) <= _LABELLED:
        axes.bar_label(bars, fmt=_amount, fontsize=8)
    axes.set_xticks(range(len(shown)), list(shown), rotation=0 if max(map(len, shown)) < 5 and len(shown) < 12 else 70)
    axes.set_xlabel("outcome, bit 0 rightmost")
    axes.set_ylabel("shots" if isinstance(counts, Counts) else "probability")
    axes.set_title(title[:80], fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def histograms_png(histograms: Sequence[tuple[str, Mapping[str, float]]]) -> bytes:
    """Small histograms, three per row, each with its ten most frequent outcomes in order of their bit strings."""
    columns = min(3, len(histograms))
    rows = -(-len(histograms) // columns)
    figure = _figure(max(4.6, 3.1 * columns), 2.1 * rows + 0.2)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, (axes, (title, counts)) in enumerate(zip(panels, histograms, strict=False)):
        shown = dict(sorted(sorted(counts.items(), key=lambda pair: -pair[1])[:_SMALL_BARS]))
        rest = sum(counts.values()) - sum(shown.values())
        if rest > 1e-9:
            shown["…"] = rest
        bars = axes.bar(range(len(shown)), list(shown.values()), color="#2f6fde")
        if len(shown) <= _LABELLED // 2:
            axes.bar_label(bars, fmt=_amount, fontsize=7)
        axes.margins(y=0.14)
        is_short = max(map(len, shown)) * len(shown) < 28
        axes.set_xticks(range(len(shown)), list(shown), rotation=0 if is_short else 70, fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        if place % columns == 0:
            axes.set_ylabel("shots" if isinstance(counts, Counts) else "probability", fontsize=7)
        axes.set_title(title if len(title) <= 40 else title[:39] + "…", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if place + columns >= len(histograms):
            axes.set_xlabel("outcome, bit 0 rightmost", fontsize=7)
    for axes in panels[len(histograms) :]:
        axes.set_visible(False)
    return _png(figure)


def convergence_png(
    values: Sequence[float], errors: Sequence[float], *, reference: float | None, unit: str, title: str
) -> bytes:
    """Energy per evaluation with error bars and the reference; below it, the distance to the reference, logarithmic."""
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
        rows[0].axhline(reference, color="#c0392b", lw=1, ls="--", label=f"reference {reference:.10g}")
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
    """Grouped points with error bars: one group per metric (name, threshold), one color and marker per device.

    Values above; below, the distance to 1, logarithmic, where good devices differ. A distance not above its standard
    error is drawn as an arrow down from that bound. Hollow: below the threshold, which is dashed.
    """
    figure = _figure(max(7.2, 0.5 * len(groups) + 0.14 * len(groups) * len(series) + 3.4), 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    step = 0.7 / max(len(series), 1)
    for place, (name, points) in enumerate(series.items()):
        color, marker = f"C{place % 10}", _MARKERS[place % len(_MARKERS)]
        legend = name if any(points) else f"{name} (no values)"
        upper.plot([], [], marker, color=color, ms=6, label=legend if len(legend) <= 40 else legend[:39] + "…")
        for group, point in enumerate(points):
            if point is None:
                continue
            x = group + (place - (len(series) - 1) / 2) * step
            style = {"fmt": marker, "color": color, "ms": 6, "capsize": 2, "elinewidth": 1}
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
