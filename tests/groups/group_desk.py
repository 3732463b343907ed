"""What every test of groups buys, and under which run key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qflows

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
RUN = "a run"


def group(name: str = "sweep", **arguments: Any) -> qflows.Group:
    """A group of the run, not opened yet."""
    return qflows.group(name, run_key=RUN, **arguments)


def buy(device: str = "ionq-simulator", shots: int | None = 20, **arguments: Any) -> qflows.Job:
    """One Bell pair in the run."""
    return qflows.submit(BELL, device=device, shots=shots, run_key=RUN, **arguments)


def leave_by_error(group: qflows.Group, *work: Callable[[], object]) -> None:
    """Does the work in the group's block, then raises KeyError there."""
    with group:
        for one in work:
            one()
        raise KeyError("mine")
