"""A VQE that holds an emulated IBM device: right, resumed after a kill, and never left open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from qflows.algorithms.problems import problem
from qflows.algorithms.vqe import solve
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.core.sessions import resolve
from qflows.errors import InDoubt
from qflows.ledger import sessions as ledger_sessions
from qflows.sandbox import Sandbox
from qflows.states import SessionState

DEVICE = "ibm-sandbox"


def open_sessions(core: Client) -> int:
    provider = core.provider("ibm")
    records = ledger_sessions.listing(core.ledger)
    return sum(provider.session(r.vendor_id).is_open for r in records if r.vendor_id)  # pyright: ignore


def opened(ibm: Sandbox) -> int:
    return ibm.admin.counts()["requests"].get("ibm.session_create", 0)


def test_h2_in_a_session_is_within_three_sigma_and_the_session_is_closed(core: Client, ibm: Sandbox) -> None:
    found = solve(
        core,
        Scope("h2", "a", "f"),
        problem("h2-0.735"),
        device=DEVICE,
        shots=4000,
        maxiter=20,
        open_session=lambda: core.open_session(DEVICE, "h2", max_time_s=1800),
    )
    assert found.reference is not None
    assert abs(found.energy - found.reference) < 3 * found.std_error
    assert opened(ibm) == 1
    assert open_sessions(core) == 0
    assert ibm.admin.count_jobs("ibm") == found.n_evaluations


@pytest.mark.parametrize(
    ("kind", "members"),
    [("status", {"status": 502, "accepted": True}), ("drop_after", {}), ("truncate", {}), ("drop_before", {})],
)
def test_a_session_whose_opening_was_never_answered_waits_for_a_person(
    core: Client, ibm: Sandbox, kind: str, members: dict
) -> None:
    ibm.admin.fault(kind, "ibm.session_create", **members)
    with pytest.raises(InDoubt, match="qflows sessions resolve"):
        core.open_session(DEVICE, "s", max_time_s=1800)
    provider = core.provider("ibm")
    (record,) = ledger_sessions.listing(core.ledger)
    since = record.created_at - timedelta(minutes=1)
    there = [one for one in provider.recent_sessions(record.device_id, since=since) if one.is_open]  # pyright: ignore
    assert len(there) == (0 if kind == "drop_before" else 1)
    resolve(core.ledger, core.vendors.of_session(record), record, vendor_id=there[0].session_id if there else None)
    hold = core.open_session(DEVICE, "s", max_time_s=1800)
    assert opened(ibm) == (2 if kind == "drop_before" else 1)
    hold.close()
    assert open_sessions(core) == 0


_OWNER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.algorithms.problems import problem
    from qflows.settings import Settings
    from qflows.algorithms.vqe import solve
    core = Client(Settings(home=Path(sys.argv[1]), settle_s=0.3, poll_min_s=0.01))
    def step(one):
        print(one.index, one.energy.hex(), one.job, flush=True)
        if one.index == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    solve(core, Scope("v", str(os.getpid()), "f"), problem("h2-0.735"), device="ibm-sandbox", shots=500, seed=5,
          optimizer="COBYLA", max_evaluations=6, on_step=step,
          open_session=lambda: core.open_session("ibm-sandbox", "v", max_time_s=1800))
    """
)


def owner(home: Path, kill_at: int, ibm: Sandbox) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _OWNER, str(home), str(kill_at)],
        env={**os.environ, **ibm.env},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.returncode, done.stdout.split("\n")[:-1]


@pytest.mark.slow(reason="three interpreters import IBM's client and compile")
def test_a_killed_vqe_goes_on_in_its_session_and_one_sweep_leaves_none_open(
    core: Client, ibm: Sandbox, tmp_path: Path
) -> None:
    code, before = owner(tmp_path, 3, ibm)
    assert code == -signal.SIGKILL
    assert open_sessions(core) == 1
    code, after = owner(tmp_path, 5, ibm)
    assert code == -signal.SIGKILL
    assert after[:3] == before
    assert opened(ibm) == 1
    assert ibm.admin.count_jobs("ibm") == 5
    assert len(core.reconciler().tick().sessions_closed) == 1
    assert open_sessions(core) == 0
    code, last = owner(tmp_path, 0, ibm)
    assert code == 0
    assert last[:5] == after
    assert opened(ibm) == 2  # the first one was closed by the sweep
    assert ibm.admin.count_jobs("ibm") == len(last)
    assert open_sessions(core) == 0


def test_a_session_that_reaches_its_limit_is_replaced_and_its_failed_job_bought_again(
    core: Client, ibm: Sandbox
) -> None:
    holds = []

    def open_session():
        holds.append(core.open_session(DEVICE, "ttl", max_time_s=600))
        return holds[-1]

    steps = 0

    def on_step(step) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            ibm.admin.advance(3600)

    found = solve(
        core,
        Scope("ttl", "a", "f"),
        problem("h2-0.735"),
        device=DEVICE,
        shots=200,
        optimizer="COBYLA",
        max_evaluations=4,
        open_session=open_session,
        on_step=on_step,
    )
    assert found.n_evaluations >= 4
    assert len(holds) == 2
    states = {record.state for record in ledger_sessions.listing(core.ledger)}
    assert states == {SessionState.CLOSED}
