"""People at work, one process each: whole flows by the client, under the credentials of one of them, to be killed.

A script, not a test. It imports everything once and forks a process for every line on its standard input (one JSON
order); the answer is the process id. What happened is written to `report`; a process that was killed leaves none.

Order: `env` (credentials, addresses), `url` (ledger), `run_key`, `vendor`, `device`, `flow` (a name in `FLOWS`),
`states` (what the flow's circuits prepare, one job each), `report`, `settle_s`, `max_sends`, and `kill` as for
`victim.py`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # chaos_notes; victim

import psycopg  # noqa: E402, F401 - loaded before the fork, not in every fork
import sqlalchemy as sa  # noqa: E402
from victim import arm  # noqa: E402

from qflows.core import scope  # noqa: E402
from qflows.core.client import Client  # noqa: E402
from qflows.errors import InDoubt, QflowsError  # noqa: E402
from qflows.ledger import sessions as ledger_sessions  # noqa: E402
from qflows.ledger.tables import groups as group_rows  # noqa: E402
from qflows.ledger.tables import jobs as job_rows  # noqa: E402
from qflows.model import Result  # noqa: E402
from qflows.settings import Settings  # noqa: E402
from qflows.states import SessionState  # noqa: E402

WIDTH, SHOTS = 3, 20
TIMEOUT_S = 40.0
SESSION_S = 600
QPU = {"ionq": "ionq-forte-1"}  # sessions are for QPUs there
Order = Mapping[str, Any]


def circuit(state: int) -> str:
    """Prepares basis state `state` and measures every qubit, so the right counts are known."""
    gates = "".join(f"x q[{q}];" for q in range(WIDTH) if state >> q & 1)
    return f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{WIDTH}]; creg c[{WIDTH}]; {gates} measure q -> c;'


def counts(result: Result | None) -> dict[str, int] | None:
    """As plain data."""
    return None if result is None else {str(bits): int(n) for bits, n in (result.counts or {}).items()}


# -- flows: each may be run again from the top, and then finds what it bought


def job(core: Client, order: Order) -> list[Any]:
    """One circuit, and its counts."""
    (state,) = order["states"]
    found = core.run(
        circuit(state), scope.script_scope(order["run_key"]), device=order["device"], shots=SHOTS, timeout=TIMEOUT_S
    )
    return [counts(found)]


def session(core: Client, order: Order) -> list[Any]:
    """One circuit inside a session."""
    (state,) = order["states"]
    device = QPU.get(order["vendor"], order["device"])
    with core.open_session(device, order["run_key"], max_time_s=SESSION_S) as held:
        return [counts(held.run(circuit(state), shots=SHOTS, timeout=TIMEOUT_S))]


def group(core: Client, order: Order) -> list[Any]:
    """A circuit each, in a group with a callback."""
    with core.new_group("pair", run_key=order["run_key"]) as made:
        made.on_all_complete("chaos_notes:note", timeout=TIMEOUT_S)
        for place, state in enumerate(order["states"]):
            made.submit(circuit(state), device=order["device"], shots=SHOTS, label=str(place))
    found = made.results(timeout=TIMEOUT_S)
    if found.pending():
        raise AssertionError(f"not finished: {found.unreachable}")
    return [counts(found[place].result) for place in range(len(order["states"]))]


def batch(core: Client, order: Order) -> list[Any]:
    """A list of circuits, one a job; those that failed are bought again."""
    made = core.submit_list(
        [circuit(state) for state in order["states"]],
        scope.script_scope(order["run_key"]),
        device=order["device"],
        shots=SHOTS,
        max_circuits=1,
    )
    made.wait(TIMEOUT_S)
    made.rerun_failed()
    return [counts(one) for one in made.result(TIMEOUT_S).results]


def fail(core: Client, order: Order) -> list[Any]:
    """A batch that nobody re-runs; its id."""
    made = core.submit_list(
        [circuit(state) for state in order["states"]],
        scope.script_scope(order["run_key"]),
        device=order["device"],
        shots=SHOTS,
        max_circuits=1,
    )
    made.wait(TIMEOUT_S)
    return [made.id]


def rerun(core: Client, order: Order) -> list[Any]:
    """`rerun_failed` of a batch at a moment that was agreed on."""
    made = core.batch(order["batch"])
    time.sleep(max(order["at"] - time.time(), 0.0))
    return [made.rerun_failed()]


def complete(core: Client, order: Order) -> list[Any]:
    """The counts of a batch, and the keys of the run's jobs that are in no part of it or in several."""
    made = core.batch(order["batch"])
    made.rerun_failed()
    found = [counts(one) for one in made.result(TIMEOUT_S).results]
    parts = [part.job_key for part in made.parts]
    strays = [row["key"] for row in _jobs_of(core, order["run_key"]) if parts.count(row["key"]) != 1]
    return [found, strays]


def impatient(core: Client, order: Order) -> list[Any]:
    """Asks for one circuit again and again for `seconds`, whatever it is told. The last thing told."""
    deadline, told = time.monotonic() + order["seconds"], ""
    while time.monotonic() < deadline:
        try:
            job(core, order)
        except QflowsError as error:
            told = f"{type(error).__name__}: {error}"
            time.sleep(0.5)
    return [told]


def leave(core: Client, order: Order) -> list[Any]:
    """Buys and goes away; with `hold_session` leaves a session open as well."""
    where = scope.script_scope(order["run_key"])
    for state in order["states"]:
        core.submit_one(circuit(state), where, device=order["device"], shots=SHOTS)
    if order.get("hold_session"):
        held = core.open_session(QPU.get(order["vendor"], order["device"]), order["run_key"], max_time_s=SESSION_S)
        core.ledger.transact(lambda connection: connection.execute(_OTHERS_HOST, {"at": held.key}))
        return [held.id]
    return []


# this process ends here, but its session must look as if somebody on another machine went on
_OTHERS_HOST = sa.text("update sessions set owner = 'elsewhere/1/1', lease_until = lease_until + 3600 where key = :at")


def tick(core: Client, order: Order) -> list[Any]:
    """The reconciler of these credentials, for as long as a doubt takes to settle."""
    told: list[str] = []
    for _ in range(3):
        told += [f"{where}: {why}" for where, why in core.reconciler().tick().unreachable.items()]
        time.sleep(order["settle_s"])
    return sorted(set(told))


def meddle(core: Client, order: Order) -> list[Any]:
    """Everything that a process with other credentials may try on another's run. Returns what it is told."""
    told = tick(core, order)
    theirs = _jobs_of(core, order["of"])
    live = [row["key"] for row in theirs if row["status"] not in ("COMPLETED", "FAILED", "CANCELLED")]
    tries: dict[str, Callable[[], Any]] = {}
    if live:
        tries["wait"] = lambda: core.wait(live, timeout=5)
    for row in theirs:
        if row["status"] == "IN_DOUBT":
            tries["resolve"] = lambda key=row["key"]: core.resolve(key, vendor_id=None)
    if theirs:
        tries["the same run key"] = lambda: FLOWS[order["of_flow"]](core, {**order, "run_key": order["of"]})
    for record in ledger_sessions.listing(core.ledger, only_live=True):
        if record.run_key == order["of"] and record.vendor_id:
            tries["close a session"] = lambda name=record.vendor_id: core.session(name).close()
    for verb, attempt in tries.items():
        try:
            attempt()
            told.append(f"{verb}: done, and nothing was told")
        except QflowsError as error:
            told.append(f"{verb}: {type(error).__name__}: {error}")
    return told


def person(core: Client, order: Order) -> list[Any]:
    """What a person does who is asked about an opening: looks at the console, and says what is there."""
    from qflows.core.sessions import resolve

    said: list[str] = []
    for record in ledger_sessions.listing(core.ledger, only_live=True):
        if record.run_key != order["of"] or record.state not in (SessionState.IN_DOUBT, SessionState.OPENING):
            continue
        provider: Any = core.vendors.of_session(record)
        since = datetime.now(UTC) - timedelta(hours=1)
        there = [
            one.session_id
            for one in provider.recent_sessions(record.device_id, since=since)
            if one.is_open and one.session_id not in order["not_ours"]
        ]
        resolve(core.ledger, provider, record, vendor_id=there[0] if there else None)
        said.append(f"session {'--opened' if there else '--absent'}")
    return said


def open_sessions(core: Client, order: Order) -> list[Any]:
    """Ids of sessions of this account that take jobs at the vendor."""
    provider: Any = core.provider(order["vendor"])
    if not provider.capabilities.sessions:
        return []
    device = core.device(QPU.get(order["vendor"], order["device"])).profile.device
    since = datetime.now(UTC) - timedelta(hours=1)
    return [one.session_id for one in provider.recent_sessions(device, since=since) if one.is_open]


FLOWS: dict[str, Callable[[Client, Order], list[Any]]] = {
    "job": job, "session": session, "group": group, "batch": batch, "impatient": impatient, "leave": leave,
    "fail": fail, "rerun": rerun, "complete": complete,
    "tick": tick, "meddle": meddle, "person": person, "open sessions": open_sessions,
}  # fmt: skip


def _jobs_of(core: Client, run_key: str) -> list[dict[str, Any]]:
    columns = [job_rows.c[name] for name in ("key", "status", "vendor_id", "fence", "account", "sends", "attempt")]
    with core.ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).where(job_rows.c.run_key == run_key).order_by(job_rows.c.key))
        return [dict(row._mapping) for row in rows]


def _callbacks_of(core: Client, run_key: str) -> list[str]:
    with core.ledger.read() as connection:
        query = sa.select(group_rows.c.callback_state).where(group_rows.c.run_key == run_key)
        return [str(state) for (state,) in connection.execute(query)]


def work(order: Order) -> dict[str, Any]:
    """One order: the flow's answer, and what the ledger has of the run then."""
    os.environ.update(order["env"])
    settings = Settings(
        ledger_url=order["url"], settle_s=order["settle_s"], lease_s=20, http_timeout_s=10, poll_min_s=0.02
    )
    core = Client(settings)
    core.submitter.max_sends = order.get("max_sends", core.submitter.max_sends)
    arm(core.ledger, order.get("kill") or {})
    if "after_s" in (order.get("kill") or {}):
        _die_after(order["kill"]["after_s"])
    found: dict[str, Any] = {}
    before = _jobs_of(core, order["of"]) if "of" in order else []
    try:
        found["answer"] = FLOWS[order["flow"]](core, order)
    except InDoubt as error:
        found["asked"] = str(error)
    except QflowsError as error:
        found["error"] = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    found["jobs"] = _jobs_of(core, order["run_key"])
    found["callbacks"] = _callbacks_of(core, order["run_key"])
    if "of" in order:
        found["touched"] = before != _jobs_of(core, order["of"])
    return found


def _die_after(seconds: float) -> None:
    import threading

    from victim import die

    threading.Thread(target=lambda: (time.sleep(seconds), die()), daemon=True).start()


def serve_one(order: Order) -> None:
    """The life of one fork; never returns."""
    scope._PROCESS_ATTEMPT = uuid.uuid4().hex  # a fork is another process of the run, as one started anew would be
    code = 0
    try:
        outcome = work(order)
    except BaseException:
        outcome, code = {"error": traceback.format_exc()}, 1
    path = Path(order["report"])
    path.with_suffix(".part").write_text(json.dumps(outcome))
    path.with_suffix(".part").replace(path)
    os._exit(code)


def main(imports: Sequence[str]) -> None:
    """Fork for every order until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for module in imports:
        importlib.import_module(module)
    from qflows.programs import to_program

    to_program(circuit(5))  # loads what reads programs
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve_one(order)
        print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
