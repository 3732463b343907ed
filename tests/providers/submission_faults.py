"""What can go wrong with a submission on the wire, for any vendor; and a process that dies while it submits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent
from qflows.sandbox import Sandbox
from qflows.states import JobStatus

LAG_S, SETTLE_S = 0.06, 0.15
"""How long the sandbox's listing lags, and how long qflows waits before absence from it proves anything."""
Script = list[dict[str, Any]]
WIRE = {"before, handled": ("before", "proceed"), "before, lost": ("before", "drop"), "after": ("after", "proceed")}
"""When the process dies: before the vendor handles the request or after, and what becomes of the request."""


def status(route: str, code: int, *, accepted: bool = True, **members: Any) -> Script:
    return [{"kind": "status", "route": route, "status": code, "accepted": accepted, **members}]


def faults_of(submit: str, listing: str) -> dict[str, Script]:
    """The faults by name, as the sandbox's admin takes them, for a vendor's routes of submission and listing."""
    return {
        "none": [],
        "drop before": [{"kind": "drop_before", "route": submit}],
        "drop after": [{"kind": "drop_after", "route": submit}],
        "500 before": status(submit, 500, accepted=False),
        "500 after": status(submit, 500),
        "502 after": status(submit, 502, html=True),
        "504 after": status(submit, 504),
        "500 always": status(submit, 500, times=None),
        "502 always": status(submit, 502, times=None),
        "504 always": status(submit, 504, times=None),
        "429 before": status(submit, 429, accepted=False),
        "429 after": status(submit, 429),
        "408 after": status(submit, 408),
        "truncated": [{"kind": "truncate", "route": submit}],
        "listing lag": [
            {"kind": "list_lag", "route": listing, "seconds": LAG_S},
            {"kind": "drop_after", "route": submit},
        ],
    }


def finish(ledger: Ledger, provider: Any, wanted: Intent) -> str:
    """Submits and waits, as a flow does. Returns the key of the completed job."""
    submitter = Submitter(ledger, settle_s=SETTLE_S)
    (job,) = submitter.submit(provider, [wanted])
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=20)
    assert done[job.key].status is JobStatus.COMPLETED
    items = reads.items(ledger, job.key)
    assert [item.counts.shots for item in items if item.counts] == [50] * len(wanted.spec.programs)
    return job.key


def kill_while_submitting(sandbox: Sandbox, route: str, moment: str, submit: Callable[[], Any], then: Script) -> None:
    """SIGKILLs a process whose submission is on the wire at `moment`; `then`: what fails from there on."""
    when, verdict = WIRE[moment]
    sandbox.admin.fault("hold", route, when=when)
    child = os.fork()
    if child == 0:  # its own ledger and sockets; nothing of the parent's may run at its end
        try:
            submit()
        finally:
            os._exit(1)
    sandbox.admin.wait_held(1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for scripted in then:
        sandbox.admin.fault(**scripted)
    sandbox.admin.release_held(verdict=verdict)
