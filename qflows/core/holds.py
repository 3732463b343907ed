"""Sessions of one process: opening them and finding them again."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from qflows.core import sessions
from qflows.core.choice import asking
from qflows.core.choice.deciding import Asked
from qflows.core.money import with_approval
from qflows.core.plans import Plans
from qflows.core.scope import Scope
from qflows.core.sessions import OnException, Session
from qflows.errors import OtherAccount, ProgramRejected, UnknownJob
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.budgets import Buyer
from qflows.ledger.choices import Turn
from qflows.model import Job
from qflows.states import SessionState


class Holds(Plans):
    """Opens and finds sessions, each counted for its buyer."""

    def buyer(self, scope: Scope) -> Buyer:
        """The buyer of a scope's purchases: as its caller says, otherwise from the settings."""
        said, settings = scope.buyer, self.settings
        return Buyer(said.project or settings.project, said.user or settings.user or _login(), said.deployment)

    def open_session(
        self,
        device: str,
        run_key: str,
        *,
        mode: str = "dedicated",
        max_time_s: float | None = None,
        options: Mapping[str, Any] | None = None,
        name: str = "",
        on_exception: OnException = "close",
        buyer: Buyer | None = None,
    ) -> Session:
        """The run's session on `device`; see `sessions.open_session`."""
        if max_time_s is not None and not max_time_s > 0:
            raise ProgramRejected(
                f"max_time must be more than 0 seconds, not {max_time_s:g}; leave it out for the vendor's own limit"
            )
        # one session per run and parameters, however often it is requested
        here = Scope(run_key, f"session {run_key}"[:64], "session", sample=0)
        given: dict[str, Any] = {
            "mode": mode,
            "max_time_s": max_time_s,
            "options": options,
            "name": name,
            "buyer": buyer,
        }
        given |= {"on_exception": on_exception}

        def asked() -> Asked:
            return asking.for_a_place("session", name, mode, max_time_s, dict(options or {}))

        def opened(chosen: str, at: Scope) -> Session:
            return self._open_session(chosen, run_key, choice=at.choice, **given)

        return self.through(device, here, asked, opened, none_refused)

    def _open_session(
        self,
        device: str,
        run_key: str,
        *,
        mode: str,
        max_time_s: float | None,
        options: Mapping[str, Any] | None,
        name: str,
        on_exception: OnException,
        buyer: Buyer | None,
        choice: Turn | None,
    ) -> Session:
        target = self.device(device)
        wanted: dict[str, Any] = {
            "device": device,
            "device_id": target.profile.device,
            "mode": mode,
            "max_time_s": max_time_s,
            "options": options,
            "name": name,
            "verbs": self.verbs,
            "on_exception": on_exception,
            "buyer": self.buyer(Scope(run_key, "", "", buyer=buyer or Buyer())),
            "choice": choice,
        }

        def opened() -> Session:
            return sessions.open_session(self.ledger, target.provider, run_key, **wanted)

        try:
            return with_approval(self.ledger, self.parts.asks, opened)
        except OtherAccount as error:
            try:
                self.vendors.of_account(target.provider.name, error.account or "", device)
            except OtherAccount:
                raise error from None
        return with_approval(self.ledger, self.parts.asks, opened)

    def session(self, name: str) -> Session:
        """A session by key, unique prefix of the key, or vendor id. Raises UnknownJob, OtherAccount."""
        record = ledger_sessions.get(self.ledger, name)
        if record is None:
            raise UnknownJob(f"the ledger has no session {name!r}; `qflows sessions ls` lists what it has")
        provider = self.vendors.of_session(record)
        if record.state is SessionState.OPEN:
            ledger_sessions.hold(self.ledger, record.key, lease_s=sessions.LEASE_S)
        return Session(self.ledger, provider, record, device=record.device, verbs=self.verbs, run_key=record.run_key)


def none_refused(_: object) -> list[Job]:
    """For calls that raise if everything was refused."""
    return []


def _login() -> str | None:
    try:
        return getpass.getuser()[:128]
    except (KeyError, OSError):  # a container without a name for its user
        return None
