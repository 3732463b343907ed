"""The core, assembled once per process and settings: ledger, vendors, submitter, and pollers that share them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from qflows.core.devices import NothingSaved, Saved, Vendors
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import OverBudget
from qflows.ledger.store import Ledger
from qflows.settings import Settings


class Parts:
    """What everything in the core works with. Thread-safe.

    `saved`: where device profiles and credentials are kept by name. `on_open`: called with the ledger when it is
    opened, to add listeners. `asks`: asks a person whether a purchase may exceed a budget, and waits for the answer.
    """

    def __init__(
        self,
        settings: Settings,
        saved: Saved | None = None,
        on_open: Callable[[Ledger], None] | None = None,
        asks: Callable[[OverBudget], bool] | None = None,
    ) -> None:
        self.settings = settings
        self.asks = asks
        self._on_open = on_open
        self.vendors = Vendors(lambda: self.ledger, saved or NothingSaved(), settings.http_timeout_s)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened on first use."""
        if self.settings.ledger_url is None:
            self.settings.make_home()
        opened = Ledger.open(self.settings.resolved_ledger_url())
        if self._on_open:
            self._on_open(opened)
        return opened

    @cached_property
    def submitter(self) -> Submitter:
        """The only way to a vendor's submission."""
        settings = self.settings
        return Submitter(
            self.ledger, lease_s=settings.lease_s, settle_s=settings.settle_s, workers=settings.posts_at_once
        )

    def poller(self, on_stored: Callable[[], None] | None = None) -> Poller:
        """A separate poller for each waiter; they share lanes through the ledger. `on_stored`: see `Poller`."""
        return Poller(
            self.submitter, self.vendors, poll_min_s=self.settings.poll_min_s, on_stored=on_stored, asks=self.asks
        )
