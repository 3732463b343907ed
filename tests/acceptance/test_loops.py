"""The short form of `make loops`: a loop killed at every k-th evaluation, in a script and in a notebook's kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflows.sandbox import Sandbox

from .loops.lives import COMPANY, killed, names_of
from .loops.walks import EXTRA, MOST


@pytest.mark.slow(reason="an interpreter or a kernel for every life of a loop")
@pytest.mark.parametrize(
    ("company", "kind", "every"),
    [("script", "qaoa", 7), ("script", "estimator", 7), ("script", "minimize", 9), ("notebook", "vqe", 5)],
)
def test_a_loop_killed_at_every_kth_evaluation_walks_the_same_way_and_buys_nothing_twice(
    sandbox: Sandbox, tmp_path: Path, company: str, kind: str, every: int
) -> None:
    env = sandbox.env | {"QFLOWS_HOME": str(tmp_path), "QFLOWS_POLL_MIN_S": "0.01"}
    live = COMPANY[company](kind, tmp_path, env)
    end = killed(live, tmp_path, names_of(company, kind), every, sandbox.admin)
    assert (end.lives, end.evaluations) == (MOST[kind] // every + 1, MOST[kind])
    assert end.jobs == MOST[kind] + EXTRA.get(kind, 0)
