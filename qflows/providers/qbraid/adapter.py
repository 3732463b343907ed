"""qBraid behind the provider protocol: httpx on REST v1, nothing repeated behind our back.

qBraid has no idempotency key; each job bears ours as a tag, and a lost answer is settled by asking for the tag. How
its tag filter matches is not documented, so silence of the filter is checked against the plain list.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from qflows.errors import ProgramRejected, Refused, Unreadable
from qflows.model import Cost, ItemError, ItemResult
from qflows.programs import Program
from qflows.protocol import (
    Accepted,
    Capabilities,
    DeviceInfo,
    Found,
    JobSpec,
    Limits,
    Lookup,
    Observation,
    Pace,
    Phase,
    VendorResult,
)
from qflows.providers.qbraid import wire
from qflows.providers.qbraid.account import find_account
from qflows.providers.qbraid.groups import GroupCalls, GroupInfo, GroupMember
from qflows.providers.qbraid.http import QbraidHttp, path_of

log = logging.getLogger("qflows.providers.qbraid")

_PAGE = 100  # REST page, GET /jobs: limit at most 100
_MAX_PROGRAMS = 1_000  # no limit of a batch is documented; this bounds the body
_MAX_PAGES = 1_000  # 100,000 jobs: a list that never ends must not hang us
_KEYS_ASKED_FOR = 8  # more doubts than this are cheaper to settle by reading the list
_REMEMBERED = 100_000
_FINISHED = frozenset({400, 409})  # cancel: in no state to be cancelled

Job = Mapping[str, Any]


class QbraidProvider:
    """One qBraid account. Safe for use from several threads."""

    name = "qbraid"
    capabilities = Capabilities(
        lookup=Lookup.QUERY,
        settle_s=15.0,  # visibility delay after a POST is not documented; two looks this far apart
        poll_page=_PAGE,
        pace=Pace(first_s=1.0, factor=1.5, max_s=30.0),  # no rate limit is documented
        max_programs=_MAX_PROGRAMS,
        native_groups=True,
    )

    def __init__(self, *, base_url: str, headers: Mapping[str, str], account: str, timeout_s: float) -> None:
        self._http = QbraidHttp(base_url=base_url, headers=headers, timeout_s=timeout_s)
        self._groups = GroupCalls(self._http)
        self.account = account
        self.job_page: str | None = None  # no page for a single job is documented
        self._lock = Lock()
        self._session = uuid.uuid4().hex[:12]
        self._sent = 0
        self._lots: OrderedDict[str, str] = OrderedDict()  # vendor id -> lot
        self._filter_finds_subsets = True

    def read(self, source: Any) -> Program | None:
        """qBraid's `{"format", "data"}` with QASM as a program."""
        return wire.read_program(source)

    def devices(self) -> Sequence[DeviceInfo]:
        """GET /devices without retired ones."""
        entries = self._http.get("/devices", [("retired", "false")])
        if not isinstance(entries, list):
            raise Unreadable("qbraid: a device list that is no list", provider="qbraid", body=str(entries)[:4000])
        return [wire.device_info(entry) for entry in entries if isinstance(entry, dict) and entry.get("qrn")]

    def limits(self, device_id: str) -> Limits:
        """GET /devices/{qrn}. Raises Refused for a device that is unknown, closed to us, or takes no OpenQASM 3."""
        entry = self._http.get(path_of("devices", device_id))
        if not isinstance(entry, dict):
            raise Unreadable("qbraid: a device that is no object", provider="qbraid", body=str(entry)[:4000])
        if wire.FORMAT not in (entry.get("runInputTypes") or ()):
            raise Refused(f"{device_id} takes no OpenQASM 3, which is what qflows sends", provider="qbraid")
        if entry.get("directAccess") is False or entry.get("status") == "RETIRED":
            raise Refused(f"{device_id} is retired, or closed to this account", provider="qbraid")
        return wire.device_limits(entry, _MAX_PROGRAMS)

    def check(self, spec: JobSpec) -> None:
        """Refuses unknown options, missing shots, and circuits that OpenQASM 3 with stdgates cannot say."""
        unknown = set(spec.options) - wire.OPTIONS
        if unknown:
            raise ProgramRejected(
                f"qbraid has no option {sorted(unknown)[0]!r}; there are {', '.join(sorted(wire.OPTIONS))}"
            )
        if spec.options.get("bit_order", wire.BIT_ORDERS[0]) not in wire.BIT_ORDERS:
            raise ProgramRejected(f"bit_order is one of {', '.join(wire.BIT_ORDERS)}")
        if not isinstance(spec.options.get("runtime_options", {}), Mapping):
            raise ProgramRejected("runtime_options is a mapping, sent to the device as it is")
        if spec.shots is None:
            raise ProgramRejected("qbraid needs shots; pass shots= (exact evaluation: device='local-exact')")
        if any(spec.observables):
            raise ProgramRejected("qbraid samples; observables are measured by qflows in grouped circuits")
        for program in spec.programs:
            if not program.measured:
                raise ProgramRejected(f"{program.name} measures nothing; call circuit.measure_all()")
        wire.payload(spec, "0" * 64, "0")

    def submit(self, spec: JobSpec, key: str) -> Accepted:
        """POST /jobs, once. 400 401 403 404 409 422: Refused; never connected: NotSent; all else: Ambiguous.

        Several programs are one batch job. `spec.session_id` names the group to enrol in.
        """
        lot = self._next_lot()
        body = self._http.post_once("/jobs", wire.payload(spec, key, lot), "jobQrn")
        self._remember(body["jobQrn"], lot)
        return Accepted(body["jobQrn"])

    # -- finding again -----------------------------------------------------------------------------------------

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Asks for each key by tag; keys that this does not find are looked for in the plain list down to `since`."""
        hits: dict[str, dict[str, Found]] = {}
        if len(keys) <= _KEYS_ASKED_FOR:
            for key in keys:
                self._collect(self._pages([wire.tag_filter(qflows_key=key)], since=since), {key}, hits)
        missing = set(keys) - hits.keys()
        if missing:
            self._collect(self._pages([], since=since), missing, hits)
        return {
            key: sorted(
                found.values(), key=lambda hit: (hit.created_at is None, hit.created_at or since, hit.vendor_id)
            )
            for key, found in hits.items()
        }

    def _collect(
        self, pages: Iterator[Sequence[Job]], keys: Collection[str], hits: dict[str, dict[str, Found]]
    ) -> None:
        for page in pages:
            for job in page:
                key = str(wire.tags_of(job).get(wire.KEY))
                if key in keys:
                    found = Found(str(job["jobQrn"]), wire.created_at(job))
                    hits.setdefault(key, {})[found.vendor_id] = found

    def _pages(self, params: Sequence[tuple[str, str]], *, since: datetime | None = None) -> Iterator[Sequence[Job]]:
        """Pages of GET /jobs to the end of the list, or to where it is older than `since`."""
        newest_first, last = True, None
        for number in range(1, _MAX_PAGES + 1):
            body = self._http.get_envelope("/jobs", [*params, ("limit", str(_PAGE)), ("page", str(number))])
            page = wire.jobs_of(body["data"])
            for job in page:
                self._learn_lot(str(job["jobQrn"]), job)
            yield page
            moments = [wire.created_at(job) for job in page]
            for moment in moments:
                # order is not documented: stopping early is allowed only while the list itself shows it
                newest_first = newest_first and moment is not None and (last is None or moment <= last)
                last = moment
            is_past = since is not None and newest_first and all(m is not None and m < since for m in moments)
            if not page or is_past or not _goes_on(body.get("pagination"), len(page)):
                return

    # -- polling -----------------------------------------------------------------------------------------------

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """GET /jobs, 100 a request: by lot where the ids fill their lots, else all pending jobs of qflows.

        There is no filter by id. An id that no list shows (just finished, or lagging) is read by itself; 404: absent.
        """
        looks: dict[str, Observation] = {}
        waiting = dict.fromkeys(vendor_ids)
        lots = {self._lot_of(vendor_id) for vendor_id in waiting}
        is_scattered = None in lots or len(lots) > math.ceil(len(waiting) / _PAGE)
        if waiting and (is_scattered or not self._filter_finds_subsets):
            self._look_at_pending(waiting, looks)
        read: set[str] = set()
        while waiting:
            vendor_id = next(iter(waiting))
            if self._lot_of(vendor_id) is None:
                self._look_at_one(vendor_id, waiting, looks)  # it names its lot, in which others may be
            lot = self._lot_of(vendor_id)
            if waiting and lot is not None and lot not in read and self._filter_finds_subsets:
                read.add(lot)
                self._look_at(self._pages([wire.tag_filter(qflows_lot=lot)]), waiting, looks)
            if vendor_id in waiting:
                job = self._look_at_one(vendor_id, waiting, looks)
                if lot in read and job is not None:
                    self._doubt_the_filter(job)
        return looks

    def _doubt_the_filter(self, job: Job) -> None:
        """A job that bears the tag, is old enough to be listed, and was not: the filter wants all tags given."""
        if self._filter_finds_subsets and _age_s(job) > self.capabilities.settle_s:
            self._filter_finds_subsets = False
            log.warning("qBraid's tag filter did not find job %s; polling reads all pending jobs now", job["jobQrn"])

    def _look_at_pending(self, waiting: dict[str, None], looks: dict[str, Observation]) -> None:
        mark = [wire.tag_filter(qflows="1")] if self._filter_finds_subsets else []
        self._look_at(self._pages([("statusGroup", "pending"), *mark]), waiting, looks)

    def _look_at(self, pages: Iterator[Sequence[Job]], waiting: dict[str, None], looks: dict[str, Observation]) -> None:
        for page in pages:
            for job in page:
                vendor_id = str(job["jobQrn"])
                if vendor_id in waiting:
                    looks[vendor_id] = wire.observation(job)
                    waiting.pop(vendor_id)
            if not waiting:
                return

    def _look_at_one(self, vendor_id: str, waiting: dict[str, None], looks: dict[str, Observation]) -> Job | None:
        """Reads one job by its id; None and absent from `looks` if the vendor does not know it."""
        waiting.pop(vendor_id)
        try:
            job = self._job(vendor_id)
        except Refused as error:
            if error.http_status != 404:
                raise
            return None
        looks[vendor_id] = wire.observation(job)
        self._learn_lot(vendor_id, job)
        return job

    def _learn_lot(self, vendor_id: str, job: Job) -> None:
        if isinstance(lot := wire.tags_of(job).get(wire.LOT), str):
            self._remember(vendor_id, lot)

    def _job(self, vendor_id: str) -> Job:
        job = self._http.get(path_of("jobs", vendor_id))
        if not isinstance(job, dict):
            raise Unreadable(f"qbraid: job {vendor_id} is no object", provider="qbraid", body=str(job)[:4000])
        return job

    def _next_lot(self) -> str:
        with self._lock:
            self._sent += 1
            return f"{self._session}-{(self._sent - 1) // _PAGE}"

    def _remember(self, vendor_id: str, lot: str) -> None:
        with self._lock:
            self._lots[vendor_id] = lot
            while len(self._lots) > _REMEMBERED:
                self._lots.popitem(last=False)

    def _lot_of(self, vendor_id: str) -> str | None:
        with self._lock:
            return self._lots.get(vendor_id)

    # -- results -----------------------------------------------------------------------------------------------

    def result(self, vendor_id: str, spec: JobSpec, key: str) -> VendorResult:
        """GET /jobs/{qrn}/result. A failed batch yields an error for each circuit that has no counts.

        Raises Refused for a job that is failed, cancelled, withheld or not finished; its vendor_code is the status.
        """
        try:
            body = self._http.get(path_of("jobs", vendor_id, "result"))
        except Refused as error:
            return self._without_result(vendor_id, spec, error)
        if not isinstance(body, dict):
            raise Unreadable("qbraid: a result that is no object", provider="qbraid", body=str(body)[:4000])
        items = wire.items_of(body, spec)
        if len(items) == 1 and items[0].error is not None:
            raise _no_counts(vendor_id, items[0].error, body)
        return _vendor_result(items, body)

    def _without_result(self, vendor_id: str, spec: JobSpec, error: Refused) -> VendorResult:
        job = self._job(vendor_id)
        look = wire.observation(job)
        reason = look.error_message or error.vendor_message or "no reason given"
        if look.phase is Phase.FAILED and len(spec.programs) > 1:
            items = [ItemResult(error=ItemError(look.word, reason)) for _ in spec.programs]
            return _vendor_result(items, job)
        raise _no_counts(vendor_id, ItemError(look.word, reason), job) from None

    def exists(self, vendor_id: str) -> bool:
        """GET /jobs/{qrn}."""
        try:
            self._http.get(path_of("jobs", vendor_id))
        except Refused as error:
            if error.http_status == 404:
                return False
            raise
        return True

    def cancel(self, vendor_id: str) -> None:
        """POST /jobs/{qrn}/cancel; no effect on a finished job."""
        try:
            self._http.post_repeatable(path_of("jobs", vendor_id, "cancel"))
        except Refused as error:
            if error.http_status not in _FINISHED:
                raise

    def estimate(self, spec: JobSpec) -> Cost | None:
        """GET /jobs/cost-estimate, once per job, times the circuits of a batch; credits. A guide, not a cap."""
        params = [("deviceQrn", spec.device_id), ("shots", str(spec.shots or 1000))]
        quote = self._http.get("/jobs/cost-estimate", params)
        one = wire.cost_of({"estimatedCost": quote.get("estimatedCost")}) if isinstance(quote, dict) else None
        return Cost(one.amount * len(spec.programs), "credits", True) if one else None

    # -- native groups -----------------------------------------------------------------------------------------

    def create_group(
        self, key: str, *, name: str = "", tags: Mapping[str, str] | None = None, max_ttl_s: float | None = None
    ) -> GroupInfo:
        """POST /jobs/group, once, bearing `key` as a tag. Raises like `submit`; after a doubt ask `find_groups`.

        `max_ttl_s`: 1 to 86400, whole seconds; None takes qBraid's own (3600). Raises ProgramRejected outside.
        """
        return self._groups.create(key, name=name, tags=tags or {}, max_ttl_s=max_ttl_s)

    def find_groups(self, keys: Collection[str], *, since: datetime) -> Mapping[str, Sequence[Found]]:
        """Groups bearing one of `keys`, oldest first; the list has no tag filter and is read down to `since`."""
        return self._groups.find(keys, since=since)

    def group(self, group_id: str) -> GroupInfo:
        """Reads a group, which is also what makes qBraid apply its time to live. Raises Refused for an unknown one."""
        return self._groups.get(group_id)

    def group_jobs(self, group_id: str) -> Sequence[GroupMember]:
        """All jobs of the group with their states, in one request."""
        return self._groups.jobs(group_id)

    def close_group(self, group_id: str) -> None:
        """No more jobs; those enrolled run on. No error if the group is over already."""
        self._groups.end(group_id, "close")

    def cancel_group(self, group_id: str) -> None:
        """No more jobs; unfinished ones are cancelled. No error if the group is over already."""
        self._groups.end(group_id, "cancel")


def _age_s(job: Job) -> float:
    created = wire.created_at(job)
    return (datetime.now(UTC) - created).total_seconds() if created else 0.0


def _goes_on(pagination: Any, size: int) -> bool:
    has_next = pagination.get("hasNext") if isinstance(pagination, dict) else None
    return has_next if isinstance(has_next, bool) else size >= _PAGE


def _no_counts(vendor_id: str, error: ItemError, body: Job) -> Refused | Unreadable:
    phase = wire.STATUS.get(error.code or "", Phase.UNKNOWN)
    if phase is Phase.DONE:
        return Unreadable(f"qbraid job {vendor_id}: {error.message}", provider="qbraid", body=str(body)[:4000])
    state = {Phase.FAILED: "failed", Phase.CANCELLED: "was cancelled"}.get(phase, f"has no results yet ({error.code})")
    return Refused(
        f"qbraid job {vendor_id} {state}: {error.message}",
        provider="qbraid",
        vendor_code=error.code,
        vendor_message=error.message,
    )


def _vendor_result(items: Sequence[ItemResult], body: Job) -> VendorResult:
    return VendorResult(
        items=tuple(items),
        cost=wire.cost_of(body),
        finished_at=wire.finished_at(body),
        qpu_s=wire.execution_s(body),
    )


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> QbraidProvider:
    """Provider from a credentials block's fields, else from where the vendor's client looks (`QBRAID_API_KEY`, ...).

    Raises CredentialsMissing naming what to set. Makes no request.
    """
    account = find_account(credentials or {})
    return QbraidProvider(
        base_url=account.base_url,
        headers={account.header: account.secret},
        account=account.name,
        timeout_s=timeout_s,
    )
