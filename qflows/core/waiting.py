"""Waiting for jobs of several vendors at once: one thread per vendor account, one deadline for all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from importlib import import_module

from qflows.core.poller import Poller
from qflows.errors import InDoubt, LedgerError, QflowsError, WaitTimeout
from qflows.ledger import reads
from qflows.ledger.store import Ledger

log = logging.getLogger("qflows.poller")

_SURPRISES = 3  # consecutive unforeseen errors before a vendor is given up
_GRACE_S = 0.05  # a lane that ends at the deadline may still record what it has


def wait_lanes(
    ledger: Ledger, poller: Callable[[], Poller], keys: Collection[str], *, timeout: float | None
) -> dict[str, str]:
    """Wait for jobs of several vendors under one deadline; return vendor → why it could not be waited for.

    Each vendor account is polled from its own thread: one that hangs, refuses or needs a person does not affect the
    others. A request under way at the deadline is left to end by itself.
    """
    deadline = time.monotonic() + timeout if timeout is not None else None
    lanes: dict[tuple[str, str], list[str]] = {}
    for job in reads.by_keys(ledger, keys).values():
        if not job.is_terminal:
            lanes.setdefault((job.provider, job.account), []).append(job.key)
    troubles: dict[str, str] = {}
    broken: list[LedgerError] = []

    def lane(vendor: str, waiting: list[str]) -> None:
        surprises = 0
        while waiting:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                poller().wait(waiting, timeout=left)
                return
            except WaitTimeout:
                return
            except InDoubt as error:  # one job needs a person; the others of its vendor do not
                troubles[f"{vendor} {(error.key or '')[:12]}"] = str(error)
                waiting = [key for key in waiting if key != error.key] if error.key else []
            except LedgerError as error:
                broken.append(error)
                return
            except QflowsError as error:
                troubles[vendor] = str(error)
                return
            except Exception as error:  # thread boundary; waiting can always be repeated
                log.warning("waiting for %s", vendor, exc_info=True)
                surprises += 1
                if surprises >= _SURPRISES:
                    troubles[vendor] = f"{type(error).__name__}: {error}"
                    return

    if len(lanes) > 1:
        # threads that load parts of one package at once can deadlock; several vendors load this one
        import_module("qiskit")
    threads = [
        threading.Thread(target=lane, args=(vendor, waiting), name=f"qflows-wait-{vendor}", daemon=True)
        for (vendor, _), waiting in lanes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(None if deadline is None else max(deadline - time.monotonic(), 0.0) + _GRACE_S)
    if broken:
        raise broken[0]
    return dict(troubles)
