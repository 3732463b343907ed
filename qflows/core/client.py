"""The client of one process: records, plans, sessions and purchases on one ledger and its vendors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from qflows.core.archiving.reading import ArchiveReader
from qflows.core.devices import Saved
from qflows.core.groups.handle import Group
from qflows.core.parts import Parts
from qflows.core.purchases import Purchases
from qflows.core.reconciler import Reconciler
from qflows.core.script import ScriptVerbs
from qflows.core.verbs import Verbs
from qflows.errors import OverBudget
from qflows.ledger.store import Ledger
from qflows.settings import Settings, current_settings


class Client(Purchases):
    """Everything that a task or a command needs: `Records`, `Plans`, `Holds` and `Purchases`. Thread-safe.

    One per process and settings. `saved`, `on_open` and `asks`: see `Parts`. `verbs`: how sessions and groups make
    their calls; plain calls by default.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        saved: Saved | None = None,
        on_open: Callable[[Ledger], None] | None = None,
        verbs: Verbs | None = None,
        asks: Callable[[OverBudget], bool] | None = None,
    ) -> None:
        chosen = settings or Settings()

        def opened(ledger: Ledger) -> None:
            ledger.archives = ArchiveReader(chosen.archive_folder())
            if on_open:
                on_open(ledger)

        super().__init__(Parts(chosen, saved, opened, asks), verbs or ScriptVerbs(self, default_client))

    def new_group(self, name: str, **wanted: Any) -> Group:
        """A group that is not open yet; arguments as for `qflows.group`."""
        return Group(self.parts, self.verbs, name, **wanted)

    def reconciler(self, on_stored: Callable[[], None] | None = None) -> Reconciler:
        """The reconciler of this client's ledger and credentials. `on_stored`: see `Poller`."""
        return Reconciler(self.parts, self.group, on_stored)


_clients: dict[str, Client] = {}
_clients_lock = threading.Lock()


def default_client(make: Callable[[Settings], Client] = Client) -> Client:
    """The client of this process for the current settings; changed settings give another client."""
    settings = current_settings()
    # a fork must not share database connections or sockets with its parent
    place = f"{os.getpid()}|{make.__qualname__}|{settings.model_dump_json()}|{_vendor_environment()}"
    with _clients_lock:
        if place not in _clients:
            _clients[place] = make(settings)
        return _clients[place]


def _vendor_environment() -> int:
    # credentials come from the vendors' own variables: new ones need new connections. Hashed, never stored.
    prefixes = ("IONQ_", "QISKIT_", "AWS_", "QBRAID_")
    return hash(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(prefixes))))
