"""The records of a ledger: looking them up, listing them, importing them, and changing them on a person's decision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from qflows.core import lists, refreshing, tagging
from qflows.core.archiving import write as archiving
from qflows.core.arguments import job_name, shown
from qflows.core.batches.batch import Batch
from qflows.core.batches.existing import batch_of_jobs
from qflows.core.cards import DeviceCard, card_of
from qflows.core.devices import Vendors
from qflows.core.durations import Moment
from qflows.core.fetching import spec_to_read
from qflows.core.groups.handle import Group
from qflows.core.importing import Imported, Importer, OnEntered, OnPause, Rebuilt
from qflows.core.lists import BatchFilters, GroupFilters, JobFilters, Rows, RunFilters, SessionFilters
from qflows.core.parts import Parts
from qflows.core.poller import Poller
from qflows.core.progress import circuits_by_status
from qflows.core.rereading import said
from qflows.core.submit import Submitter, fits
from qflows.core.tagging import Tagged
from qflows.core.verbs import Verbs
from qflows.core.versions import versions
from qflows.errors import ProgramRejected, UnknownJob
from qflows.ledger import batches as ledger_batches
from qflows.ledger import claims, listing, outcomes, raws, reads
from qflows.ledger import groups as ledger_groups
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.listing import Run
from qflows.ledger.store import Ledger
from qflows.model import Job, SessionRecord
from qflows.protocol import JobSpec, VendorResult
from qflows.settings import Settings
from qflows.states import JobStatus


class Records:
    """What the ledger holds, as handles that can act. Thread-safe.

    `parts`: what they work with; `verbs`: how their groups make calls.
    """

    def __init__(self, parts: Parts, verbs: Verbs) -> None:
        self.parts = parts
        self.verbs = verbs

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.parts.settings

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened on first use."""
        return self.parts.ledger

    @property
    def vendors(self) -> Vendors:
        """Devices, providers and accounts."""
        return self.parts.vendors

    @property
    def submitter(self) -> Submitter:
        """The only way to a vendor's submission."""
        return self.parts.submitter

    def poller(self) -> Poller:
        """A separate poller for each waiter; they share lanes through the ledger."""
        return self.parts.poller()

    def find(self, name: str) -> Job:
        """A job by key, unique prefix of the key, or vendor id. Raises UnknownJob, also if `name` is not text."""
        return reads.find(self.ledger, job_name(name))

    def batch(self, name: str) -> Batch:
        """A batch by id or unique prefix of it. Raises UnknownJob."""
        if not isinstance(name, str):
            raise UnknownJob(f"expected the id of a batch, as text, not {shown(name)}; see `qflows batches ls`")
        return Batch(self.parts, ledger_batches.find(self.ledger, name))

    def batch_from(self, jobs: Sequence[Job | str], *, name: str = "", tags: Mapping[str, str] | None = None) -> Batch:
        """A batch of jobs that are already in the ledger, given as in `find`; see `qflows.batch_from`."""
        found = [reads.job(self.ledger, one.key) if isinstance(one, Job) else self.find(one) for one in jobs]
        return batch_of_jobs(self.parts, found, name=name, tags=tags)

    def spec(self, name: str) -> JobSpec:
        """What was ordered with a job given as in `find`: programs, shots, observables, options."""
        return self.submitter.spec(self.find(name).key)

    def progress(self, name: str) -> dict[JobStatus, int]:
        """Number of circuits in each status, for a job given as in `find`; see `circuits_by_status`."""
        return circuits_by_status(self.ledger, self.vendors, self.find(name))

    def card(self, device: str) -> DeviceCard:
        """What is known of a device now; see `qflows.device`."""
        return card_of(self.vendors.device(device))

    def group(self, name: str) -> Group:
        """A group by id, unique prefix of it, or its vendor's id. Raises UnknownJob."""
        return Group(self.parts, self.verbs, record=ledger_groups.find(self.ledger, name))

    def jobs(self, **filters: Unpack[JobFilters]) -> Rows[Job]:
        """Jobs of the ledger; see `qflows.jobs` for the filters."""
        return lists.jobs(self.ledger, **filters)

    def batches(self, **filters: Unpack[BatchFilters]) -> Rows[Batch]:
        """Batches of the ledger; see `qflows.batches`."""
        chosen = lists.wanted(**filters)
        rows, extent = listing.select(self.ledger, listing.BATCHES, chosen)
        found = tuple(Batch(self.parts, ledger_batches.BatchRecord(**row._mapping)) for row in rows)
        return Rows("batches", found, extent, chosen.offset, lists.batch_dict)

    def groups(self, **filters: Unpack[GroupFilters]) -> Rows[Group]:
        """Groups of the ledger; see `qflows.groups`."""
        chosen = lists.wanted(**filters)
        ledger_groups.refresh(self.ledger)
        rows, extent = listing.select(self.ledger, listing.GROUPS, chosen)
        found = tuple(Group(self.parts, self.verbs, record=ledger_groups.record_of(row)) for row in rows)
        return Rows("groups", found, extent, chosen.offset, lists.group_dict)

    def sessions(self, **filters: Unpack[SessionFilters]) -> Rows[SessionRecord]:
        """Sessions of the ledger; see `qflows.sessions`."""
        chosen = lists.wanted(**filters)
        rows, extent = listing.select(self.ledger, listing.SESSIONS, chosen, ledger_sessions.COLUMNS)
        found = tuple(ledger_sessions.record_of(row) for row in rows)
        return Rows("sessions", found, extent, chosen.offset, lists.session_dict)

    def runs(self, **filters: Unpack[RunFilters]) -> Rows[Run]:
        """Runs of the ledger; see `qflows.runs`."""
        chosen = lists.wanted(**filters)
        found, extent = listing.select_runs(self.ledger, chosen)
        return Rows("runs", tuple(found), extent, chosen.offset, lists.run_dict)

    def archive(
        self, path: Path, *, title: str = "", author: str = "", license: str = "", **filters: Any
    ) -> archiving.Archive:
        """Write the archive of the matching jobs; see `qflows.archive`."""
        if not any(filters.values()):
            raise ProgramRejected(
                "an archive needs a filter; select jobs with tag, run, batch, group, session, project, since or until "
                "(--tag ... --since, --until). For all jobs: since='2000-01-01'"
            )
        found, _ = listing.select_jobs(self.ledger, lists.wanted(**filters, limit=None, order="created"))
        selection = {name: _as_text(value) for name, value in filters.items() if value}
        named = title or "qflows study" + "".join(f", {name} {value}" for name, value in selection.items())
        keys = [job.key for job in found]
        about = {"selection": selection, "name": named, "author": author, "license": license}
        return archiving.write(self.parts, path, keys, **about)

    def refresh(self, keys: Collection[str]) -> dict[str, Job]:
        """Ask the vendors once about unfinished jobs, in bulk, no sooner than their pace allows.

        Returns current handles; finished jobs get their counts. Never waits for the end, and raises only what keeps all
        of them from being asked about.
        """
        return refreshing.refresh(self.poller(), keys)

    def import_jobs(
        self,
        source: str,
        *,
        ids: Collection[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
        tag: str | None = None,
        on_entered: OnEntered | None = None,
        on_pause: OnPause | None = None,
    ) -> Imported:
        """Import jobs that were bought elsewhere into the ledger, with counts in our bit order, times and cost.

        `source`: a device's name, or a vendor's for all devices of its account. `ids`: vendor ids; or `since` and
        `until`: dates ('2026-11-01', UTC), or how long ago ('7d', '12h'), narrowed by `tag`, a tag of the vendor,
        `name` or `name=value`. Repeating it changes nothing. Nothing is sent, cancelled or changed at the vendor, now
        or later; jobs that still run are polled like ours. Raises ProgramRejected for invalid input, ProviderError if
        the vendor cannot list its jobs; what was imported by then stays. A vendor that asks for fewer requests is
        waited for; `on_pause` is told the vendor and the seconds.
        """
        importer = Importer(self.ledger, self.vendors, self.submitter, on_entered, on_pause)
        return importer.run(source, ids=ids, since=since, until=until, tag=tag)

    def rebuild(
        self,
        sources: Sequence[str],
        *,
        since: Moment,
        mark: str | None = None,
        on_entered: OnEntered | None = None,
        on_pause: OnPause | None = None,
    ) -> Rebuilt:
        """Restore jobs that a lost or older ledger does not have, from the keys they carry at the vendors.

        `sources`: vendors or devices. `mark`: of the lost ledger, if the account also has jobs of other ledgers, which
        may be in use. The runs that bought the jobs adopt them when they are started again. Nothing is changed at a
        vendor. Where a vendor's list says enough, jobs are not read singly: their answers are stored, and decoded when
        their run adopts them, or when somebody waits for the job itself. Raises and waits as `import_jobs`.
        """
        importer = Importer(self.ledger, self.vendors, self.submitter, on_entered, on_pause)
        return importer.rebuild(sources, since=since, mark=mark)

    def tag(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        *,
        title: str | None = None,
        remove: Collection[str] = (),
        at_vendor: bool = True,
    ) -> Tagged:
        """Change the labels of a job given as in `find`; `title` is its new name. See `tagging.change`."""
        job, chosen = self.find(name), {"name": title, "tags": tags, "remove": remove, "at_vendor": at_vendor}
        return tagging.change(self.ledger, self.vendors.of(job), job.key, **chosen)

    def abandon(self, name: str, *, reason: str) -> Job:
        """End a live job on a person's decision and keep what is known; the job at the vendor is not touched."""
        job = self.find(name)
        claims.abandon(self.ledger, job.key, reason=reason)
        return reads.job(self.ledger, job.key)

    def decode(self, name: str) -> tuple[VendorResult, bool]:
        """Decode the stored answer of a job again, without the vendor. Returns what it says and whether that was
        stored.

        A job whose answer could not be read before gets its counts. A job that has counts keeps them; if the new
        reading differs, that is an event in its history. Raises UnknownJob if no answer is stored.
        """
        job = self.find(name)
        kept = raws.of(self.ledger, [job.key])
        if job.key not in kept:
            raise UnknownJob(f"no answer is kept for job {job.key[:12]}")
        provider = self.vendors.of(job)
        found = provider.decode(kept[job.key], spec_to_read(self.submitter, provider, job), job.key)
        if not job.is_terminal:
            outcome = outcomes.Outcome(job, found, {"vendor": dict(found.metadata)} | versions())
            return found, not outcomes.store_all(self.ledger, [outcome])
        if said(reads.items(self.ledger, job.key)) != said(found.items):
            with self.ledger.write() as connection:
                self.ledger.record_event(connection, "decoded-differently", job.key, versions=versions()["versions"])
        return found, False

    def resolve(self, name: str, *, vendor_id: str | None) -> Job:
        """End a doubt on a person's decision: the vendor's id of the job, or None if the job is not there."""
        job = self.find(name)
        self.vendors.of(job)  # a person with other credentials looked in another account's console
        if vendor_id is not None and not fits(vendor_id):
            raise ProgramRejected(f"{vendor_id!a:.80} is not a job id; copy it from the console of {job.provider}")
        if vendor_id is None:
            claims.resolve_absent(self.ledger, job.key)
        else:
            claims.resolve_submitted(self.ledger, job.key, vendor_id)
        return reads.job(self.ledger, job.key)


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}={wanted}" if wanted is not None else name for name, wanted in value.items()]
    several = isinstance(value, Collection) and not isinstance(value, str)
    return ", ".join(map(str, value)) if several else str(value)
