"""The core for commands: as in flows, a saved device or credentials block counts, wherever a Prefect API is configured.

Otherwise `qflows jobs cancel` would go to another account than the flow that bought the job. Commands that only read
the ledger never ask, and do not import Prefect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qflows.cli.mode import prefect_api
from qflows.core import client
from qflows.core.client import Client
from qflows.core.profiles import DeviceProfile
from qflows.ledger.store import Ledger

if TYPE_CHECKING:
    from qflows.prefect.client import PrefectClient


class CommandClient(Client):
    """A client that imports Prefect at the first device it is asked for, and only if there is an API."""

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened on first use; changes made by a command reach Prefect's event feed too."""
        opened = super().ledger
        if prefect_api():
            opened.listeners.append(self._tell_prefect)
        return opened

    def _tell_prefect(self, kind: str, key: str, detail: Mapping[str, Any]) -> None:
        from qflows.prefect.events import JobEvents

        JobEvents(self.ledger)(kind, key, detail)

    @cached_property
    def _saved_blocks(self) -> PrefectClient:
        from qflows.prefect.client import PrefectClient

        return PrefectClient(self.settings)

    def find_profile(self, name: str) -> DeviceProfile | None:
        """The saved profile where an API is configured, else the shipped one."""
        return self._saved_blocks.find_profile(name) if prefect_api() else super().find_profile(name)

    def load_credentials(self, block: str) -> Mapping[str, Any]:
        """Fields of a saved credentials block."""
        return self._saved_blocks.load_credentials(block) if prefect_api() else super().load_credentials(block)


def default_client() -> Client:
    """The client of this process for the settings in force."""
    return client.default_client(CommandClient)
