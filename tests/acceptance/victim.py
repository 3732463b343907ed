"""The process that gets killed: buys jobs through the core and dies where it was told to.

A script, not a test. It imports the core once, then forks a fresh process for every line on its standard input (one
JSON order) and answers with the process id. The fork opens its own ledger and client, works until every job is
terminal, and writes what happened to `report`; a process that was killed leaves no report.

Order: `url` ledger, `api` IonQ address, `run_key`, `jobs` (basis states to prepare, one job each), `report`,
`lease_s`, `settle_s`, `timeout_s`, `workers`, `vendor` and `device` (IonQ's simulator when absent; other vendors are
connected by this process's environment), `session` (a mode: open one and leave it open, instead of jobs), and `kill`,
one of
`{"event": kind, "n": n}` right after the n-th such fact is durable,
`{"commit": k, "when": "before" | "after"}` at the k-th commit that this process makes,
`{"after_s": seconds}` wherever it is by then.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psycopg  # noqa: F401 - loaded before the fork, not in every fork
import sqlalchemy as sa

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.sessions import open_session
from qflows.core.submit import MAX_SENDS, Submitter
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.programs import Program
from qflows.protocol import JobSpec
from qflows.providers import connect
from qflows.providers.ionq.adapter import IonQProvider

WIDTH = int(os.environ.get("VICTIM_WIDTH", "6"))
SHOTS = 100


def program(state: int) -> Program:
    """Prepares basis state `state` and measures every qubit, so the right counts are known."""
    ops: list[list[Any]] = [["x", [], [q], []] for q in range(WIDTH) if state >> q & 1]
    ops += [["measure", [], [q], [q]] for q in range(WIDTH)]
    body = {"schema": "qflows.program/1", "qubits": WIDTH, "clbits": WIDTH, "registers": [["c", list(range(WIDTH))]]}
    return Program.from_text(json.dumps(body | {"phase": 0.0, "ops": ops}, separators=(",", ":")), name=f"x{state}")


def die() -> None:
    """SIGKILL: no handler, no finally, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def arm(ledger: Ledger, kill: Mapping[str, Any]) -> None:
    """Prepare the death that was ordered."""
    if "event" in kill:
        left = [kill["n"]]

        def on_event(kind: str, key: str, detail: Mapping[str, Any]) -> None:
            left[0] -= kind == kill["event"]
            if left[0] <= 0:
                die()

        ledger.listeners.append(on_event)
    if "commit" in kill:
        _arm_commit(ledger.engine, kill["commit"], kill["when"])


def _arm_commit(engine: sa.Engine, k: int, when: str) -> None:
    left = [k]
    do_commit = engine.dialect.do_commit

    # the engine's own `commit` event comes before the commit; its other side has none
    def commit(connection: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            die()
        do_commit(connection)
        if left[0] == 0 and when == "after":
            die()

    engine.dialect.do_commit = commit  # type: ignore[method-assign]


@cache
def client(api: str) -> IonQProvider:
    """A client that has not connected yet: made before the fork it saves loading certificates in each."""
    return IonQProvider(base_url=api, api_key="sandbox", timeout_s=10.0)


def work(order: Mapping[str, Any]) -> dict[str, Any]:
    """Buy the jobs, wait for all of them, and say what is in the ledger then."""
    kill = order.get("kill") or {}
    if "after_s" in kill:
        threading.Thread(target=lambda: (time.sleep(kill["after_s"]), die()), daemon=True).start()
    ledger = Ledger.open(order["url"])
    arm(ledger, kill)
    vendor, device = order.get("vendor", "ionq"), order.get("device", "simulator")
    provider = client(order["api"]) if vendor == "ionq" else connect(vendor, timeout_s=10.0)
    if "account_of" in order:  # the same account, by an address where nobody listens
        provider.account = client(order["account_of"]).account
    submitter = Submitter(
        ledger,
        lease_s=order["lease_s"],
        settle_s=order["settle_s"],
        workers=order.get("workers", 1),
        max_sends=order.get("max_sends", MAX_SENDS),
    )
    attempt = uuid.uuid4().hex
    intents = [
        Intent(
            JobSpec(vendor, device, (program(state),), SHOTS, label=str(label)),
            Want(order["run_key"], attempt, "flow:0"),
            f"{vendor}:{device}",
            provider.account,
        )
        for label, state in order["jobs"]
    ]
    keys = [job.key for job in submitter.submit(provider, intents)]
    done = Poller(submitter, Sole(provider), poll_min_s=0.02).wait(keys, timeout=order["timeout_s"])
    return {
        "jobs": [
            {"status": done[key].status, "vendor_id": done[key].vendor_id, "label": done[key].label}
            | {"counts": [dict(item.counts or {}) for item in reads.items(ledger, key)]}
            for key in keys
        ]
    }


def hold_session(order: Mapping[str, Any]) -> dict[str, Any]:
    """Open the run's session, or find it again, and leave it open: its owner ends here."""
    ledger = Ledger.open(order["url"])
    arm(ledger, order.get("kill") or {})
    hold = open_session(
        ledger,
        connect(order["vendor"], timeout_s=10.0),
        order["run_key"],
        device=order["device"],
        device_id=order["device"],
        mode=order["session"],
        max_time_s=1800,
    )
    return {"session": hold.id}


def serve_one(order: Mapping[str, Any]) -> None:
    """The life of one fork; never returns."""
    code = 0
    try:
        outcome = hold_session(order) if "session" in order else work(order)
    except BaseException:
        outcome, code = {"error": traceback.format_exc()}, 1
    path = Path(order["report"])
    path.with_suffix(".part").write_text(json.dumps(outcome))
    path.with_suffix(".part").replace(path)
    os._exit(code)


def main() -> None:
    """Fork for every order until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not kept as zombies
    gc.collect()
    gc.freeze()
    for module in sys.argv[1:]:  # what a fork should not have to import
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("vendor", "ionq") == "ionq":
            client(order["api"])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve_one(order)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
