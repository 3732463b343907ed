"""The claims of one call on their way to the vendor: each is ended before the call is left, whatever interrupts it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from qflows.errors import LedgerError, StaleClaim
from qflows.ledger import claims
from qflows.ledger.claims import Claim
from qflows.ledger.store import Ledger

log = logging.getLogger("qflows.submit")


class ClaimsOfCall:
    """Claims that nobody else ends: a job with a claim of a living process is left alone until the lease is over.

    An interrupt can come at any moment: within the commit that records a claim, between two jobs, within the request,
    or after the answer. When the block is left, what was not sent is free again, and what may have been sent is in
    doubt. Ending a claim repeats its fence, so ending one that was never recorded, or has ended, changes nothing.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._is_recorded = False
        self._unsent: dict[str, Claim] = {}
        self._sent: dict[str, Claim] = {}

    def note(self, mine: Mapping[str, Claim]) -> None:
        """These are about to be recorded; called again if their transaction is run again."""
        self._unsent = dict(mine)

    def recorded(self) -> list[Claim]:
        """The noted claims, in their order, once they are durable."""
        self._is_recorded = True
        return list(self._unsent.values())

    def sending(self, claim: Claim) -> None:
        """From now on the vendor may have it."""
        self._sent[claim.key] = claim
        del self._unsent[claim.key]

    def ended(self, claim: Claim) -> None:
        """Its outcome is in the ledger."""
        self._unsent.pop(claim.key, None)
        self._sent.pop(claim.key, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_interrupt = error is not None and not isinstance(error, Exception)
        if self._is_recorded or is_interrupt:
            for claim in self._unsent.values():
                if claim.key not in self._sent:
                    self._end(claim)
        if is_interrupt:  # another error in recording an outcome leaves the rest to the lease
            for claim in self._sent.values():
                self._end(claim, doubt=f"{type(error).__name__}: {error}")

    def _end(self, claim: Claim, *, doubt: str | None = None) -> None:
        try:
            if doubt is not None:
                claims.doubted(self._ledger, claim, message=doubt[:1000])
            else:
                claims.not_sent(self._ledger, claim, message="interrupted before sending", retry_in_s=0.0)
        except StaleClaim:
            pass  # not recorded, or ended in the same moment
        except LedgerError as error:
            log.warning("%s", error)
