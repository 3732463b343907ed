"""Flows that ship with qflows. Each is an ordinary Prefect flow that can serve as a template for your own."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qflows.flows.benchmarking import benchmark
    from qflows.flows.circuits import run_circuits
    from qflows.flows.combinatorial import qaoa
    from qflows.flows.eigensolver import vqe
    from qflows.flows.probing import probe
    from qflows.flows.reporting import report
    from qflows.flows.sweeping import sweep
    from qflows.flows.watching import wall

# modules bear other names than their flows: a submodule of the same name would shadow the flow once imported
_HOME = {
    "benchmark": "benchmarking",
    "run_circuits": "circuits",
    "vqe": "eigensolver",
    "qaoa": "combinatorial",
    "sweep": "sweeping",
    "probe": "probing",
    "report": "reporting",
    "wall": "watching",
}

__all__ = ["benchmark", "probe", "qaoa", "report", "run_circuits", "sweep", "vqe", "wall"]


def __getattr__(name: str) -> object:
    """Loads a flow on first use."""
    if name in _HOME:
        return getattr(import_module(f"qflows.flows.{_HOME[name]}"), name)
    alike = difflib.get_close_matches(name, __all__, n=1)
    meant = f"did you mean {alike[0]}? " if alike else ""
    raise AttributeError(f"qflows.flows has no {name!r}; {meant}flows: {', '.join(__all__)}")
