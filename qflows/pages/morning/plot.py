"""The last thirty values of a device's quantities, as one picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from qflows.core import drift
from qflows.ledger.measurements import Measurement
from qflows.pages.morning.gather import Trend

_COLUMNS = 3
MOST = 12  # panels; more cannot be read
_BLUE, _RED, _GREY = "#2f6fde", "#d03a2b", "#8a8f98"


def trends_png(trends: Sequence[Trend]) -> bytes:
    """Small panels, one per quantity: values with standard uncertainties, the band within three sigmas of what the
    newest is compared with, flagged values as red squares. Values before a new level are grey."""
    # the object interface: pyplot keeps global state and would pick a screen
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = trends[:MOST]
    columns = min(len(shown), _COLUMNS)
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(3.2 * columns, 0.2 + 1.95 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, trend in zip(grid, shown, strict=False):
        _panel(axes, trend)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Any, trend: Trend) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    newest = trend.verdicts[-1]
    if newest.mean is not None and newest.spread is not None:
        half = drift.SIGMAS * newest.spread
        axes.axhspan(newest.mean - half, newest.mean + half, color=_BLUE, alpha=0.10, lw=0)
        axes.axhline(newest.mean, color=_BLUE, lw=0.8, alpha=0.7)
    since = newest.level_since
    flagged = [one.measurement for one in trend.verdicts if one.is_flagged]
    rest = [one.measurement for one in trend.verdicts if not one.is_flagged]
    old = [one for one in rest if since is not None and one.at < since]
    _points(axes, [one for one in rest if one not in old], _BLUE, "o", 2.6)
    _points(axes, old, _GREY, "o", 2.6)
    _points(axes, flagged, _RED, "s", 4)
    axes.set_title(_title(newest.measurement), fontsize=8, loc="left")
    axes.tick_params(labelsize=7)
    axes.ticklabel_format(axis="y", useOffset=False)
    locator = AutoDateLocator(minticks=2, maxticks=4)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes.spines[["top", "right"]].set_visible(False)


def _points(axes: Any, values: Sequence[Measurement], color: str, marker: str, size: float) -> None:
    values = [one for one in values if math.isfinite(one.value)]
    if values:  # all in one call: one per point takes seconds per page
        axes.errorbar(
            [one.at for one in values],
            [one.value for one in values],
            yerr=[one.std_error if math.isfinite(one.std_error) else 0.0 for one in values],
            fmt=marker,
            ms=size,
            color=color,
            elinewidth=0.7,
        )


def _title(one: Measurement) -> str:
    # matplotlib reads a pair of dollars as a formula, and raises on a bad one
    return one.name[:44].replace("$", r"\$")
