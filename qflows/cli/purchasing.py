"""The client that commands buy, wait and cancel through; commands that only list do not import it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qflows.cli.mode import prefect_api
from qflows.core.client import Client
from qflows.core.devices import NothingSaved
from qflows.core.profiles import DeviceProfile
from qflows.ledger.store import Ledger
from qflows.settings import Settings

if TYPE_CHECKING:
    from qflows.prefect.client import SavedBlocks


class CommandBlocks(NothingSaved):
    """Saved blocks that import Prefect at the first question, and only if there is an API."""

    @cached_property
    def _blocks(self) -> SavedBlocks:
        from qflows.prefect.client import SavedBlocks

        return SavedBlocks()

    def profile(self, name: str) -> DeviceProfile | None:
        """The saved profile where an API is configured."""
        return self._blocks.profile(name) if prefect_api() else None

    def credentials(self, block: str) -> Mapping[str, Any]:
        """Fields of saved credentials."""
        return self._blocks.credentials(block) if prefect_api() else super().credentials(block)


def _tell_prefect(ledger: Ledger) -> None:
    """Changes made by a command reach Prefect's event feed too."""
    if not prefect_api():
        return

    def tell(kind: str, key: str, detail: Mapping[str, Any]) -> None:
        from qflows.prefect.events import JobEvents

        JobEvents(ledger)(kind, key, detail)

    ledger.listeners.append(tell)


def command_client(settings: Settings) -> Client:
    """A client for commands."""
    return Client(settings, saved=CommandBlocks(), on_open=_tell_prefect)
