"""One poll of the vendors now, without waiting for anything to end."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from qflows.core.poller import Poller
from qflows.errors import InDoubt, ResultsHeld, WaitTimeout
from qflows.ledger import reads
from qflows.model import Job


def refresh(poller: Poller, keys: Collection[str]) -> dict[str, Job]:
    """Ask about unfinished jobs, in bulk, no sooner than the vendors' pace allows.

    Returns current handles; finished jobs get their counts. Raises only what keeps all of them from being asked about.
    """
    with contextlib.suppress(WaitTimeout, ResultsHeld, InDoubt):
        poller.wait(keys, timeout=0)
    return reads.by_keys(poller.submitter.ledger, keys)
