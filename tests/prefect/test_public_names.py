"""The names that other people's code holds us to stay what they are, whatever has been imported."""

from __future__ import annotations

import subprocess
import sys

ORDERS = """
import sys
for module in {modules!r}:
    __import__(module)
import prefect
import qflows
for name in ("submit", "wait", "result", "run", "cancel", "tag"):
    for _ in range(2):
        assert type(getattr(qflows, name)).__name__ == "CoreTask", (name, getattr(qflows, name))
for name in ("run_circuits", "vqe"):
    for _ in range(2):
        assert isinstance(getattr(qflows.flows, name), prefect.Flow), (name, getattr(qflows.flows, name))
import cloudpickle
assert cloudpickle.loads(cloudpickle.dumps(qflows)) is qflows, "a flow that names qflows cannot go to a process pool"
"""


def test_imported_submodules_do_not_shadow_tasks_and_flows() -> None:
    # a fresh interpreter: this one has imported everything in an order of its own
    modules = ["qflows.core.client", "qflows.core.poller", "qflows.core.submit", "qflows.algorithms.vqe"]
    done = subprocess.run(
        [sys.executable, "-c", ORDERS.format(modules=modules)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
