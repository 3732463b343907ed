"""The core for commands: as in flows, a saved device or credentials block counts, wherever a Prefect API is configured.

Otherwise `qflows jobs cancel` would go to another account than the flow that bought the job. Commands that only read
the ledger never ask, and do not import Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qflows.settings import current_settings

if TYPE_CHECKING:
    from qflows.core.client import Client
    from qflows.ledger.store import Ledger


def default_client() -> Client:
    """The client of this process for the settings in force."""
    from qflows.cli.purchasing import command_client
    from qflows.core import client

    return client.default_client(command_client)


def default_ledger() -> Ledger:
    """The ledger of the settings in force, without vendors: for lists."""
    from qflows.ledger.store import Ledger

    settings = current_settings()
    if settings.ledger_url is None:
        settings.make_home()
    return Ledger.open(settings.resolved_ledger_url())
