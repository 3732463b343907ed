"""What every test of groups buys, and under which run key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

import qflows
from qflows.core.client import default_client
from qflows.ledger.tables import groups

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


def let_an_hour_pass(id_: str) -> None:
    """For the group, by the ledger's clock."""
    with default_client().ledger.write() as connection:
        earlier = sa.update(groups).where(groups.c.id == id_).values(expires_at=groups.c.expires_at - 3600)
        connection.execute(earlier)
