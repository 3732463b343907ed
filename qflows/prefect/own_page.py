"""A page for a user's own flow: where the flow asks for one, and by itself at the end of a run that bought something.

The first call of qflows in a flow registers hooks on it. They run in the flow's process after its end, completed or
failed. A run whose failure reads "2/4 states failed" or "UnfinishedRun" gets the vendor's reason into its state.
"""

from __future__ import annotations

import re
import threading
from typing import Any

import httpx
from prefect import Flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.logging import get_logger
from prefect.states import Failed

from qflows.core.arguments import fitting
from qflows.display import plural
from qflows.errors import QflowsError, RunKeyMissing
from qflows.ledger import flow_runs, reads
from qflows.model import Job
from qflows.pages import own_page
from qflows.prefect import artifacts
from qflows.prefect.client import client
from qflows.privacy.redaction import clean
from qflows.states import JobStatus

log = get_logger("qflows")

KEY = "jobs-of-this-run"
STATE = "JobFailed"  # not "Failed": the run has told that already, and automations act on each telling
_SAYS_NOTHING = re.compile(r"\b\d+/\d+ states\b|UnfinishedRun")  # how Prefect tells of failed tasks
_MOST = 1000
_SHOWN = 3
_watched: set[int] = set()
_lock = threading.Lock()


@fitting
def page(title: str = "", *, note: str = "", run_key: str | None = None) -> str:
    """Publishes what the running flow has bought so far as an artifact, and returns the page as Markdown.

    `title`: default the names of the flow and its run. `note`: your own Markdown, shown under the title. Outside a
    flow, pass `run_key`; the text is only returned. A flow that never calls this gets its page automatically when it
    ends. Raises RunKeyMissing outside a flow without a run key.
    """
    here = FlowRunContext.get()
    core = client()
    if here is None or here.flow_run is None:
        if not run_key:
            raise RunKeyMissing("outside a flow, pass the run key: qflows.page(run_key=...)")
        found = reads.listing(core.ledger, run_key=run_key, limit=_MOST)
        return own_page.compose(core.ledger, found, title or run_key, note, core.vendors.pages(found))
    bought = jobs_of(str(here.flow_run.id))
    text = own_page.compose(
        core.ledger, bought, title or _name_of(here.flow, here.flow_run), note, core.vendors.pages(bought)
    )
    artifacts.note_page(str(here.flow_run.id))
    create_markdown_artifact(markdown=text, key=KEY, description=f"jobs of this run: {len(bought)}")
    return text


def _name_of(flow: Flow[Any, Any] | None, flow_run: FlowRun) -> str:
    """ "nightly: garrulous-gazelle"; a name that somebody chose says what runs by itself."""
    return flow_run.name if flow is None or flow.flow_run_name else f"{flow.name}: {flow_run.name}"


def jobs_of(flow_run_id: str) -> list[Job]:
    """Jobs of a flow run and of the subflows in its process, newest first, at most a thousand a run key."""
    ledger = client().ledger
    keys = {one.run_key for one in flow_runs.of_root(ledger, flow_run_id)}
    return [job for key in sorted(keys) for job in reads.listing(ledger, run_key=key, limit=_MOST)]


def watch(flow: Flow[Any, Any] | None) -> None:
    """Registers the hooks, once a flow object."""
    if flow is None:
        return
    with _lock:
        if id(flow) in _watched:
            return
        _watched.add(id(flow))
    flow.on_completion(_at_end)
    flow.on_failure(_at_end)


def _at_end(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    try:
        bought = jobs_of(str(flow_run.id))
        if not bought:
            return
        if state.is_failed():
            _say_why(flow_run, state, bought)
        if not artifacts.has_page(str(flow_run.id)):
            _publish(flow, flow_run, bought)
    except (QflowsError, httpx.HTTPError, PrefectException, RuntimeError) as error:
        log.warning("no page for flow run %s: %s", flow_run.name, error)


def _publish(flow: Flow[Any, Any] | None, flow_run: FlowRun, bought: list[Job]) -> None:
    core = client()
    text = own_page.compose(core.ledger, bought, _name_of(flow, flow_run), links=core.vendors.pages(bought))
    artifacts.note_page(str(flow_run.id))
    with get_client(sync_client=True) as api:
        api.create_artifact(
            ArtifactCreate(
                key=KEY,
                type="markdown",
                description=f"jobs of this run: {len(bought)}",
                data=text,
                flow_run_id=flow_run.id,
            )
        )


def _say_why(flow_run: FlowRun, state: State[Any], bought: list[Job]) -> None:
    """Puts the reasons of failed jobs into the state, where what Prefect says of it names none of them."""
    failed = [job for job in bought if job.status in (JobStatus.FAILED, JobStatus.CANCELLED)]
    reasons = list(dict.fromkeys(reason(job) for job in failed))
    said = state.message or ""
    if not reasons or not _SAYS_NOTHING.search(said):
        return
    shown = "; ".join(reasons[:_SHOWN]) + (f"; and {len(reasons) - _SHOWN} more" if reasons[_SHOWN:] else "")
    text = clean(f"{len(failed)} of {plural(len(bought), 'job')} failed: {shown}. {said}", cap=1500)
    told = Failed(message=text, name=STATE)
    with get_client(sync_client=True) as api:
        api.set_flow_run_state(flow_run.id, told, force=True)


def reason(job: Job) -> str:
    """One failed job in a few words."""
    why = ": ".join(filter(None, (job.error_code, job.error_message))) or job.status.value.lower()
    return f"{job.name or job.key[:12]} on {job.device}: {why}"
