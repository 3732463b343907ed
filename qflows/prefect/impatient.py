"""Asking the Prefect server where Prefect's own patience is too long.

Prefect's client repeats a request five times, waiting seconds in between, also when nobody answers. A tick that comes
again anyway, or a look-up before a purchase, wants an answer or an error now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

_LOCKED = 503
# A server on SQLite answers 503 at once when another request of its own is writing; that is over in milliseconds.
_LOCKED_FOR_S = (0.1, 0.3)


@contextmanager
def impatient_client(timeout_s: float) -> Iterator[SyncPrefectClient]:
    """A client whose requests fail after `timeout_s` seconds, and are repeated only where the server's database was
    locked (503): twice, within half a second. Such a request changed nothing."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": httpx.Timeout(timeout_s)}, sync_client=True) as api,
    ):
        # every method of the client asks through this one
        api.request = _repeating(api.request)  # pyright: ignore[reportAttributeAccessIssue]
        yield api


def _repeating(request: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    def ask(*args: Any, **given: Any) -> httpx.Response:
        for pause_s in _LOCKED_FOR_S:
            try:
                return request(*args, **given)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != _LOCKED:
                    raise
            time.sleep(pause_s)
        return request(*args, **given)

    return ask
