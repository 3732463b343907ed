"""One table of budgets: what was measured, what is allowed, and whether it is."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def row(what: str, measured: str, budget: str, ok: bool | None) -> None:
    """One line of the table, printed as it comes."""
    verdict = "" if ok is None else ("ok" if ok else "OVER")
    print(f"{what:<64} {measured:<44} {budget:<28} {verdict}", flush=True)


def ratio(what: str, ours: float, theirs: float, most: float, unit: str = "s") -> None:
    """A line whose budget is a ratio of two times of this run."""
    row(what, f"{ours:.3g} {unit} / {theirs:.3g} {unit} = {ours / theirs:.2f}", f"≤ {most:g}", ours / theirs <= most)


def peak_mb() -> float:
    """The most memory that this process had. `ru_maxrss` is never less than what its parent had when it was started."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def timed(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def least(function: Callable[[], object], repeat: int = 5) -> float:
    """The least wall seconds of several calls; the first one, which warms caches, is not counted."""
    function()
    return min(timed(function) for _ in range(repeat))


def cpu_of(code: str, *, env: dict[str, str] | None = None, repeat: int = 3, options: tuple[str, ...] = ()) -> float:
    """Least user + system seconds of `python -c code`, warm."""
    # where no byte code may be kept, edited modules would be compiled in every run
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
    best = float("inf")
    for _ in range(repeat + 1):  # the first one warms the file cache and byte code
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *options, "-c", code], check=True, env=env, cwd="/",
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best
