"""Sessions on the emulated IonQ: opened once, resumed, reopened, closed when their owner died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.algorithms.problems import problem
from qflows.algorithms.vqe import solve
from qflows.core.client import Client
from qflows.core.durations import seconds
from qflows.core.scope import Scope
from qflows.core.sessions import Session, resolve
from qflows.errors import InDoubt, ProgramRejected
from qflows.ledger import sessions as ledger_sessions
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import SESSION_TRANSITIONS, SessionState

DEVICE = "ionq-forte-1"


@pytest.fixture
def core(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Client]:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, settle_s=0.2, poll_min_s=0.01))
    yield made
    made.ledger.close()


def opened(sandbox: Sandbox) -> int:
    return sandbox.admin.counts()["requests"].get("ionq.session_create", 0)


def open_at_vendor(core: Client) -> list[str]:
    provider = core.provider("ionq")
    entries = provider._http.get("/sessions")  # pyright: ignore[reportAttributeAccessIssue]
    entries = entries if isinstance(entries, list) else entries["sessions"]
    return [entry["id"] for entry in entries if entry["status"] != "ended"]


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def test_every_session_state_has_a_row_and_is_reachable() -> None:
    assert set(SESSION_TRANSITIONS) == set(SessionState)
    reached = {SessionState.PREPARED}
    while more := {after for state in reached for after in SESSION_TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(SessionState)


def test_jobs_run_in_the_session_and_closing_ends_it(core: Client) -> None:
    hold = core.open_session(DEVICE, "s", max_time_s=600)
    specs = core.specs(bell(), device=DEVICE, shots=50, session_id=hold.id)
    (job,) = core.submit(specs, device=DEVICE, scope=Scope("s", "a", "f"))
    assert core.result([job.key]).counts.shots == 50
    assert hold.is_open()
    hold.close()
    assert not hold.is_open()
    assert open_at_vendor(core) == []


def test_opening_again_in_the_same_run_goes_on_in_the_same_session(core: Client) -> None:
    first = core.open_session(DEVICE, "s", max_time_s=600)
    first.release()  # as a killed owner leaves it
    again = core.open_session(DEVICE, "s", max_time_s=600)
    assert again.id == first.id
    other = core.open_session(DEVICE, "another run", max_time_s=600)
    assert other.id != first.id
    again.close()
    other.close()


def test_a_session_the_vendor_ended_is_closed_here_and_a_new_one_opened(core: Client) -> None:
    first = core.open_session(DEVICE, "s", max_time_s=600)
    first.release()
    core.provider("ionq").close_session(first.id)  # pyright: ignore[reportAttributeAccessIssue]
    again = core.open_session(DEVICE, "s", max_time_s=600)
    assert again.id != first.id
    again.close()
    states = [record.state for record in ledger_sessions.listing(core.ledger)]
    assert states == [SessionState.CLOSED, SessionState.CLOSED]


LOST = [
    {"kind": "drop_after"},
    {"kind": "status", "status": 502, "accepted": True},
    {"kind": "truncate"},
    {"kind": "drop_before"},
    {"kind": "status", "status": 503, "accepted": False},
]


def lose_the_answer(sandbox: Sandbox, fault: dict) -> None:
    sandbox.admin.fault(fault["kind"], "ionq.session_create", **{k: v for k, v in fault.items() if k != "kind"})


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{fault['kind']}-{fault.get('accepted', '')}")
def test_an_opening_without_an_answer_asks_a_person_and_touches_nothing(
    core: Client, sandbox: Sandbox, fault: dict
) -> None:
    lose_the_answer(sandbox, fault)
    with pytest.raises(InDoubt, match="qflows sessions resolve .* --opened ID` or `--absent") as caught:
        core.open_session(DEVICE, "s", max_time_s=600)
    there = open_at_vendor(core)
    assert all(id_ in str(caught.value) for id_ in there)
    with pytest.raises(InDoubt):  # asking again opens no second one
        core.open_session(DEVICE, "s", max_time_s=600)
    assert core.reconciler().tick().sessions_closed == []
    assert open_at_vendor(core) == there
    (record,) = ledger_sessions.listing(core.ledger)
    resolve(core.ledger, core.vendors.of_session(record), record, vendor_id=there[0] if there else None)
    hold = core.open_session(DEVICE, "s", max_time_s=600)
    assert open_at_vendor(core) == [hold.id]
    hold.close()
    assert open_at_vendor(core) == []


@pytest.mark.parametrize("minutes", [10, None])
def test_another_persons_session_with_our_limits_is_never_adopted_or_closed(
    core: Client, sandbox: Sandbox, minutes: int | None
) -> None:
    limit_s = minutes * 60.0 if minutes else None
    theirs = core.provider("ionq").open_session(  # pyright: ignore[reportAttributeAccessIssue]
        "qpu.forte-1", mode="dedicated", max_time_s=limit_s, options={}
    )
    sandbox.admin.fault("drop_before", "ionq.session_create")
    with pytest.raises(InDoubt, match=theirs):
        core.open_session(DEVICE, "s", max_time_s=limit_s)
    (record,) = ledger_sessions.listing(core.ledger)
    resolve(core.ledger, core.vendors.of_session(record), record, vendor_id=None)
    hold = core.open_session(DEVICE, "s", max_time_s=limit_s)
    assert hold.id != theirs
    assert sorted(open_at_vendor(core)) == sorted([theirs, str(hold.id)])
    hold.close()
    assert open_at_vendor(core) == [theirs]


def test_vqe_goes_on_in_new_sessions_when_a_limit_ends_them_and_buys_each_point_once(
    core: Client, sandbox: Sandbox
) -> None:
    found = solve(
        core,
        Scope("v", "a", "f"),
        problem("h2-0.735"),
        device=DEVICE,
        shots=200,
        optimizer="COBYLA",
        max_evaluations=7,
        open_session=lambda: core.open_session(DEVICE, "v", max_time_s=600, options={"max_jobs": 3}),
    )
    bought = sandbox.admin.count_jobs("ionq")
    assert found.n_evaluations == bought
    assert opened(sandbox) == -(-bought // 3)
    assert open_at_vendor(core) == []


def test_a_device_without_sessions_says_so_and_runs_on(core: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="qflows.sessions"):
        hold = core.open_session("local-exact", "s", max_time_s=60)
    assert hold.id is None
    assert hold.is_open()
    assert "has no dedicated sessions" in caplog.text
    hold.close()


@pytest.mark.parametrize(("text", "value"), [("30m", 1800), ("2h 30m", 9000), ("90s", 90), (5, 5.0), (None, None)])
def test_durations_are_read(text: str | float | None, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "30", "1h soon"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ProgramRejected, match="not a duration"):
        seconds(text)


_OWNER = textwrap.dedent(
    """
    import os, signal, sys
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.algorithms.problems import problem
    from qflows.settings import Settings
    from qflows.algorithms.vqe import solve
    from pathlib import Path
    core = Client(Settings(home=Path(sys.argv[1]), settle_s=0.2, poll_min_s=0.01))
    def step(one):
        print(one.index, one.energy.hex(), one.job, flush=True)
        if one.index == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    solve(core, Scope("v", str(os.getpid()), "f"), problem("h2-0.735"), device=sys.argv[3], shots=200, seed=5,
          optimizer="COBYLA", max_evaluations=8, on_step=step,
          open_session=lambda: core.open_session(sys.argv[3], "v", max_time_s=600))
    """
)


def run_owner(home: Path, kill_at: int, sandbox: Sandbox) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _OWNER, str(home), str(kill_at), DEVICE],
        env={**os.environ, **sandbox.env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.split("\n")[:-1]


def test_a_killed_vqe_session_is_resumed_in_the_same_session_with_the_same_trace(
    core: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    code, before = run_owner(tmp_path, 4, sandbox)
    assert code == -signal.SIGKILL
    assert len(open_at_vendor(core)) == 1
    code, after = run_owner(tmp_path, 0, sandbox)
    assert code == 0
    assert after[:4] == before
    assert sandbox.admin.count_jobs("ionq") == len(after)
    assert opened(sandbox) == 1
    assert open_at_vendor(core) == []


def test_one_sweep_closes_the_session_of_a_killed_owner(core: Client, sandbox: Sandbox, tmp_path: Path) -> None:
    code, _ = run_owner(tmp_path, 2, sandbox)
    assert code == -signal.SIGKILL
    assert len(open_at_vendor(core)) == 1
    swept = core.reconciler().tick()
    assert len(swept.sessions_closed) == 1
    assert open_at_vendor(core) == []
    assert core.reconciler().tick().sessions_closed == []


def test_a_living_owner_keeps_its_session_through_a_sweep(core: Client) -> None:
    hold = core.open_session(DEVICE, "s", max_time_s=600)
    assert core.reconciler().tick().sessions_closed == []
    assert hold.is_open()
    hold.close()


def test_lease_of_a_session_that_nobody_left_is_not_renewed_after_its_ledger_was_closed(
    core: Client, caplog: pytest.LogCaptureFixture
) -> None:
    opened_here = core.open_session(DEVICE, "left-behind", max_time_s=600)
    beating = Session(core.ledger, opened_here.provider, opened_here.record, device=DEVICE, lease_s=0.06)
    core.ledger.close()
    [heart] = [one for one in threading.enumerate() if one is beating._heart]
    heart.join(30)
    assert not heart.is_alive()
    assert "could not be renewed" not in caplog.text
    opened_here.release()
