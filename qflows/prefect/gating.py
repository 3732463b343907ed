"""Whether the dear jobs of a run are bought now, later or not: asked first thing, decided once for each look.

A held run waits in its process between looks. It ends Completed under the name HeldBack and says why: nothing failed,
and nothing dear was bought.
"""

from __future__ import annotations

import time
from typing import Any

from prefect.logging import get_logger
from prefect.states import Completed

from qflows.characterization import gating
from qflows.characterization.benchmarks import Suite
from qflows.core.durations import seconds
from qflows.errors import ProgramRejected
from qflows.ledger import gates
from qflows.ledger.gates import BUY, LATER, NO, GateDecision
from qflows.ledger.store import utc_now
from qflows.prefect.client import client
from qflows.prefect.scope import scope

log = get_logger("qflows")
HELD = "HeldBack"


def gate(
    device: str,
    *,
    within: str | float | None = None,
    every: str | float = "30m",
    shots: int = 200,
    options: dict[str, Any] | None = None,
    timeout: float | None = None,
    run_key: str | None = None,
) -> Any:
    """None when dear jobs may be bought on `device` now; else the state to return from the flow.

    Probes the device (bit order, readout, GHZ-3: 11 circuits of `shots` shots) and compares with its last 30 nights; a
    device that has not changed is held back with a probability of at most 1 % a look. `within`: looks again every
    `every` until this time is over, in this process; None looks once. Each look is decided once in the ledger: a retry
    or a twin run of the same run key goes by what was decided. Raises ProgramRejected, RunKeyMissing.
    """
    core, here = client(), scope(run_key)
    window, pause = seconds(within) or 0.0, seconds(every) or 0.0
    if core.rule(device) is not None:
        raise ProgramRejected("a gate looks at one device: device = qflows.choose(rule, ...), then qflows.gate(device)")
    if window and pause <= 0:
        raise ProgramRejected(f"every must be longer than 0, not {every!r}")
    suite = Suite(
        shots, sizes=(3,), mirror_circuits=0, seed=0, options={device: options} if options else {}, name="probe"
    )
    known = {one.look: one for one in gates.of_runs(core.ledger, [here.run_key]) if one.device == device}
    began, look = known[0].at if 0 in known else utc_now(), 0
    while True:
        decision = known.get(look)
        if decision is None:
            found = gating.look(core, scope(f"{here.run_key}/gate-{look}"), device, suite, timeout)
            is_last = (utc_now() - began).total_seconds() + pause > window
            verdict = BUY if found.is_good else NO if is_last else LATER
            key = gates.key_of(here.run_key, "probe", device, look)
            wanted = (key, here.run_key, "probe", device, look, verdict, found.why, found.evidence, utc_now())
            decision = gates.decide(core.ledger, GateDecision(*wanted))
        if decision.verdict != LATER:
            break
        log.warning("%s is held back: %s; the next look is in %g s", device, decision.why, pause)
        if look + 1 not in known:
            time.sleep(pause)
        look += 1
    if decision.verdict == BUY:
        log.info("%s may be used: %s", device, decision.why)
        return None
    message = f"{device} is held back, nothing dear was bought: {decision.why}"
    log.warning("%s", message)
    return Completed(name=HELD, message=message, data=None)
