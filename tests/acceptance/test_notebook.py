"""A real notebook kernel: cells run twice, interrupted, the kernel restarted and killed; as docs/samples.md says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.sandbox import Sandbox

from .loops.kernel import Notebook

SETUP = """
import qflows
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
def buy(**more):
    return qflows.run(BELL, device="ionq-simulator", shots=20, run_key="nb", **more).job.key[:12]
"""


@pytest.fixture
def notebook(sandbox: Sandbox, tmp_path: Path) -> Iterator[Notebook]:
    mine = {"QFLOWS_HOME": str(tmp_path), "QFLOWS_POLL_MIN_S": "0.02", "QFLOWS_SETTLE_S": "0.2"}
    made = Notebook({**sandbox.env, **mine}, tmp_path, SETUP)
    yield made
    made.close()


@pytest.mark.slow(reason="a kernel is started three times, and imports everything each time")
def test_purchases_of_a_notebook_are_those_of_the_table(notebook: Notebook, sandbox: Sandbox) -> None:
    def bought() -> int:
        return sandbox.admin.count_jobs("ionq")

    # the same cell run again, another cell with the same call, and the restarted kernel adopt
    first = notebook.cell("last = buy()")
    assert (notebook.cell("last = buy()"), bought()) == (first, 1)
    assert (notebook.cell("x = 1\nlast = buy()"), bought()) == (first, 1)
    # twice in one cell: two samples; the cell again: the same two
    pair = notebook.cell("last = [buy(), buy()]")
    assert (pair[0], len(set(pair)), bought()) == (first, 2, 2)
    assert (notebook.cell("last = [buy(), buy()]"), bought()) == (pair, 2)
    # the caller names the sample
    named = notebook.cell("last = [buy(sample=n) for n in range(4)]")
    assert (notebook.cell("last = [buy(sample=n) for n in range(4)]"), bought()) == (named, 4)
    assert named[:2] == pair

    # interrupted while it waits: the cell again waits for the same job
    sandbox.admin.clock("frozen")
    waiting = notebook.send("buy(label='slow')")
    sandbox.admin.wait_until(lambda: bought() == 5, timeout_s=30)
    notebook.kernel.interrupt_kernel()
    content = notebook.answer(waiting)
    assert (content["status"], content["ename"]) == ("error", "KeyboardInterrupt")
    waiting = notebook.send("buy(label='slow')")
    requests = sandbox.admin.requests("ionq.list") + sandbox.admin.requests("ionq.get")
    sandbox.admin.wait_until(
        lambda: sandbox.admin.requests("ionq.list") + sandbox.admin.requests("ionq.get") > requests, timeout_s=150
    )  # interrupted while a claim or a lane is being recorded, the job moves once that lease has ended
    sandbox.admin.release()
    assert (notebook.answer(waiting)["status"], bought()) == ("ok", 5)

    # interrupted while the vendor has the request: in doubt, then found
    sandbox.admin.clock("instant")
    sandbox.admin.fault("hold", "ionq.submit", when="after")
    sending = notebook.send("buy(label='held')")
    sandbox.admin.wait_held(1, timeout_s=30)
    notebook.kernel.interrupt_kernel()
    assert notebook.answer(sending)["ename"] == "KeyboardInterrupt"
    sandbox.admin.release_held()
    notebook.cell("buy(label='held')")
    assert bought() == 6

    # a loop that goes on after a timeout
    sandbox.admin.clock("frozen")
    loop = "for _ in range(3):\n    try:\n        buy(label='loop', timeout=0.1)\n    except TimeoutError: pass"
    notebook.cell(loop)
    assert bought() == 7
    sandbox.admin.clock("instant")
    sandbox.admin.release()

    notebook.restart(now=False)
    assert (notebook.cell("last = buy()"), bought()) == (first, 7)
    notebook.send("buy(label='killed'); import time; time.sleep(60)")
    sandbox.admin.wait_until(lambda: bought() == 8, timeout_s=30)
    notebook.restart(now=True)
    assert (notebook.cell("last = [buy(), buy(label='killed')]")[0], bought()) == (first, 8)
