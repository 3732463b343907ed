"""Artifacts of the running flow: markdown, tables of jobs, progress."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast
from uuid import UUID

from qflows.model import Job
from qflows.pages.text import job_table


def key_name(*parts: str) -> str:
    """An artifact key: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:200] or "qflows"


_with_page: set[str] = set()  # flow runs of this process that have a page


def note_page(flow_run_id: str) -> None:
    """Remembers that a flow run has its page."""
    _with_page.add(flow_run_id)


def has_page(flow_run_id: str) -> bool:
    """True when this process made a page for the flow run."""
    return flow_run_id in _with_page


def publish_markdown(key: str, markdown: str, description: str) -> None:
    """Creates a markdown artifact of the running flow."""
    from prefect.artifacts import create_markdown_artifact
    from prefect.context import FlowRunContext

    here = FlowRunContext.get()
    if here is not None and here.flow_run is not None:
        note_page(str(here.flow_run.id))
    create_markdown_artifact(markdown=markdown, key=key_name(key), description=description)


def progress(key: str, description: str) -> UUID:
    """The progress artifact of this name in the running flow: the one there is, when the run was suspended or
    retried, else a new one at 0 %."""
    from prefect.artifacts import create_progress_artifact
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort
    from prefect.context import FlowRunContext

    here = FlowRunContext.get()
    name = key_name(key)
    if here is not None and here.flow_run is not None:
        mine = ArtifactFilter(
            key=ArtifactFilterKey(any_=[name]), flow_run_id=ArtifactFilterFlowRunId(any_=[here.flow_run.id])
        )
        with get_client(sync_client=True) as api:
            found = api.read_artifacts(artifact_filter=mine, sort=ArtifactSort.CREATED_DESC, limit=20)
        for one in found:
            if one.type == "progress":
                return one.id
    return cast(UUID, create_progress_artifact(0.0, key=name, description=description))


def publish_jobs(key: str, jobs: Sequence[Job], description: str) -> None:
    """Creates a table artifact of jobs with ids, status, times and cost."""
    from prefect.artifacts import create_table_artifact

    create_table_artifact(table=job_table(jobs), key=key_name(key), description=description)
