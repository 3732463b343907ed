"""`qflows runs stop`: a loop of another process stops before its next evaluation, and goes on when started again."""

from __future__ import annotations

from qflows.algorithms.minimize import minimize_durably
from qflows.core.client import default_client
from qflows.core.scope import script_scope


def test_a_loop_is_asked_to_stop_by_its_run_key(qflows) -> None:
    asked: list[float] = []

    def cost(point) -> float:
        asked.append(float(point[0]))
        if len(asked) == 3:
            assert "stops before its next evaluation" in qflows("runs", "stop", "monday").out
        return float(point[0] ** 2)

    wishes = {"method": "COBYLA", "noisy": False, "max_evaluations": 8}
    first = minimize_durably(default_client().ledger, script_scope("monday"), cost, [1.0], **wishes)
    assert (first.n_evaluations, first.success) == (3, False)
    assert (
        qflows("runs", "stop", "monday", "--undo")
        .out.strip()
        .endswith("was not asked to stop, or has already seen the request")
    )
    again = minimize_durably(default_client().ledger, script_scope("monday"), cost, [1.0], **wishes)
    assert again.n_evaluations == 8
    assert [one.point for one in again.evaluations[:3]] == [one.point for one in first.evaluations]
