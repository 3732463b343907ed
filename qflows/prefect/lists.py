"""`qflows.jobs` and the other lists of what the ledger has, and a single refresh from the vendors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Unpack, overload

from qflows.core.arguments import fitting, job_name
from qflows.core.batches.batch import Batch
from qflows.core.cards import DeviceCard
from qflows.core.groups.handle import Group
from qflows.core.lists import BatchFilters, GroupFilters, JobFilters, Rows, RunFilters, SessionFilters
from qflows.ledger.listing import Run
from qflows.model import Job, SessionRecord
from qflows.prefect.client import client
from qflows.states import GroupState, JobStatus


def jobs(**filters: Unpack[JobFilters]) -> Rows[Job]:
    """Jobs in the ledger, newest first; contacts no vendor.

    Several values of one filter are alternatives; several filters must all match. `status`: one of the statuses, or
    `live` or `over`. `tag`: 'study', 'study=h2', several, or {'study': 'h2'}. `batch`, `group`: ids or unique prefixes.
    `origin`: bought, imported, rebuilt. `since`, `until`: creation time, as dates or '7d'. `order`: created, submitted,
    started, finished, name, device, status, shots, cost, qpu_s, queue_position; '-' before it for descending.
    `limit=None`: all. The result is a sequence with `.total`, `.next_offset`, `.to_dicts()`, `.to_pandas()`,
    `.to_parquet(path)`. Raises ProgramRejected for a filter that does not exist or a value that the ledger does not
    have, listing the known ones.
    """
    return client().jobs(**filters)


def batches(**filters: Unpack[BatchFilters]) -> Rows[Batch]:
    """Batches in the ledger, newest first; filters as for `jobs`. `order`: created, name, device, size."""
    return client().batches(**filters)


def groups(**filters: Unpack[GroupFilters]) -> Rows[Group]:
    """Groups in the ledger, newest first; filters as for `jobs`. `order`: created, name, status, closed."""
    return client().groups(**filters)


def sessions(**filters: Unpack[SessionFilters]) -> Rows[SessionRecord]:
    """Sessions in the ledger, newest first; filters as for `jobs`. `order`: created, name, status, closed."""
    return client().sessions(**filters)


def runs(**filters: Unpack[RunFilters]) -> Rows[Run]:
    """Runs in the ledger with their jobs by status, most recently seen first. `order`: seen, created, flow."""
    return client().runs(**filters)


@fitting
def refresh(things: Job | str | Batch | Group | Collection[Job | str]) -> list[Job]:
    """Asks the vendors once: one bulk request for many jobs, no sooner than the vendors' rate limits allow.

    Returns fresh handles; finished jobs get their counts. Does not wait for jobs to finish.
    """
    keys = _keys(things)
    found = client().refresh(keys)
    return [found[key] for key in keys]


@overload
def status(thing: Job | str | Batch) -> JobStatus: ...
@overload
def status(thing: Group) -> GroupState: ...
def status(thing: Job | str | Batch | Group) -> JobStatus | GroupState:
    """The status as the vendor reports it now. A batch has the status of its least advanced part, a group its own."""
    found = refresh(thing)
    if isinstance(thing, Batch):
        return thing.status
    return thing.status() if isinstance(thing, Group) else found[0].status


@fitting
def batch_from(jobs: Sequence[Job | str], *, name: str = "", tags: Mapping[str, str] | None = None) -> Batch:
    """Makes a batch of jobs that are already in the ledger, given as handles, keys or vendor ids; imported jobs too.

    Index i is circuit i, in the order of the jobs and of the programs in each. Nothing is bought, sent or changed at a
    vendor; the same jobs give the same batch. Import jobs that were bought elsewhere first, with `qflows.import_jobs`.
    Raises UnknownJob for an id that the ledger does not have, ProgramRejected for jobs on several devices.
    """
    return client().batch_from(jobs, name=name, tags=tags)


@fitting
def device(name: str) -> DeviceCard:
    """Returns what is known about a device now: limits, whether one job takes several circuits, price, queue, quality.

    `name`: a profile's, or vendor:device-id. Asks the vendor for the device, its list and its calibration; what it
    does not say is None, what could not be asked is in `.troubles`. Raises UnknownDevice, CredentialsMissing, and
    Refused for a device that the vendor does not have.
    """
    return client().card(name)


def _keys(things: Job | str | Batch | Group | Collection[Job | str]) -> list[str]:
    if isinstance(things, Batch):
        return [job.key for job in things.sub_jobs()]
    if isinstance(things, Group):
        return [job.key for job in things.jobs]
    several = list(things) if isinstance(things, Collection) and not isinstance(things, str) else [things]
    return [one.key if isinstance(one, Job) else client().find(job_name(one)).key for one in several]
