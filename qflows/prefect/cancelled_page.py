"""What a cancelled flow run had bought and paid, told on its own page: no process of its own is left to."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, LogCreate

from qflows.display import plural
from qflows.ledger import reads
from qflows.ledger.store import Ledger
from qflows.pages.run_page import costs, job_section, summary

KEY = "paid-until-cancelled"
_MOST = 1000


def publish(api: SyncPrefectClient, ledger: Ledger, flow_run_id: str, run_keys: Collection[str]) -> None:
    """Adds a line to the run's log and a page to its artifacts; nothing when it never bought anything.

    The page says what is known now. A job that the vendor had not yet confirmed as cancelled is listed as it stood.
    """
    jobs = [job for key in sorted(run_keys) for job in reads.listing(ledger, run_key=key, limit=_MOST)]
    if not jobs:
        return
    text = f"this run was stopped; ended: {sum(job.is_terminal for job in jobs)} of {plural(len(jobs), 'job')}; paid: "
    text += costs(job for job in jobs if job.is_terminal) or "nothing"
    log = LogCreate(
        name="qflows",
        level=logging.WARNING,
        message=text,
        timestamp=datetime.now(UTC),  # pyright: ignore[reportArgumentType]
        flow_run_id=UUID(flow_run_id),
    )
    api.create_logs([log])
    page = ["# This run was cancelled", summary(jobs), *job_section(jobs)]
    if not all(job.is_terminal for job in jobs):
        page.append("Jobs that have not ended are being canceled; `qflows jobs ls` shows the outcome.")
    api.create_artifact(
        ArtifactCreate(
            key=KEY,
            type="markdown",
            description=f"{len(jobs)} jobs of a cancelled run",
            data="\n\n".join(page),
            flow_run_id=UUID(flow_run_id),
        )
    )
