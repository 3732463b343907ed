"""The core with what only Prefect can give: devices and credentials from saved blocks, events, verbs that are tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL

from qflows.core.client import Client
from qflows.core.client import default_client as core_client
from qflows.core.profiles import DeviceProfile
from qflows.errors import CredentialsMissing, NotSent, OverBudget
from qflows.ledger.store import Ledger
from qflows.prefect.events import JobEvents
from qflows.settings import Settings

_FRESH_S = 60.0


class SavedBlocks:
    """Device profiles and credentials saved as Prefect blocks."""

    def __init__(self) -> None:
        self._saved: dict[tuple[str | None, str], tuple[DeviceProfile | None, float]] = {}

    def profile(self, name: str) -> DeviceProfile | None:
        """The profile saved in Prefect under this name.

        Asked once a minute. An API that stops answering in between changes nothing; one that never answered is an
        error, see `saved_profile`.
        """
        place = (PREFECT_API_URL.value(), name)
        found, asked_at = self._saved.get(place, (None, None))
        if asked_at is None or time.monotonic() - asked_at >= _FRESH_S:
            from qflows.prefect.blocks.device import saved_profile  # not above: its classes take long to make

            try:
                found = saved_profile(name)
            except NotSent:
                if asked_at is None:
                    raise
            self._saved[place] = (found, time.monotonic())
        return found

    def rule(self, name: str) -> str | None:
        """The rule saved in Prefect under this name; only names of no device are asked for."""
        from qflows.prefect.blocks.device import saved_rule

        return saved_rule(name)

    def credentials(self, block: str) -> Mapping[str, Any]:
        """Fields of a saved block by `slug/name`; secrets stay SecretStr. Raises CredentialsMissing."""
        loaded: Any = None
        # ValueError: not saved; RuntimeError: saved, but not valid. Its cause quotes the fields, so it stays here.
        with contextlib.suppress(ValueError, RuntimeError):
            loaded = Block.load(block, _sync=True)  # pyright: ignore[reportCallIssue]
        if loaded is None:
            raise CredentialsMissing(
                f"no usable credentials block {block!r} in Prefect; save one in the UI or with `qflows apply`"
            )
        return {name: getattr(loaded, name) for name in type(loaded).model_fields}


def prefect_client(settings: Settings | None = None) -> Client:
    """A client that looks for saved blocks first, tells Prefect of every change of a job, and buys through tasks."""
    from qflows.prefect.tasks import TaskVerbs  # not above: the tasks use this client

    def asks(error: OverBudget) -> bool:
        from qflows.prefect.approvals import ask

        return ask(made.ledger, error)

    made = Client(settings, saved=SavedBlocks(), on_open=tell_prefect, verbs=TaskVerbs(), asks=asks)
    return made


def client() -> Client:
    """The core of this process for the settings in force."""
    return core_client(prefect_client)


def tell_prefect(ledger: Ledger) -> None:
    """Adds the listener that emits an event for each change of a job."""
    ledger.listeners.append(JobEvents(ledger))
