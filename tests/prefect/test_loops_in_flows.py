"""Loops in flows that are killed: the run is executed again as the reconciler asks, and goes on where it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qflows.sandbox import Admin

sys.path.insert(0, str(Path(__file__).parents[1]))

from acceptance.loops.lives import COMPANY, killed, names_of  # noqa: E402
from acceptance.loops.walks import MOST  # noqa: E402

pytestmark = [
    pytest.mark.server,
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.slow(reason="a process with Prefect and Qiskit for every life of a run"),
]


@pytest.mark.parametrize(("company", "kind", "every"), [("flow", "vqe", 7), ("seeds", "estimator", 25)])
def test_a_flow_killed_at_every_kth_evaluation_walks_the_same_way_and_buys_nothing_twice(
    ionq: Admin, child_env: dict[str, str], tmp_path: Path, company: str, kind: str, every: int
) -> None:
    api = {name: value for name, value in child_env.items() if name.startswith(("QFLOWS_", "IONQ_"))}
    live = COMPANY[company](kind, tmp_path, api)
    walks = names_of(company, kind)
    end = killed(live, tmp_path, walks, every, ionq)
    assert end.jobs == end.evaluations == len(walks) * MOST[kind]
    assert end.lives == end.evaluations // every + 1
