"""The core with what only Prefect can give: devices and credentials from saved blocks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL

from qflows.core.client import Client
from qflows.core.profiles import DeviceProfile
from qflows.errors import CredentialsMissing, NotSent
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.prefect.blocks.device import saved_profile
from qflows.prefect.events import JobEvents
from qflows.settings import Settings

_FRESH_S = 60.0


class PrefectClient(Client):
    """A client that looks for saved blocks first, and tells Prefect of every change of a job's state."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._saved: dict[tuple[str | None, str], tuple[DeviceProfile | None, float]] = {}

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened on first use."""
        opened = super().ledger
        opened.listeners.append(JobEvents(opened))
        return opened

    def find_profile(self, name: str) -> DeviceProfile | None:
        """The profile saved in Prefect under this name, else the shipped one.

        Asked once a minute. An API that stops answering in between changes nothing; one that never answered is an
        error, see `device_block.saved_profile`.
        """
        place = (PREFECT_API_URL.value(), name)
        found, asked_at = self._saved.get(place, (None, None))
        if asked_at is None or time.monotonic() - asked_at >= _FRESH_S:
            try:
                found = saved_profile(name)
            except NotSent:
                if asked_at is None:
                    raise
            self._saved[place] = (found, time.monotonic())
        return found or super().find_profile(name)

    def job_pages(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Addresses in the vendors' consoles by job key; only of jobs that have one."""
        pages: dict[str, str] = {}
        for job in jobs:
            page = self.provider_named(job.device, job.provider).job_page
            if page and job.vendor_id:
                pages[job.key] = page.replace("{id}", quote(job.vendor_id, safe=""))
        return pages

    def load_credentials(self, block: str) -> Mapping[str, Any]:
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
