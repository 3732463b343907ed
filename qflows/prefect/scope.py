"""Where calls come from: the run key, the attempt and the caller, from Prefect's context."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from datetime import UTC
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger

from qflows.core import ambient
from qflows.core.scope import Scope, named, script_scope
from qflows.display import plural
from qflows.errors import RunKeyMissing
from qflows.keys import digest, slot_run_key, subflow_run_key
from qflows.ledger import groups as ledger_groups
from qflows.ledger import reads
from qflows.ledger.budgets import Buyer
from qflows.ledger.flow_runs import Attempt, begin_attempt
from qflows.ledger.intents import touch_run
from qflows.ledger.store import utc_now
from qflows.prefect.client import client
from qflows.prefect.own_page import watch

log = get_logger("qflows")


def scope(run_key: str | None = None) -> Scope:
    """Where this call comes from: run key, attempt and caller, from Prefect's context or the arguments.

    The attempt is the id of the Running state of the flow run: new on every retry, resume and crash, the same in all
    its tasks, also in other processes (measured on Prefect 3.8.8; id documented as unique per state).
    """
    flow = FlowRunContext.get()
    task = TaskRunContext.get()
    if flow is None or flow.flow_run is None:
        made = script_scope(run_key)
        _introduce_script(
            made.run_key, made.attempt, os.environ.get("QFLOWS_LEDGER_URL"), os.environ.get("QFLOWS_HOME")
        )
        return replace(made, group=ambient.joined(made.run_key))
    flow_run = flow.flow_run
    if flow_run.state is None:
        raise RunKeyMissing("the flow run has no state; call qflows from inside the flow, or pass run_key=")
    key = named(run_key or run_key_of(flow_run))
    attempt = str(flow_run.state.id)
    _introduce(key, attempt, flow_run.id, flow.flow.name if flow.flow else None, flow_run.deployment_id)
    _note_attempt(key, attempt, _Place.of(flow_run))
    if flow_run.parent_task_run_id is None or flow_run.deployment_id is not None:
        watch(flow.flow)
    group = ambient.ACTIVE.get()
    buyer = _buyer(flow_run)
    if task is None:
        return Scope(key, attempt, "flow", group=group, buyer=buyer)
    if group is None:
        _warn_of_groups_elsewhere(key)
    return Scope(key, attempt, str(task.task_run.id), task.task_run.run_count, group, buyer=buyer)


def _buyer(flow_run: FlowRun) -> Buyer:
    """The deployment of a flow run, by name, and the project that a tag such as `project:vqe` names."""
    project = next((tag.partition(":")[2] for tag in sorted(flow_run.tags or ()) if tag.startswith("project:")), None)
    id_ = flow_run.deployment_id
    return Buyer(project=project[:128] if project else None, deployment=_deployment(str(id_)) if id_ else None)


@functools.lru_cache(maxsize=4096)
def _deployment(id_: str) -> str:
    """A deployment's name, or its id where the server does not say."""
    try:
        with get_client(sync_client=True) as api:
            return api.read_deployment(UUID(id_)).name[:255]
    except (httpx.HTTPError, ObjectNotFound, RuntimeError, ValueError) as error:  # a label must not end a purchase
        log.warning("the name of deployment %s is not known: %s", id_, type(error).__name__)
        return id_


def _warn_of_groups_elsewhere(run_key: str) -> None:
    """A task in another process does not see the block it was called in; its jobs must not be left out silently."""
    for record in ledger_groups.open_elsewhere(client().ledger, run_key, "flow"):
        _warn_of_group(record.id, record.title)


@functools.lru_cache(maxsize=4096)
def _warn_of_group(id_: str, title: str) -> None:
    log.warning(
        "this task buys outside group %s, which its flow opened in another process; to add "
        "its jobs to the group, pass the group to the task and use group.submit(...) or `with group.inside():`",
        title,
    )


def run_key_of(flow_run: Any) -> str:
    """The run key of a flow run: its schedule slot, so that twin runs join; its parent's key, name and order for a
    subflow, so that a retried parent finds it again; else its id."""
    if flow_run.parent_task_run_id is not None:
        return _subflow_key(str(flow_run.parent_task_run_id), digest(flow_run.parameters)[:12])
    if flow_run.auto_scheduled and flow_run.deployment_id and flow_run.expected_start_time:
        slot = flow_run.expected_start_time.astimezone(UTC).isoformat()
        return slot_run_key(str(flow_run.deployment_id), slot)
    return str(flow_run.id)


@functools.lru_cache(maxsize=4096)
def _caller(parent_task_run_id: str) -> tuple[TaskRun, FlowRun]:
    """The task run that stands for a subflow in its parent, and the parent. Their names and ids never change."""
    with get_client(sync_client=True) as api:
        task_run = api.read_task_run(UUID(parent_task_run_id))
        assert task_run.flow_run_id is not None
        return task_run, api.read_flow_run(task_run.flow_run_id)


@functools.lru_cache(maxsize=4096)
def _subflow_key(parent_task_run_id: str, parameters: str) -> str:
    task_run, parent = _caller(parent_task_run_id)
    # called from inside a task, where Prefect has no order: equal parameters then mean the same subflow
    order = task_run.dynamic_key if task_run.dynamic_key.isdigit() else f"task-{parameters}"
    return subflow_run_key(run_key_of(parent), task_run.name.removesuffix(f"-{task_run.dynamic_key}"), order)


class _Place(NamedTuple):
    """What has to be known of a flow run to tell later whether somebody ended it."""

    flow_run_id: str
    flow_id: str
    parent_task_run_id: str | None  # of a subflow that shares its parent's process

    @classmethod
    def of(cls, flow_run: FlowRun) -> _Place:
        """A child that a deployment runs has a process, and so an end, of its own."""
        parent = flow_run.parent_task_run_id if flow_run.deployment_id is None else None
        return cls(str(flow_run.id), str(flow_run.flow_id), str(parent) if parent else None)

    def root_id(self) -> str:
        """The run whose process this is."""
        place = self
        while place.parent_task_run_id is not None:
            place = _Place.of(_caller(place.parent_task_run_id)[1])
        return place.flow_run_id


@functools.lru_cache(maxsize=4096)
def _note_attempt(run_key: str, attempt: str, place: _Place) -> None:
    """Once per process and attempt, before it buys: cancels find what it bought by this."""
    begin_attempt(
        client().ledger, Attempt(attempt, run_key, place.flow_run_id, place.root_id(), place.flow_id, utc_now())
    )


@functools.lru_cache(maxsize=4096)
def _introduce_script(run_key: str, attempt: str, *ledger: str | None) -> None:
    """No flow run stands behind this attempt: the end of an earlier one under the same key must not end its work."""
    begin_attempt(client().ledger, Attempt(attempt, run_key, "", "", "", utc_now()))


def _how_to_continue(run_key: str) -> str:
    # a flow of somebody's own need not have such a parameter
    context = FlowRunContext.get()
    names = context.flow.parameters.properties if context is not None and context.flow is not None else {}
    where = "start the flow with" if "run_key" in names else "in the next run's calls of qflows, pass"
    return f"{where} run_key={run_key!r}"


@functools.lru_cache(maxsize=4096)
def _introduce(run_key: str, attempt: str, flow_run_id: Any, flow_name: str | None, deployment_id: Any) -> None:
    """Once per process and attempt: notes the run, says how to continue it, warns of unfinished ones."""
    ledger = client().ledger
    touch_run(ledger, run_key, flow_name=flow_name, flow_run_id=str(flow_run_id))
    if deployment_id is None:
        log.info("run key %s; to continue this run later, %s", run_key, _how_to_continue(run_key))
        if flow_name:
            for other, live in list(reads.unfinished_runs(ledger, flow_name, but=run_key).items())[:5]:
                log.warning(
                    "an earlier run of %s has %s; continue it with run_key=%r",
                    flow_name,
                    plural(live, "unfinished job"),
                    other,
                )
