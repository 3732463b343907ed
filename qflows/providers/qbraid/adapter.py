"""qBraid behind the provider protocol: bounded HTTP on REST v1, with no implicit repeats.

qBraid has no idempotency key; each job carries ours as a tag, and a lost answer is settled by asking for the tag. How
its tag filter matches is not documented, so an empty filter result is checked against the plain list.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from qflows.bounded_http import Answer
from qflows.errors import Ambiguous, ProgramRejected, ProviderError, Refused, Throttled, Unreadable
from qflows.model import ItemError, ItemResult, Quote, exact
from qflows.programs import Program
from qflows.protocol import (
    Accepted,
    Capabilities,
    CompileWish,
    DeviceInfo,
    Foreign,
    Found,
    JobSpec,
    Limits,
    Listed,
    Lookup,
    Observation,
    Pace,
    Phase,
    Prepared,
    RawAnswer,
    VendorOptions,
    VendorResult,
)
from qflows.providers.qbraid import imports, options, prices, wire
from qflows.providers.qbraid.account import find_account
from qflows.providers.qbraid.doctor import Doctor
from qflows.providers.qbraid.groups import GroupCalls, GroupInfo, GroupMember
from qflows.providers.qbraid.http import QbraidHttp, envelope, is_absent, path_of
from qflows.providers.qbraid.pacing import Pacing, Purpose
from qflows.providers.qbraid.watching import PAGE, Job, Watch

_MAX_PAGES = 20
_KEYS_ASKED_FOR = 8  # more doubts than this are cheaper to settle by reading the list
_REMEMBERED = 10_000
_FRESH_S = 60.0  # prices that were read are valid for this long
_RESULT_MAY_LAG_S = 60.0  # after that a 409 for a COMPLETED job means "not valid JSON", which never heals
_CANCEL_PAUSES_S = (0.5, 1.0, 2.0)
_CONFLICT = "JOB_CANCEL_CONFLICT"
# documents of a raw answer
_RESULT, _JOB, _COMPILED = "result", "job", "compiled"
# what a decoder may raise on an unforeseen answer
_SURPRISES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Body:
    """What is sent, and its lot."""

    document: Mapping[str, Any]
    lot: str


class QbraidProvider(Doctor):
    """One qBraid account. Thread-safe."""

    name = "qbraid"
    capabilities = Capabilities(
        lookup=Lookup.QUERY,
        settle_s=15.0,  # visibility delay after a POST is not documented; two look-ups this far apart
        poll_page=PAGE,
        pace=Pace(first_s=0.4, rate=1.0, burst=10),  # 1,000 requests in 15 minutes; `Pacing` counts them
        posts_at_once=4,
        max_programs=wire.MOST_PROGRAMS,
        native_groups=True,
        imports=True,
    )

    def __init__(
        self,
        *,
        base_url: str,
        headers: Mapping[str, str],
        account: str,
        timeout_s: float,
        pacing: Pacing | None = None,
    ) -> None:
        self._http = QbraidHttp(base_url=base_url, headers=headers, timeout_s=timeout_s, pacing=pacing)
        self._groups = GroupCalls(self._http)
        self._watch = Watch(self._http, self.capabilities.settle_s)
        self.account = account
        self.job_page: str | None = None  # no page for a single job is documented
        self._lock = Lock()
        self._session = uuid.uuid4().hex[:12]
        self._sent = 0
        self._prices: dict[str, tuple[Mapping[str, Any] | None, float]] = {}
        self._missing_since: OrderedDict[str, float] = OrderedDict()  # missing results, monotonic seconds

    def read(self, source: Any) -> Program | None:
        """qBraid's `{"format", "data"}` with QASM as a program."""
        return wire.read_program(source)

    def devices(self) -> Sequence[DeviceInfo]:
        """GET /devices without retired ones, page by page."""
        found: dict[str, DeviceInfo] = {}
        for number in range(1, _MAX_PAGES + 1):
            params = [("retired", "false"), ("limit", str(PAGE)), ("page", str(number))]
            entries = self._http.get("/devices", params)
            if not isinstance(entries, list):
                raise Unreadable("qbraid: the device list is not a list", provider="qbraid", body=str(entries)[:4000])
            known = len(found)
            for entry in entries:
                if isinstance(entry, dict) and isinstance(entry.get("qrn"), str):
                    found[entry["qrn"]] = wire.device_info(entry)
            if len(entries) < PAGE or len(found) == known:  # the last page, or a list without pages
                break
        return list(found.values())

    def limits(self, device_id: str) -> Limits:
        """GET /devices/{qrn}. Raises Refused for a device that is unknown, closed to us, or takes no OpenQASM 3."""
        entry = self._http.get(path_of("devices", device_id))
        if not isinstance(entry, dict):
            raise Unreadable("qbraid: a device is not an object", provider="qbraid", body=str(entry)[:4000])
        if wire.FORMAT not in (entry.get("runInputTypes") or ()):
            raise Refused(f"{device_id} takes no OpenQASM 3, which is what qflows sends", provider="qbraid")
        if entry.get("directAccess") is False or entry.get("status") == "RETIRED":
            state = "retired" if entry.get("status") == "RETIRED" else "not open to this account"
            raise Refused(f"{device_id} is {state}; `qflows devices` lists others", provider="qbraid")
        return wire.device_limits(entry, wire.MOST_PROGRAMS)

    def calibration(self, device_id: str) -> Mapping[str, Any] | None:
        """GET /devices/{qrn}/calibrations of a QPU: errors of qubits and pairs, and when they were read."""
        if not wire.is_qpu(device_id):
            return None
        found = self._http.get(path_of("devices", device_id, "calibrations"), purpose=Purpose.WATCH)
        return found if isinstance(found, dict) else None

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """The options of jobs on this device."""
        return options.options_model(device_id)

    def check(self, spec: JobSpec) -> None:
        """Refuse unknown options, missing shots, and circuits that OpenQASM 3 with stdgates cannot express."""
        if spec.shots is None:
            raise ProgramRejected("qbraid needs shots; pass shots= (exact evaluation: device='local-exact')")
        if any(spec.observables):
            raise ProgramRejected("qbraid samples; observables are measured by qflows in grouped circuits")
        for program in spec.programs:
            if not program.measured:
                raise ProgramRejected(f"{program.name} measures nothing; call circuit.measure_all()")
        wire.payload(spec, "0" * 64, "0")

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """See `wire.compiled`. No I/O."""
        return wire.compiled(spec, wish)

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """None: qBraid gives no durations of gates."""
        return None

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """The body of POST /jobs. Several programs are one batch job; `spec.session_id` names the group to enroll
        in."""
        self.check(spec)
        lot = self._next_lot()
        body = wire.payload(spec, key, lot)
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ProgramRejected(f"the job cannot be written as JSON: {str(error)[:200]}") from None
        return Prepared(spec, key, _Body(body, lot))

    def send(self, prepared: Prepared) -> Accepted:
        """POST /jobs, once. A 4xx that excludes a job: Refused; never sent: NotSent; all else: Ambiguous."""
        body: _Body = prepared.body
        data = self._http.post_once("/jobs", body.document, "jobQrn")
        vendor_id = str(data["jobQrn"])
        self._watch.remember_lot(vendor_id, body.lot)
        held = wire.cost_of({"estimatedCost": data.get("estimatedCost")})
        is_linked = prepared.spec.device_id.startswith(wire.LINKED)
        return Accepted(vendor_id, {"held_credits": held.amount} if held and not is_linked else {})

    def _next_lot(self) -> str:
        with self._lock:
            self._sent += 1
            return f"{self._session}-{(self._sent - 1) // PAGE}"

    # -- finding again -----------------------------------------------------------------------------------------

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Ask for each key by tag; look for keys not found this way in the plain list down to `since`."""
        hits: dict[str, dict[str, Found]] = {}
        if len(keys) <= _KEYS_ASKED_FOR:
            for key in keys:
                params = [wire.tag_filter(qflows_key=key)]
                self._collect(self._watch.pages(params, since=since, purpose=Purpose.WORK), {key}, hits)
        missing = set(keys) - hits.keys()
        if missing:
            self._collect(self._watch.pages([], since=since, purpose=Purpose.WORK), missing, hits)
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

    # -- polling -----------------------------------------------------------------------------------------------

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """GET /jobs, 100 a request, and GET /jobs/{qrn} for a few unfinished ones; see `watching`."""
        return self._watch.look_at(vendor_ids)

    def exists(self, vendor_id: str) -> bool:
        """GET /jobs/{qrn}: False only on qBraid's own NOT_FOUND. Raises for anything else, including 403."""
        try:
            self._watch.read(vendor_id)
        except Refused as error:
            if is_absent(error):
                return False
            raise
        return True

    # -- jobs of others ----------------------------------------------------------------------------------------

    def listed(self, *, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """GET /jobs, 100 a page, newest first."""
        for page in self._watch.pages([], since=since, purpose=Purpose.WORK):
            for job in page:
                shown = imports.entry(job)
                made = shown.created_at
                if made is None or (since <= made and (until is None or made <= until)):
                    yield shown

    def foreign(self, vendor_id: str) -> Foreign:
        """GET /jobs/{qrn} and its program; if qBraid has no program, the width is taken from the result."""
        job = self._watch.read(vendor_id)
        return imports.foreign(job, lambda what: self._part_of(vendor_id, what))

    def _part_of(self, vendor_id: str, what: str) -> Any:
        try:
            return self._http.get(path_of("jobs", vendor_id, what))
        except Refused as error:
            if error.http_status not in (404, 409):
                raise
            return None

    # -- results -----------------------------------------------------------------------------------------------

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """GET /jobs/{qrn}/result, on a QPU the compiled program, and the job itself if a failed batch has no result.

        Raises Refused for a job that is failed, cancelled, withheld or not finished; its vendor_code is the status.
        """
        try:
            answer = self._http.get_answer(path_of("jobs", vendor_id, "result"))
        except Refused as error:
            return RawAnswer({_JOB: self._without_result(vendor_id, spec, error).content})
        with self._lock:
            self._missing_since.pop(vendor_id, None)
        documents = {_RESULT: answer.content}
        if wire.is_qpu(spec.device_id) and (compiled := self._compiled(vendor_id)) is not None:
            documents[_COMPILED] = compiled
        return RawAnswer(documents)

    def _compiled(self, vendor_id: str) -> bytes | None:
        try:
            return self._http.get_answer(path_of("jobs", vendor_id, "compiled-program"), purpose=Purpose.WATCH).content
        except ProviderError:  # nothing missing here may cost paid counts
            return None

    def _without_result(self, vendor_id: str, spec: JobSpec, error: Refused) -> Answer:
        """The job's own document if it serves as the result. Otherwise raises the reason why there is none."""
        answer = self._http.get_answer(path_of("jobs", vendor_id))
        job = envelope(answer, "GET job")["data"]
        if not isinstance(job, dict):
            raise Unreadable("qbraid: a job is not an object", provider="qbraid", body=answer.text)
        look = wire.observation(job)
        if look.phase is Phase.FAILED and len(spec.programs) > 1:
            return answer
        reason = look.error_message or error.vendor_message or "no reason given"
        if look.phase is Phase.DONE and self._may_still_come(vendor_id):
            raise Ambiguous(
                f"qbraid says that job {vendor_id[:200]} is complete, but has no result yet: {reason[:300]}",
                provider="qbraid",
                http_status=error.http_status,
            )
        raise _no_counts(vendor_id, ItemError(look.word, reason), job) from None

    def _may_still_come(self, vendor_id: str) -> bool:
        with self._lock:
            since = self._missing_since.setdefault(vendor_id, time.monotonic())
            while len(self._missing_since) > _REMEMBERED:
                self._missing_since.popitem(last=False)
        return time.monotonic() - since < _RESULT_MAY_LAG_S

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Counts of each circuit. A failed batch yields an error for each circuit without counts."""
        return decode_kept(raw, spec, key)

    def end_pause(self) -> None:
        """See `PatientProvider`."""
        self._http.pacing.end_pause()

    # -- cancelling and money ----------------------------------------------------------------------------------

    def cancel(self, vendor_id: str) -> None:
        """POST /jobs/{qrn}/cancel; no effect on a finished job.

        A job that is still being initialized answers 409 and goes on: the request is repeated for a few seconds. Raises
        Throttled if it is still initializing then: the cancel request stands, and must be repeated until the job is
        over.
        """
        for pause_s in (*_CANCEL_PAUSES_S, None):
            self._watch.forget(vendor_id)
            try:
                self._http.post_repeatable(path_of("jobs", vendor_id, "cancel"))
                return
            except Refused as error:
                if error.http_status == 400:
                    return
                if error.http_status != 409:
                    raise
                if error.vendor_code != _CONFLICT and self._is_over(vendor_id):
                    return
                if pause_s is None:
                    raise Throttled(
                        f"qbraid cannot cancel job {vendor_id[:200]} yet: {error.vendor_message}; try again",
                        provider="qbraid",
                        http_status=409,
                        vendor_code=error.vendor_code,
                        retry_after_s=_CANCEL_PAUSES_S[-1],
                    ) from None
            time.sleep(pause_s)

    def _is_over(self, vendor_id: str) -> bool:
        phase = wire.observation(self._watch.read(vendor_id, Purpose.CANCEL)).phase
        return phase in (Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.HELD)

    def estimate(self, spec: JobSpec) -> Quote | None:
        """Credits by the prices in the device's own document, which is what qBraid reserves and charges.

        No bound if minutes are billed. None for dynamic prices, and for devices whose linked account pays, for which
        qBraid says 0.
        """
        if spec.device_id.startswith(wire.LINKED):
            return None
        shots = spec.shots or 1000
        pricing = self._pricing(spec.device_id)
        quote = prices.by_task_and_shot(pricing, shots, len(spec.programs)) if pricing else None
        if quote is not None:
            return quote
        told = self._http.get("/jobs/cost-estimate", [("deviceQrn", spec.device_id), ("shots", str(shots))])
        one = wire.cost_of({"estimatedCost": told.get("estimatedCost")}) if isinstance(told, dict) else None
        if one is None:
            return None
        return prices.by_minute(exact(one.amount) * len(spec.programs), pricing)

    def _pricing(self, device_id: str) -> Mapping[str, Any] | None:
        """The prices of a device, read at most once a minute; None without prices, or for an odd document."""
        known = self._prices.get(device_id)
        if known is None or time.monotonic() - known[1] > _FRESH_S:
            entry = self._http.get(path_of("devices", device_id))
            pricing = entry.get("pricing") if isinstance(entry, dict) else None
            known = self._prices[device_id] = (pricing if isinstance(pricing, dict) else None, time.monotonic())
        return known[0]

    # -- native groups -----------------------------------------------------------------------------------------

    def create_group(
        self, key: str, *, name: str = "", tags: Mapping[str, str] | None = None, max_ttl_s: float | None = None
    ) -> GroupInfo:
        """POST /jobs/group, once, with `key` as a tag. Raises as `send` does; after a doubt ask `find_groups`.

        `max_ttl_s`: 1 to 86400, whole seconds; None takes qBraid's own (3600). Raises ProgramRejected outside that
        range.
        """
        return self._groups.create(key, name=name, tags=tags or {}, max_ttl_s=max_ttl_s)

    def find_groups(self, keys: Collection[str], *, since: datetime) -> Mapping[str, Sequence[Found]]:
        """Groups that carry one of `keys`, oldest first; the list has no tag filter and is read down to `since`."""
        return self._groups.find(keys, since=since)

    def group(self, group_id: str) -> GroupInfo:
        """Read a group, which also makes qBraid apply its time to live. Raises Refused for an unknown one."""
        return self._groups.get(group_id)

    def group_jobs(self, group_id: str) -> Sequence[GroupMember]:
        """All jobs of the group with their statuses, in one request."""
        return self._groups.jobs(group_id)

    def close_group(self, group_id: str) -> None:
        """Take no more jobs; those enrolled run on. No error if the group is already over."""
        self._groups.end(group_id, "close")

    def cancel_group(self, group_id: str) -> None:
        """Take no more jobs and cancel unfinished ones. No error if the group is already over."""
        self._groups.end(group_id, "cancel")


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


def _vendor_result(
    items: Sequence[ItemResult], body: Job, spec: JobSpec, metadata: Mapping[str, Any] | None = None
) -> VendorResult:
    return VendorResult(
        items=tuple(items),
        cost=None if spec.device_id.startswith(wire.LINKED) else wire.cost_of(body),
        finished_at=wire.finished_at(body),
        qpu_s=wire.execution_s(body),
        metadata=metadata or {},
    )


def decode_kept(raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
    """Read a stored answer without an account or the network; see `providers.decoder`.

    Counts of each circuit. A failed batch yields an error for each circuit that has no counts.
    """
    try:
        return _decoded(raw, spec)
    except _SURPRISES as error:
        text = b" ".join(raw.documents.values())[:4000].decode("utf-8", "replace")
        raise Unreadable(
            f"qbraid: an answer that cannot be read ({type(error).__name__}: {str(error)[:200]})",
            provider="qbraid",
            body=text,
        ) from None


def _decoded(raw: RawAnswer, spec: JobSpec) -> VendorResult:
    name = _RESULT if _RESULT in raw.documents else _JOB
    body = envelope(Answer(200, {}, raw.documents[name]), f"GET {name}")["data"]
    if not isinstance(body, dict):
        raise Unreadable("qbraid: the result is not an object", provider="qbraid", body=str(body)[:4000])
    if name == _JOB:
        look = wire.observation(body)
        failure = ItemError(look.word, look.error_message or "no reason given")
        return _vendor_result([ItemResult(error=failure) for _ in spec.programs], body, spec)
    items = wire.items_of(body, spec)
    if len(items) == 1 and items[0].error is not None:
        raise _no_counts(str(body.get("jobQrn") or ""), items[0].error, body)
    metadata: dict[str, Any] = {}
    if _COMPILED in raw.documents:
        data = Answer(200, {}, raw.documents[_COMPILED]).json()
        if compiled := wire.compiled_of(data.get("data") if isinstance(data, dict) else None):
            metadata["compiled"] = compiled
    return _vendor_result(items, body, spec, metadata)


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> QbraidProvider:
    """Provider from a credentials block's fields, otherwise from where the vendor's client looks (`QBRAID_API_KEY`,
    ...).

    Raises CredentialsMissing naming what to set. Makes no request.
    """
    account = find_account(credentials or {})
    return QbraidProvider(
        base_url=account.base_url,
        headers={account.header: account.secret},
        account=account.name,
        timeout_s=timeout_s,
    )
