"""A choice made once for one call of a run, and moved to another device only while nothing was bought.

A call is identified by what it asks for and its ordinal among equal calls, as for samples: a retried task, another
attempt of the run and a second process of it all get the choice already made, whatever the queues look like by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from qflows.core.choice.candidates import Candidate, Drift, Look, Specs
from qflows.core.devices import Vendors
from qflows.core.money import Rates
from qflows.core.rules import Rule
from qflows.core.scope import Scope
from qflows.errors import (
    JobFailed,
    LedgerError,
    NoDeviceFits,
    NotSent,
    ProgramRejected,
    Refused,
    UnknownDevice,
)
from qflows.keys import digest
from qflows.ledger import choices
from qflows.ledger.choices import Choice, ChoiceMoved
from qflows.ledger.intents import Want, give_back_ordinals, lease_ordinal
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.states import JobStatus

log = logging.getLogger("qflows.choice")
T = TypeVar("T")
_SHOWN = 6


@dataclass(frozen=True)
class Asked:
    """What a device is chosen for. `content`: JSON that identifies it; `specs`: its jobs on a device, if known."""

    content: Any
    specs: Specs | None = None


@dataclass
class Chooser:
    """Chooses devices for one client."""

    ledger: Callable[[], Ledger]
    vendors: Vendors
    rates: Rates
    drift: Drift | None = None
    _said: set[tuple[str, int]] = field(default_factory=set, repr=False)

    def look(self, rule: Rule, asked: Asked) -> tuple[list[Candidate], list[Candidate]]:
        """The current candidates: those that fit, best first, and all. Decides and records nothing."""
        return Look(rule, self.vendors, self.rates, asked.specs, self.drift).candidates()

    def first(self, rule: Rule, asked: Asked) -> str:
        """The device that would be chosen now; decides and records nothing. Raises NoDeviceFits."""
        fitting, everyone = self.look(rule, asked)
        if not fitting:
            raise NoDeviceFits(_nobody(rule, everyone))
        return fitting[0].device

    def choose(self, rule: Rule, want: Want, asked: Asked) -> Choice:
        """The choice already made for this call, otherwise a new one; durable when this returns.

        An existing choice under which no job was recorded yet is checked again: if its device is offline or gone, the
        next device replaces it. Raises NoDeviceFits with the reason for every device.
        """
        ledger, content = self.ledger(), content_of(rule, asked)
        ordinal = ledger.transact(lambda connection: lease_ordinal(ledger, connection, want, content))
        key = choices.key_of(want.run_key, content, ordinal)
        stands = choices.get(ledger, key)
        if stands is None:
            fitting, everyone = self.look(rule, asked)
            if not fitting:
                raise NoDeviceFits(_nobody(rule, everyone))
            rank = {id(one): place for place, one in enumerate(fitting, start=1)}
            rows = [one.row(rank.get(id(one))) for one in (*fitting, *(c for c in everyone if c.out))]
            names = [one.device for one in fitting]
            stands = choices.record(ledger, choices.made(key, want.run_key, str(rule), names, rows))
        elif not choices.has_purchases(ledger, key):
            stands = self._still_there(rule, stands)
        self._say(stands)
        return stands

    def _still_there(self, rule: Rule, stands: Choice) -> Choice:
        """Move a choice to another device if its device is gone before any job was recorded on it."""
        while True:
            alive = Rule(rule.verb, (stands.device,))
            look = Look(replace(alive, verb="least_busy"), self.vendors, self.rates)
            _, everyone = look.candidates([stands.device])
            if not everyone[0].out or everyone[0].out.startswith("its vendor did not answer"):
                return stands
            moved = choices.advance(self.ledger(), stands, why=everyone[0].out)
            if moved is None:
                return stands
            stands = moved

    def _say(self, choice: Choice) -> None:
        if choice.mark not in self._said:
            self._said.add(choice.mark)
            others = f", then {', '.join(choice.ranked[choice.turn + 1 :][:3])}" if choice.ranked[1:] else ""
            log.info("%s chose %s%s (choice %s)", choice.rule, choice.device, others, choice.key[:12])

    def through(
        self, rule: Rule, scope: Scope, asked: Asked, use: Callable[[str, Scope], T], jobs: Callable[[T], Sequence[Job]]
    ) -> T:
        """Call `use(device, scope)` on the chosen device, and on the next one if the device refuses everything at once.

        `jobs`: those that `use` made. Moves on only while nothing was sent or may have been sent; otherwise what `use`
        raised or returned stands.
        """
        want = scope.want(content_of(rule, asked))
        try:
            choice = self.choose(rule, want, asked)
            while True:
                following = None
                try:
                    made = use(choice.device, replace(scope, choice=choice.mark))
                except ChoiceMoved:
                    following = choices.get(self.ledger(), choice.key)
                    assert following is not None
                except (UnknownDevice, ProgramRejected, Refused, NotSent, JobFailed) as error:
                    following = self._moved(choice, str(error))
                    if following is None:
                        raise
                else:
                    why = _refusal(jobs(made))
                    following = self._moved(choice, why) if why else None
                    if following is None:
                        return made
                choice = following
                self._say(choice)
        except BaseException:
            self._give_back(want, content_of(rule, asked))
            raise

    def _moved(self, choice: Choice, why: str) -> Choice | None:
        following = choices.advance(self.ledger(), choice, why=why)
        if following is not None:
            log.warning(
                "falling back from %s to %s, nothing was bought: %s", choice.device, following.device, why[:300]
            )
        return following

    def _give_back(self, want: Want, content: str) -> None:
        try:
            give_back_ordinals(self.ledger(), [(want, content)])
        except LedgerError as error:
            log.warning("%s", error)


def content_of(rule: Rule, asked: Asked) -> str:
    """A name for what is asked for, independent of the answer."""
    return digest("choose/1", str(rule), asked.content)


def _refusal(jobs: Sequence[Job]) -> str:
    """Why all of them were refused; empty if at least one was not."""
    if not jobs or not all(job.status is JobStatus.FAILED and job.error_kind == "refused" for job in jobs):
        return ""
    return jobs[0].error_message or "refused"


def _nobody(rule: Rule, everyone: Sequence[Candidate]) -> str:
    reasons = [f"{one.device}: {one.out}" for one in everyone]
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return (
        f"no device fits {rule}; {'; '.join(reasons[:_SHOWN])}{more}. Loosen a condition, "
        "accept unknown values with a question mark (queue<2h?), or run `qflows devices choose` to see the numbers"
    )
