"""Importing jobs that this ledger did not buy, and rebuilding a lost ledger.

An imported job was bought elsewhere: it is read, and never sent, cancelled or retagged. A rebuilt job carries our key;
the run that bought it recognizes it by that key and adopts it (`ledger/imports.py`). Nothing here changes anything at a
vendor.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from itertools import count
from typing import TypeVar

from qflows.core import arguments, profiles
from qflows.core.devices import Vendors
from qflows.core.durations import Moment, past
from qflows.core.fetching import Fetcher, reads_back
from qflows.core.submit import Submitter, fits
from qflows.errors import LedgerError, ProgramRejected, QflowsError, Throttled, UnknownDevice, Unreadable
from qflows.keys import is_job_key, is_mark, mark_of
from qflows.ledger import imports, marks, outcomes, reads
from qflows.ledger.imports import Entry
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.privacy.redaction import clean
from qflows.programs.unknown import unknown_program
from qflows.protocol import Foreign, ImportProvider, JobSpec, Listed, Observation, Phase, Provider
from qflows.states import JobStatus

log = logging.getLogger("qflows.importing")

_AT_ONCE = 32
OnEntered = Callable[[int], None]
OnPause = Callable[[str, float], None]
_Read = TypeVar("_Read")
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # if the vendor does not say how long
_PATIENCE_S = 3600.0  # for one request; longer than any vendor's window


@dataclass(frozen=True, slots=True)
class Imported:
    """The outcome of an import.

    `jobs`: entered the ledger now; `known`: were already there; `left_out`: by vendor id, why a job did not enter.
    """

    jobs: tuple[Job, ...]
    known: tuple[Job, ...]
    left_out: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Imported {len(self.jobs)} jobs, {len(self.known)} known before, {len(self.left_out)} left out>"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The outcome of a rebuild.

    `jobs`: in the ledger again, or for the first time; `attached`: were there without a vendor id; `known`: the number
    that were already complete. `extras`: by job key, further jobs at the vendor with the same key; they are left as
    they are. `left_out`: vendor id → why. `others`: the number of jobs with the mark of another ledger, by mark; they
    did not enter. `unknown`: what cannot be learned from any vendor.
    """

    jobs: tuple[Job, ...]
    attached: tuple[Job, ...]
    known: int
    extras: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    unknown: tuple[str, ...]
    others: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"<Rebuilt {len(self.jobs)} jobs, {len(self.attached)} attached, {self.known} known before, "
            f"{len(self.left_out)} left out>"
        )


def _checked_ids(ids: Collection[str]) -> list[str]:
    """Each id once. Raises ProgramRejected if one is not text."""
    several = [ids] if isinstance(ids, str) else ids
    if not isinstance(several, Collection) or not all(isinstance(one, str) for one in several):
        raise ProgramRejected(
            f"ids must be a list of the vendor's job ids, as text, not {arguments.shown(ids)}; write ids=['...']"
        )
    return list(dict.fromkeys(several))


@dataclass
class Importer:
    """Imports and rebuilds for one ledger."""

    ledger: Ledger
    vendors: Vendors
    submitter: Submitter
    on_entered: OnEntered | None = None
    on_pause: OnPause | None = None
    _entered: int = field(default=0, repr=False)
    _told_until: float = field(default=0.0, repr=False)

    def run(
        self,
        source: str,
        *,
        ids: Collection[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
        tag: str | None = None,
    ) -> Imported:
        """Import jobs by id, or those of a time span, narrowed by tag. See `Client.import_jobs`."""
        ids = _checked_ids(ids)
        arguments.check_text("tag", tag)
        since, until = (None if one is None else past(one) for one in (since, until))
        if ids and (since is not None or until is not None or tag):
            raise ProgramRejected(
                f"import_jobs: ids={ids[:3]!r:.80} names the jobs; leave out since=, until= and tag=, or leave out ids="
            )
        if not ids and since is None:
            raise ProgramRejected(
                f"import_jobs({source!r:.60}): give ids=, or since= (a date, or how long ago: '2026-11-01', '7d', "
                "'12h')"
            )
        provider, device, device_id = self._source(source)
        left_out: dict[str, str] = {}
        known: list[Job] = []
        made: list[Job] = []
        chosen = self._by_id(provider, ids, left_out) if ids else self._by_time(provider, since, until, tag, device_id)
        for part in _parts(chosen):
            there = imports.known(self.ledger, provider.name, {vendor_id for vendor_id, _ in part})
            known += there.values()
            wanted = [(vendor_id, shown) for vendor_id, shown in part if vendor_id not in there]
            entries, looks = self._read(provider, wanted, left_out, device, rebuilding=False)
            made += self._enter(provider, entries, looks, left_out)
        return Imported(self._now(made), self._now(known), left_out)

    def rebuild(self, sources: Sequence[str], *, since: Moment, mark: str | None = None) -> Rebuilt:
        """Restore the jobs that carry our keys. See `Client.rebuild`."""
        if mark is not None and not is_mark(mark):
            raise ProgramRejected(f"{mark!r:.40} is not a ledger mark; a mark is 8 hex digits, such as 1a2b3c4d")
        first = past(since)
        providers = [self._source(source)[:2] for source in sources]
        # oldest first: where several carry one key, the oldest is the job and the others are extras
        listed = [
            (provider, device, sorted((shown for shown in self._listed(provider, first) if _is_ours(shown)), key=_age))
            for provider, device in providers
        ]
        others = self._recognize([shown for _, _, found in listed for shown in found], mark)
        made: list[Job] = []
        attached: list[Job] = []
        left_out: dict[str, str] = {}
        extras: dict[str, tuple[str, ...]] = {}
        known = 0
        for provider, device, found in listed:
            ours_only = [shown for shown in found if shown.key and mark_of(shown.key) not in others]
            for part in _parts((shown.vendor_id, shown) for shown in ours_only):
                there = imports.known(self.ledger, provider.name, {vendor_id for vendor_id, _ in part})
                known += len(there)
                fresh: list[tuple[str, Listed | None]] = []
                keys = {shown.key for _, shown in part if shown and shown.key}
                ours = reads.by_keys(self.ledger, keys)
                taken: dict[str, str] = {}
                for vendor_id, shown in part:
                    if shown is None or shown.key is None or vendor_id in there:
                        continue
                    job = ours.get(shown.key) or self._wanted_again(shown.key)
                    if job is not None and job.vendor_id is None and shown.key not in taken:
                        taken[shown.key] = vendor_id
                        if imports.attach(self.ledger, job.key, vendor_id, only_unsent=job.key != shown.key):
                            attached.append(job)
                        else:
                            left_out[vendor_id] = f"job {job.key[:12]} is {job.status.value} in the ledger"
                    elif job is not None or shown.key in taken:
                        extras[shown.key] = (*extras.get(shown.key, ()), vendor_id)
                    else:
                        taken[shown.key] = vendor_id
                        fresh.append((vendor_id, shown))
                entries, looks = self._read(provider, fresh, left_out, device, rebuilding=True)
                made += self._enter(provider, entries, looks, left_out)
        unknown = _UNKNOWN if made else ()
        return Rebuilt(self._now(made), self._now(attached), known, extras, left_out, unknown, others)

    def _recognize(self, found: Sequence[Listed], mark: str | None) -> dict[str, int]:
        """Decide which ledgers' jobs are taken in, and count those of others by mark.

        Ours are, and those without a mark. Another ledger's are if `mark` names it, or if this ledger holds no jobs yet
        and only one mark is found: this ledger then replaces the lost one.
        """
        counted = Counter(mark_of(shown.key) for shown in found if shown.key)
        known = marks.of(self.ledger)
        others = {one: n for one, n in counted.items() if one and one not in (known.own, *known.recognized)}
        if mark is not None and mark not in counted and mark != known.own:
            told = ", ".join(sorted(others)) or "none"
            raise ProgramRejected(f"no job found carries the mark {mark}; marks of other ledgers found: {told}")
        if mark is None and len(others) == 1 and not reads.has_jobs(self.ledger):
            mark = next(iter(others))
        for one in sorted({mark, ""} & set(counted)):
            if one is not None and one not in (known.own, *known.recognized):
                marks.recognize(self.ledger, one)
                others.pop(one, None)
        return others

    def _wanted_again(self, key: str) -> Job | None:
        """The unsent job of the same purchase under our own mark, if there is one."""
        unsent = [job for job in reads.same_purchase(self.ledger, key) if job.status is JobStatus.PREPARED]
        return unsent[0] if unsent else None

    # -- one vendor --------------------------------------------------------------------------------------------

    def _source(self, source: str) -> tuple[ImportProvider, str | None, str | None]:
        """Provider, and the device's name and vendor id if `source` is a device and not a vendor."""
        if not isinstance(source, str):
            raise UnknownDevice(
                f"import_jobs takes a vendor or a device, not {arguments.shown(source)}; the vendors are "
                f"{', '.join(profiles.vendor_names())}, `qflows devices` lists the devices"
            )
        if source in profiles.vendor_names():
            provider, device, device_id = self.vendors.provider(source), None, None
        else:
            alike = get_close_matches(source, profiles.vendor_names(), n=1)
            if alike and profiles.find(source) is None:
                raise UnknownDevice(f"no vendor or device {source!r}; did you mean {alike[0]}?")
            found = self.vendors.device(source)
            provider, device, device_id = found.provider, source, found.profile.device
        if not reads_back(provider):
            raise ProgramRejected(
                f"{provider.name} has no jobs bought elsewhere, so there is nothing to import; name another vendor"
            )
        return provider, device, device_id

    def _by_id(
        self, provider: ImportProvider, ids: Sequence[str], left_out: dict[str, str]
    ) -> Iterator[tuple[str, Listed | None]]:
        for vendor_id in ids:
            if not vendor_id or len(vendor_id) > 255 or not vendor_id.isascii() or not vendor_id.isprintable():
                left_out[vendor_id[:80]] = "no id of a job"
                continue
            yield vendor_id, None

    def _by_time(
        self,
        provider: ImportProvider,
        since: Moment | None,
        until: Moment | None,
        tag: str | None,
        device_id: str | None,
    ) -> Iterator[tuple[str, Listed | None]]:
        assert since is not None
        last = past(until) if until is not None else None
        for shown in self._listed(provider, past(since), last):
            is_wanted = device_id is None or shown.device_id == device_id
            if is_wanted and not _is_ours(shown) and (tag is None or _bears(shown, tag)):
                yield shown.vendor_id, shown

    def _read(
        self,
        provider: ImportProvider,
        wanted: Sequence[tuple[str, Listed | None]],
        left_out: dict[str, str],
        device: str | None,
        *,
        rebuilding: bool,
    ) -> tuple[list[Entry], dict[str, Observation]]:
        """Jobs read back one by one; an error leaves out only the job that raised it."""
        entries: list[Entry] = []
        looks: dict[str, Observation] = {}
        for vendor_id, shown in wanted:
            if rebuilding and shown is not None and shown.look is not None:
                entries.append(_entry(provider, _outline(provider, shown, shown.look), device))
                looks[vendor_id] = shown.look
                continue
            try:
                found = self._patiently(provider.name, partial(provider.foreign, vendor_id))
            except LedgerError:
                raise
            except Exception as error:  # noqa: BLE001  (boundary to one answer of a vendor)
                why = str(error) if isinstance(error, QflowsError) else f"{type(error).__name__}: {error}"
                if not rebuilding or shown is None:
                    left_out[vendor_id] = why
                    continue
                # its mark is enough to keep it from being bought again
                found = _bare(provider, shown, why)
            if found.listed.vendor_id != vendor_id and vendor_id not in found.listed.vendor_id.split("/"):
                left_out[vendor_id] = f"{provider.name} answered with another job: {found.listed.vendor_id!a:.80}"
                continue
            if _is_ours(found.listed) and not rebuilding:
                left_out[vendor_id] = _bought_through_qflows(found.listed.key or "")
                continue
            try:
                entries.append(_entry(provider, found, device))
            except QflowsError as error:
                left_out[vendor_id] = str(error)
                continue
            looks[found.listed.vendor_id] = found.look
        return entries, looks

    def _enter(
        self,
        provider: Provider,
        entries: Sequence[Entry],
        looks: Mapping[str, Observation],
        left_out: dict[str, str],
    ) -> list[Job]:
        """Insert rows, then what the vendor said of each: its end, and its counts if there are any."""
        try:
            made = imports.enter(self.ledger, entries)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001  (one of them has something that the database rejects)
            if len(entries) > 1:
                return [job for one in entries for job in self._enter(provider, [one], looks, left_out)]
            left_out[entries[0].vendor_id] = str(error)
            return []
        seen = [(job, looks[job.vendor_id]) for job in made if job.vendor_id is not None]
        finished = [(job, look) for job, look in seen if look.phase is Phase.DONE]
        outcomes.observe(self.ledger, [pair for pair in seen if pair[1].phase is not Phase.DONE])
        patience = partial(self._patiently, provider.name)
        Fetcher(self.submitter, patience=patience).fetch_all(provider, finished)
        self._entered += len(made)
        if self.on_entered:
            self.on_entered(self._entered)
        return made

    def _listed(self, provider: ImportProvider, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """The vendor's list, read again from its start where the vendor asks for patience."""
        return self._patiently(provider.name, lambda: iter(list(_listed(provider, since, until))))

    def _patiently(self, vendor: str, read: Callable[[], _Read]) -> _Read:
        """What `read` returns, as soon as the vendor takes the request. Raises Throttled after an hour."""
        deadline = time.monotonic() + _PATIENCE_S
        for turn in count():
            try:
                return read()
            except Throttled as error:
                pause_s = error.retry_after_s or _PAUSES_S[min(turn, len(_PAUSES_S) - 1)]
                now = time.monotonic()
                if now + pause_s > deadline:
                    raise
                if now + pause_s > self._told_until + 1.0:  # downloads run side by side: say it once
                    self._told_until = now + pause_s
                    log.warning(
                        "%s; continuing in %.0f s. What was read so far is stored, so the command can also be "
                        "interrupted and repeated later", error, pause_s,
                    )  # fmt: skip
                    if self.on_pause:
                        self.on_pause(vendor, pause_s)
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _now(self, jobs: Sequence[Job]) -> tuple[Job, ...]:
        current = reads.by_keys(self.ledger, [job.key for job in jobs])
        return tuple(current[job.key] for job in jobs)


def _listed(provider: ImportProvider, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
    """The vendor's list. Raises ProviderError for any failure."""
    try:
        yield from provider.listed(since=since, until=until)
    except QflowsError:
        raise
    except Exception as error:  # vendor boundary
        raise Unreadable(
            f"the list of jobs of {provider.name} cannot be read: {type(error).__name__}: {error}",
            provider=provider.name,
        ) from error


def _entry(provider: Provider, found: Foreign, device: str | None) -> Entry:
    shown = found.listed
    if not fits(shown.vendor_id):
        raise Unreadable(f"an id that cannot be stored: {shown.vendor_id!a:.80}", provider=provider.name)
    is_ours = _is_ours(shown)
    notes = {"client": found.client or f"unknown ({provider.name} does not say)", "notes": list(found.notes)}
    return Entry(
        vendor_id=shown.vendor_id,
        account=provider.account,
        device=device or _device_of(provider.name, shown.device_id),
        spec=found.spec,
        created_at=shown.created_at,
        key=shown.key if is_ours else None,
        notes=notes,
    )


def _device_of(vendor: str, device_id: str) -> str:
    """The name of the one shipped profile of this device, else `vendor:device-id`, as it can be shown."""
    names = [one.name for one in profiles.shipped().values() if (one.provider, one.device) == (vendor, device_id)]
    return names[0] if len(names) == 1 else clean(f"{vendor}:{device_id}")


def _bare(provider: Provider, shown: Listed, why: str) -> Foreign:
    """A job of ours of which only the mark can be read."""
    look = Observation(Phase.QUEUED, "")
    return replace(_outline(provider, shown, look), notes=(f"only its key is known: {why}"[:500],))


def _outline(provider: Provider, shown: Listed, look: Observation) -> Foreign:
    """A job of ours as the vendor's list shows it, without its programs."""
    programs = (unknown_program(1, []),) * shown.n_programs
    spec = JobSpec(
        provider.name, shown.device_id, programs, shown.shots, tags=shown.tags, options={"imported": True},
        name="rebuilt",
    )  # fmt: skip
    note = "read from the vendor's list; its run, or whoever waits for it, restores its programs"
    return Foreign(shown, spec, look, notes=(note,))


def _is_ours(shown: Listed) -> bool:
    return shown.key is not None and is_job_key(shown.key)


def _bought_through_qflows(key: str) -> str:
    mark = mark_of(key)
    whose = f" by the ledger with the mark {mark}" if mark else ""
    option = f" --mark {mark}" if mark else ""
    return f"it was bought through qflows{whose}: `qflows ledger rebuild{option}` restores it"


def _bears(shown: Listed, tag: str) -> bool:
    return any(label == tag or label.startswith(f"{tag}=") for label in shown.labels)


def _age(shown: Listed) -> tuple[bool, datetime, str]:
    made = shown.created_at
    return made is None, made or datetime.max.replace(tzinfo=UTC), shown.vendor_id


def _parts(
    items: Iterable[tuple[str, Listed | None]],
) -> Iterator[list[tuple[str, Listed | None]]]:
    part: list[tuple[str, Listed | None]] = []
    for item in items:
        part.append(item)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


_UNKNOWN = (
    "run keys, labels and ordinals: a key is a digest of them. A run that is started again under its run key "
    "recognizes its jobs and adopts them",
    "batches and groups: they are made again, with the same ids, by the run that made them",
    "jobs that never reached a vendor, settled refusals, and events",
    "budgets: what was spent is in the costs of the jobs, and counted in no budget",
    "sessions: those that are open end by their own time limits",
    "measurements and points of optimization loops: the loop asks for the same jobs again and gets their counts",
)
