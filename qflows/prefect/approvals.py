"""Asking a person: a purchase beyond a budget pauses its flow run with a form in the Prefect UI.

The answer is in the ledger before the run goes on, so a run that crashes after it, or is retried, is not asked again.
A pause that nobody ends in time is a denial. Where there is no flow run nobody is asked, and the error tells the
command that approves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Literal

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.logging import get_logger
from prefect.states import Running
from pydantic import Field

from qflows.errors import OverBudget
from qflows.ledger import budgets
from qflows.ledger.budgets import NOBODY, micro
from qflows.ledger.store import Ledger

log = get_logger("qflows")

_LOOK_EVERY_S = 2
_one_at_a_time = threading.Lock()  # a flow run shows one form


def _amount(default: str) -> Any:
    """The field with this default. Given a mere value, `with_initial_data` drops the explanation and the pattern."""
    explained = "By how much; empty: the amount requested now."
    return Field(default=default, pattern=r"^(\d{1,9}(\.\d{1,6})?)?$", description=explained)


class Approval(RunInput):
    """What a person answers. The server does not say who answered, so the form asks."""

    verdict: Literal["approve", "deny"] = Field(description="May this run exceed the budget?")
    who: str = Field(min_length=1, max_length=128, description="Your name; stored with the answer.")
    why: str = Field(default="", max_length=2000, description="Stored with the answer.")
    amount: str = _amount("")


def ask(ledger: Ledger, error: OverBudget) -> bool:
    """Pauses the flow run until a person answers, and writes that down. True when the purchase may be tried again.

    False outside a flow run, on a denial and when the time is over.
    """
    flow = FlowRunContext.get()
    if flow is None or flow.flow_run is None or error.budget is None or error.run_key is None:
        return False
    rule = next((one for one in budgets.listing(ledger) if one.name == error.budget), None)
    if rule is None:
        return True  # it is gone meanwhile
    with _one_at_a_time:
        decided = budgets.verdicts(ledger, budget=error.budget, run_key=error.run_key)
        asked = micro(error.needed)
        if sum(one.amount - one.used for one in decided if one.verdict == "approve") >= asked:
            return True  # another task of the run, or the attempt before, has asked
        if decided and decided[0].stands(rule.ask_timeout_s):
            log.warning("%s did not let this run exceed budget %s: %s", decided[0].who, rule.name, decided[0].why)
            return False
        answer = _answer(error, timeout_s=rule.ask_timeout_s, number=len(decided))
        approve = answer is not None and answer.verdict == "approve"
        amount = micro(Decimal(answer.amount)) if answer is not None and answer.amount else asked
        who = answer.who if answer is not None else NOBODY
        why = answer.why if answer is not None else f"no answer within {rule.ask_timeout_s:g} s"
        budgets.decide(ledger, rule.name, error.run_key, amount=amount, approve=approve, who=who, why=why)
        log.info("budget %s: %s by %s", rule.name, "approved" if approve else "denied", who)
        return approve


def _answer(error: OverBudget, *, timeout_s: float, number: int) -> Approval | None:
    """The form's answer; None when the time is over."""
    form = form_for(error, timeout_s=timeout_s)
    log.warning("%s; this run waits %g s for an approval in the UI", error, timeout_s)
    with _as_flow():
        try:
            # a pause fires once per key; the ledger counts the answers of this run
            key = f"qflows-budget-{error.budget}-{number}"
            return pause_flow_run(
                wait_for_input=form, timeout=int(max(timeout_s, 1)), key=key, poll_interval=_LOOK_EVERY_S
            )
        except FlowPauseTimeout:
            _end_pause()
            return None


def form_for(error: OverBudget, *, timeout_s: float) -> type[Approval]:
    """The form that is shown: what is asked, and the amount filled in."""
    return Approval.with_initial_data(
        description=(
            f"**Budget {error.budget}** ({error.period}) has spent {error.spent} and reserved {error.reserved} of "
            f"{error.limit} {error.currency}. Run `{error.run_key}` requests **{error.asked} {error.currency}**"
            f"{_beyond(error)}. "
            f"Without an answer within {timeout_s:g} s it is denied."
        ),
        amount=_amount(f"{error.needed:f}"),
    )


def _beyond(error: OverBudget) -> str:
    """What larger bills add to the request."""
    if error.needed == Decimal(error.asked or 0):
        return ""
    return f", and {error.needed} {error.currency} in all because larger bills have overdrawn the budget"


def _end_pause() -> None:
    """Put the run back into Running: after a pause that nobody ended, the server accepts no other end than its own
    "never resumed" (3.8.8), which hides why nothing was bought."""
    flow = FlowRunContext.get()
    if flow is None or flow.flow_run is None:
        return
    with get_client(sync_client=True) as api:
        state = api.read_flow_run(flow.flow_run.id).state
        if state is not None and state.is_paused():
            api.set_flow_run_state(flow.flow_run.id, Running(), force=True)


@contextmanager
def _as_flow() -> Iterator[None]:
    """Prefect pauses flow runs from the flow alone; a task of ours that waits for the answer may ask on its behalf."""
    token = TaskRunContext.__var__.set(None)  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        TaskRunContext.__var__.reset(token)
