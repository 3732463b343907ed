"""Decides whether the expensive jobs of a run are bought now, later or not at all; once for each look.

A held run ends Completed under the name HeldBack and says why: nothing failed, and nothing expensive was
bought. A run that looks again later leaves its process; a worker starts it at the time of the next look.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.logging import get_logger
from prefect.states import AwaitingRetry, Completed
from prefect.utilities.engine import propose_state_sync

from qflows.characterization import gating
from qflows.characterization.gating import Gate
from qflows.core.arguments import fitting
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import gates
from qflows.ledger.gates import BUY, LATER, NO, GateDecision
from qflows.ledger.store import utc_now
from qflows.pages import choices
from qflows.prefect.client import client
from qflows.prefect.scope import scope
from qflows.prefect.suspend import suspendable

log = get_logger("qflows")
HELD = "HeldBack"
_PAGE = "gate"
_EARLY_S = 1.0  # Prefect's server counts whole seconds, and starts a run up to one early (3.8.8)


class Held(Exception):
    """Ends a flow's body where it stands; `state` is what the flow returns."""

    def __init__(self, state: Any) -> None:
        super().__init__(state.message)
        self.state = state


@fitting
def gate(
    device: str,
    *,
    within: str | float | None = None,
    every: str | float = "30m",
    shots: int = 200,
    options: dict[str, Any] | None = None,
    timeout: float | None = None,
    reference: Any = None,
    run_key: str | None = None,
) -> Any:
    """Returns None if expensive jobs may be bought on `device` now, otherwise the state to return from the flow.

    Probes the device (bit order, readout, GHZ-3: 11 circuits of `shots` shots) and compares with its last 30 nights; a
    device that has not changed is held back with a probability of at most 1 % per look. `within`: looks again every
    `every` until this time is over; None looks once. Between looks the flow run leaves its process and is scheduled
    for the next one, when it begins again at its top; a script, a task, a subflow and a run without a deployment wait
    where they are. Each look is decided once in the ledger: a retry or a twin run of the same run key goes by what was
    decided.

    `reference`: your own circuits in place of the probe's: a circuit, `(circuit, {key: probability})`, a mapping with
    `circuit` and any of `expected`, `at_least` and `name`, or a list of these. Keys as in counts, classical bit 0
    rightmost. Without `expected` the exact distribution is computed here. The overlap of the counts with it is
    compared with its history, and with `at_least` from the first night on.
    Raises ProgramRejected, RunKeyMissing.
    """
    wanted = Gate.of(within=within, every=every, shots=shots, options=options, timeout=timeout, reference=reference)
    _, held = through_gate(wanted, [device], run_key)
    return None if held is None else held.state


def pass_gate(wanted: Gate | None, device: str, run_key: str | None) -> None:
    """Returns if expensive jobs may be bought on `device`, else raises Held; leaves the process between looks."""
    if wanted is not None:
        _, held = through_gate(wanted, [device], run_key)
        if held is not None:
            raise held


def through_gate(wanted: Gate, devices: Sequence[str], run_key: str | None) -> tuple[list[str], Held | None]:
    """The devices that may be used, and what ends the flow when none may. Waits as `gate` while one is to be looked
    at again."""
    core, here = client(), scope(run_key)
    for device in devices:
        if core.rule(device) is not None:
            raise ProgramRejected(
                "a gate checks one device; use device = qflows.choose(rule, ...), then qflows.gate(device)"
            )
    while True:
        decisions = [_standing(core, wanted, device, here, run_key) for device in devices]
        waiting = [one for one in decisions if one.verdict == LATER]
        if not waiting:
            break
        due = min(_due(one, wanted) for one in waiting)
        told = "; ".join(f"{one.device} is held back: {one.why}" for one in waiting)
        message = f"{told}. The next check is at {due:%Y-%m-%d %H:%M:%S} UTC"
        log.warning("%s", message)
        _leave_until(core, here, due, message)
        time.sleep(max(0.0, (due - utc_now()).total_seconds()))
    for one in decisions:
        if one.verdict == BUY:
            log.info("%s may be used: %s", one.device, one.why)
    held = [
        f"{one.device} is held back, nothing expensive was bought: {one.why}" for one in decisions if one.verdict != BUY
    ]
    for text in held:
        log.warning("%s", text)
    good = [one.device for one in decisions if one.verdict == BUY]
    return good, None if good else Held(Completed(name=HELD, message="; ".join(held), data=None))


def _due(decision: GateDecision, wanted: Gate) -> datetime:
    return decision.at + timedelta(seconds=wanted.every_s)


def _standing(core: Client, wanted: Gate, device: str, here: Scope, run_key: str | None) -> GateDecision:
    """The newest decision about a device, after another look where one is due."""
    known = {one.look: one for one in gates.of_runs(core.ledger, [here.run_key]) if one.device == device}
    number = max(known, default=0)
    newest = known.get(number)
    early = timedelta(seconds=min(_EARLY_S, wanted.every_s / 2))
    if newest is not None and newest.verdict == LATER and _due(newest, wanted) - early <= utc_now():
        number, newest = number + 1, None
    if newest is not None:
        return newest
    place = scope(f"{here.run_key}/gate-{number}")
    found = gating.look(core, place, device, wanted.suite(core, place, device), wanted.timeout)
    began = known[0].at if 0 in known else utc_now()
    is_last = (utc_now() - began).total_seconds() + wanted.every_s > wanted.within_s
    verdict = BUY if found.is_good else NO if is_last else LATER
    key = gates.key_of(here.run_key, "probe", device, number)
    decided = gates.decide(
        core.ledger,
        GateDecision(key, here.run_key, "probe", device, number, verdict, found.why, found.evidence, utc_now()),
    )
    if decided.verdict != BUY:
        about = {"decision": decided.key, "run_key": here.run_key, "verdict": decided.verdict, "look": str(number)}
        core.ledger.tell("gate-held", device, **about, reason=decided.why)
    return decided


def _leave_until(core: Client, here: Scope, due: datetime, message: str) -> None:
    """Schedules the flow run for `due` and leaves its process by Prefect's signal; returns where that cannot be."""
    flow_run = suspendable()
    if flow_run is None:
        return
    _show(core, here, message)
    with get_client(sync_client=True) as api:
        state = propose_state_sync(api, AwaitingRetry(scheduled_time=due, message=message), flow_run_id=flow_run.id)
    if not state.is_scheduled():
        log.warning("waiting in this process: Prefect put the run into %s instead of scheduling it", state.name)
        return
    log.info("this run leaves its process; a worker starts it again at %s UTC", f"{due:%Y-%m-%d %H:%M:%S}")
    raise Pause(state=state)


def _show(core: Client, here: Scope, message: str) -> None:
    """The looks so far as an artifact of the run, which has no page of its own before its end."""
    from prefect.artifacts import create_markdown_artifact

    if FlowRunContext.get() is not None:
        text = "\n\n".join(choices.gate_section(core.ledger, [here.run_key]))
        create_markdown_artifact(markdown=text, key=_PAGE, description=message[:500])
