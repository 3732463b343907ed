"""IonQ behind the provider protocol: httpx on REST v0.4, with no implicit repeats.

IonQ has no idempotency key and cannot filter by name or metadata, so a lost answer is settled by reading the job
list of the backend to the end and matching `metadata.qflows_key`.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Lock
from typing import Any

from qflows.display import plural
from qflows.errors import CredentialsMissing, NotSent, ProgramRejected, Refused, Unreadable
from qflows.model import Quote
from qflows.privacy.accounts import account_name
from qflows.programs import Feature, Program
from qflows.protocol import (
    Accepted,
    Capabilities,
    CompileWish,
    Condition,
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
    SessionInfo,
    VendorOptions,
    VendorResult,
)
from qflows.providers.ionq import imports, options, prices, sessions, wire
from qflows.providers.ionq.answers import Download, decode
from qflows.providers.ionq.circuit_json import read_json_circuit
from qflows.providers.ionq.compile import compiled
from qflows.providers.ionq.doctor import Doctor
from qflows.providers.ionq.http import IonQHttp, is_id, path
from qflows.providers.ionq.options import SIMULATOR

log = logging.getLogger("qflows.providers.ionq")

PRODUCTION = "https://api.ionq.co/v0.4"
_PAGE = 25  # ids and list page; pagination schema, API v0.4
_SESSION_RETRY_S = 60.0
_REMEMBERED = 50_000
_MAX_PAGES = 4_000  # 100,000 jobs: a list that never ends must not hang us
_MAX_SHOTS = 1_000_000  # API v0.4 description, all backends; 1,000,001 was refused live
# barriers and verbatim boxes of native circuits, which are not compiled; `check` refuses those of abstract ones
_TAKEN_BY_QPUS = frozenset({Feature.NATIVE, Feature.BARRIER, Feature.VERBATIM})
_TAKEN_BY_SIMULATOR = _TAKEN_BY_QPUS | {Feature.MID_CIRCUIT, Feature.RESET, Feature.PHYSICAL}


_TERMS = {
    Feature.BARRIER: "only between native gates, which are not compiled; IonQ may rearrange abstract gates",
    Feature.VERBATIM: "circuits of native gates, which are sent as they are",
    Feature.DELAY: "IonQ circuits have no delays: API v0.4 has no gate for it, docs.ionq.com 2026-09",
    Feature.FEED_FORWARD: "IonQ runs loops and branches on no target: docs.ionq.com, OpenQASM 3, API v0.4",
    Feature.PHYSICAL: "IonQ places qubits itself, and all of them are coupled",
}
_DYNAMIC_TERM = "in OpenQASM 3, one circuit a job, with a noise model: docs.ionq.com, OpenQASM 3, API v0.4"
_TERMS_OF_SIMULATOR = _TERMS | dict.fromkeys((Feature.MID_CIRCUIT, Feature.RESET), _DYNAMIC_TERM)
_TERMS_OF_SIMULATOR[Feature.PHYSICAL] = "without a noise model, where names of qubits change nothing; left out"
_NOT_ON_QPUS = "on IonQ's simulator only so far: docs.ionq.com, OpenQASM 3; qiskit-ionq 1.1.1, 2026-07"
_TERMS_OF_QPUS = _TERMS | dict.fromkeys((Feature.MID_CIRCUIT, Feature.RESET), _NOT_ON_QPUS)


class IonQProvider(Doctor):
    """One IonQ API key. Thread-safe."""

    name = "ionq"
    capabilities = Capabilities(
        lookup=Lookup.SCAN,
        settle_s=15.0,  # visibility delay after a POST is not documented; two look-ups this far apart
        poll_page=_PAGE,
        pace=Pace(first_s=0.2, rate=1.0, burst=10),  # 429 is documented, without numbers
        posts_at_once=12,
        reads_at_once=8,
        max_programs=wire.MAX_CIRCUITS,
        max_job_bytes=wire.MAX_BYTES,
        max_job_gates=wire.MAX_GATES,
        sessions=frozenset({"dedicated"}),
        imports=True,
    )

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self._http = IonQHttp(base_url=base_url, api_key=api_key, timeout_s=timeout_s)
        self.account = account_name(base_url, api_key)
        # the console's list; whether it takes an id in the address is not documented
        self.job_page = "https://cloud.ionq.com/jobs" if base_url == PRODUCTION else None
        self._seen: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._lock = Lock()

    def read(self, source: Any) -> Program | None:
        """IonQ circuit JSON as a program."""
        return read_json_circuit(source)

    def devices(self) -> Sequence[DeviceInfo]:
        """GET /backends."""
        backends = self._http.get("/backends")
        return [_device(entry) for entry in _entries(backends, "backends")]

    def condition(self, device_id: str) -> Condition:
        """GET /backends/{id}/characterizations, the newest; medians over the device. A simulator has none."""
        newest = self._characterization(device_id)
        fidelity = wire.mapping(newest.get("fidelity"))
        source = f"IonQ's characterization of {newest.get('date')}" if newest else ""
        return Condition(_error(fidelity.get("2q")), _error(fidelity.get("spam")), source=source)

    def calibration(self, device_id: str) -> Mapping[str, Any] | None:
        """The newest characterization of a QPU, unchanged: fidelities, timing, connectivity and its date."""
        return None if device_id == SIMULATOR else self._characterization(device_id) or None

    def _characterization(self, device_id: str) -> Mapping[str, Any]:
        found = self._http.get_object(path("backends", device_id, "characterizations"), [("limit", "1")])
        listed = found.get("characterizations") or []
        return wire.mapping(listed[0]) if isinstance(listed, list) and listed else {}

    def limits(self, device_id: str) -> Limits:
        """GET /backends/{id}. Raises Refused for an unknown or retired backend."""
        try:
            entry = self._http.get_object(path("backends", device_id))
        except Refused as error:
            if error.http_status != 404:
                raise
            raise Refused(
                f"ionq has no backend {device_id!r:.80}; `qflows devices --live ionq` lists those it has",
                **{name: getattr(error, name) for name in error.fields},
            ) from error
        if entry.get("status") == "retired":
            raise Refused(
                f"ionq has retired {device_id}; `qflows devices` lists what is available; the nearest is qpu.forte-1",
                provider="ionq",
            )
        is_simulator = device_id == SIMULATOR
        # QPUs: being rolled out; `qflows doctor ionq --spend` asks by a dry run
        is_dynamic = is_simulator or self._learned.get("qpu_mid_circuit") is True
        return Limits(
            max_qubits=entry["qubits"] if type(entry.get("qubits")) is int else None,
            max_shots=_MAX_SHOTS if is_simulator else int(self._learned.get("qpu_max_shots") or _MAX_SHOTS),
            max_programs=wire.MAX_CIRCUITS,
            mid_circuit=is_dynamic,
            takes=_TAKEN_BY_SIMULATOR if is_dynamic else _TAKEN_BY_QPUS,
            terms=_TERMS_OF_SIMULATOR if is_simulator else _TERMS if is_dynamic else _TERMS_OF_QPUS,
        )

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """Typed options of a simulator's or a QPU's job."""
        return options.model_of(device_id)

    def mitigation(
        self, device_id: str, technique: str, settings: Mapping[str, Any], *, is_estimate: bool
    ) -> Mapping[str, Any] | None:
        """Debiasing instead of twirling, on QPUs: several compiled variants of a circuit share its shots."""
        return {"debiasing": True} if technique == "twirling" and device_id != options.SIMULATOR else None

    def check(self, spec: JobSpec) -> None:
        """Refuse unknown options, missing shots, and circuits that IonQ's formats or a job's limits cannot carry."""
        chosen = options.read(spec.device_id, spec.options)
        if spec.shots is None:
            raise ProgramRejected("ionq needs shots; pass shots= (exact evaluation: device='local-exact')")
        if getattr(chosen, "debiasing", False) and spec.shots < options.MIN_DEBIASING_SHOTS:
            raise ProgramRejected(f"debiasing needs {options.MIN_DEBIASING_SHOTS} shots or more (docs.ionq.com)")
        is_dynamic = any(program.has_mid_circuit for program in spec.programs)
        if is_dynamic and (len(spec.programs) > 1 or options.is_exact(spec.device_id, spec.options)):
            raise ProgramRejected(
                "IonQ runs mid-circuit measurement and reset one circuit a job, on a QPU or with a noise model "
                "(options={'noise_model': 'aria-1'}); its ideal simulator returns no shots for it"
            )
        if any(spec.observables):
            raise ProgramRejected("ionq samples; observables are measured by qflows in grouped circuits")
        wire.check_features(spec)
        wire.check_native(spec)
        wire.check_size(wire.payload(spec, "0" * 64))

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """See `compile.compiled`. No I/O."""
        return compiled(spec, wish)

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """None: IonQ gives no durations of gates."""
        return None

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """The body of POST /jobs as bytes. No I/O."""
        body = wire.payload(spec, key)
        try:
            content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        except ValueError as error:
            raise ProgramRejected(f"ionq: the job cannot be written as JSON: {error}") from None
        return Prepared(spec, key, content)

    def send(self, prepared: Prepared) -> Accepted:
        """POST /jobs, once. 400 401 403 404 413: Refused; never connected: NotSent; all else: Ambiguous."""
        return Accepted(self._http.post_once("/jobs", prepared.body)["id"])

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Read the job list of the backends, 25 a page, to its end, or to where it is older than `since`."""
        hits: dict[str, list[Found]] = {}
        for job in self._all_jobs([("target", ",".join(sorted(device_ids)))], since=since):
            key = wire.mapping(job.get("metadata")).get(wire.KEY)
            # a child may show its parent's metadata (not documented); it is not a separate purchase
            if key in keys and not job.get("parent_job_id"):
                found = Found(str(job["id"]), wire.moment(job.get("submitted_at")))
                hits.setdefault(str(key), []).append(found)
        for found in hits.values():
            found.sort(key=lambda hit: (hit.created_at is None, hit.created_at or since, hit.vendor_id))
        return hits

    def _all_jobs(self, params: Sequence[tuple[str, str]], *, since: datetime) -> Iterator[Mapping[str, Any]]:
        """The job list to its end, or to where it is older than `since`, a time of our clock."""
        cursor: str | None = None
        newest_first, last = True, None
        params = [*params, ("limit", str(_PAGE))]
        for _ in range(_MAX_PAGES):
            page, skew_s = self._http.page("/jobs", [*params, *([("next", cursor)] if cursor else [])])
            # `since` is ours and the list's times are IonQ's: if our clock is ahead, the job would be missed
            oldest = since + timedelta(seconds=min(skew_s or 0.0, 0.0) - 1)
            moments = []
            for job in _jobs(page):
                created = wire.moment(job.get("submitted_at"))
                moments.append(created)
                # order is not documented: stopping early is allowed only while the list itself shows it
                newest_first = newest_first and created is not None and (last is None or created <= last)
                last = created
                yield job
            cursor = page.get("next")
            if not cursor or (newest_first and moments and all(m is not None and m < oldest for m in moments)):
                break

    def listed(self, *, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """GET /jobs of all backends, 25 a page, newest first."""
        for job in self._all_jobs([], since=since):
            shown = imports.entry(job)
            is_inside = shown.created_at is None or (
                since <= shown.created_at and (not until or shown.created_at <= until)
            )
            if is_inside and not job.get("parent_job_id"):
                yield shown

    def foreign(self, vendor_id: str) -> Foreign:
        """GET /jobs/{id}: how the qubits were read is in the client's metadata; IonQ does not return the circuit."""
        return imports.foreign(self._http.get_object(path("jobs", vendor_id)))

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """GET /jobs?ids=…, 25 ids a request."""
        looks: dict[str, Observation] = {}
        # an id that IonQ cannot have given is absent from every list, and must not spoil the request for the others
        known = [vendor_id for vendor_id in vendor_ids if is_id(vendor_id)]
        for start in range(0, len(known), _PAGE):
            ids = known[start : start + _PAGE]
            page = self._http.get("/jobs", [("ids", vendor_id) for vendor_id in ids] + [("limit", str(_PAGE))])
            for job in _jobs(page):
                look = wire.observation(job)
                looks[str(job["id"])] = look
                if look.phase not in (Phase.QUEUED, Phase.RUNNING):
                    self._remember(job)
        return looks

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """The job, its results by circuit and its cost. Children are found by id and distinguished by name, never by
        their position in an aggregate."""
        return RawAnswer(Download(self._http, vendor_id, spec, self._recall(vendor_id)).documents())

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Counts per circuit from the stored documents."""
        return decode(raw, spec, key)

    def exists(self, vendor_id: str) -> bool:
        """GET /jobs/{id}; False only on IonQ's own 404."""
        return self._http.exists(path("jobs", vendor_id))

    def end_pause(self) -> None:
        """See `PatientProvider`."""
        self._http.end_pause()

    def children(self, vendor_id: str) -> Mapping[Phase, int]:
        """GET /jobs?parent_job_id=..., 25 a page."""
        found: Counter[Phase] = Counter()
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params = [("parent_job_id", vendor_id), ("limit", str(_PAGE)), *([("next", cursor)] if cursor else [])]
            page = self._http.get_object("/jobs", params)
            found.update(wire.observation(job).phase for job in _jobs(page))
            cursor = page.get("next")
            if not cursor:
                break
        return found

    def cancel(self, vendor_id: str) -> None:
        """PUT /jobs/{id}/status/cancel, unless the job is over: cancelling a completed one can change its status to
        canceled (cirq-ionq 1.7.0), and its paid results would then be lost."""
        job = self._http.get_object(path("jobs", vendor_id))
        if wire.observation(job).phase not in (Phase.DONE, Phase.FAILED, Phase.CANCELLED):
            self._http.put(path("jobs", vendor_id, "status", "cancel"))

    def estimate(self, spec: JobSpec) -> Quote | None:
        """GET /jobs/estimate with the gate counts of all circuits as sent, in the vendor's unit.

        Exact if IonQ compiles to as many gates. If this key may not ask: by the prices of a direct account.
        """
        if spec.device_id == SIMULATOR or spec.options.get("dry_run"):
            why = "IonQ's simulator" if spec.device_id == SIMULATOR else "a dry run: compiled and priced, not run"
            return Quote(Decimal(0), Decimal(0), "usd", why)
        one, two = wire.billed_gates(spec.programs)
        is_mitigated = bool(spec.options.get("debiasing"))
        params = [
            ("backend", spec.device_id),
            ("type", "ionq.circuit.v1"),
            ("qubits", str(max(p.n_qubits for p in spec.programs))),
            ("shots", str(spec.shots or 1000)),
            ("1q_gates", str(one)),
            ("2q_gates", str(two)),
            ("error_mitigation", str(is_mitigated).lower()),
        ]
        try:
            body = self._http.get_object("/jobs/estimate", params)
        except Refused as error:
            if error.http_status not in (401, 403):
                raise
            log.warning("ionq gives this key no estimates (%s); the key itself may be good", error.http_status)
            return prices.by_list(spec.device_id, one, two, spec.shots or 1000, is_mitigated=is_mitigated)
        return prices.told(body)

    def session_quote(
        self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]
    ) -> Quote:
        """At least an hour is billed, at a contract price that no document gives: no bound."""
        return Quote(None, None, "usd", "at least one hour, at the price of your contract; limits do not lower that")

    def open_session(self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]) -> str:
        """POST /sessions, once. Options: `max_jobs`, `max_usd`; the limits end the session even if nobody closes it.

        Money: a session that ran a job is billed for at least one hour, whatever its limits.
        """
        body = sessions.request(device_id, mode=mode, max_time_s=max_time_s, options=options)
        log.warning(
            "an IonQ session that runs a job is billed for at least one hour from its opening; max_time and max_usd "
            "do not lower that"
        )
        return self._http.post_once("/sessions", json.dumps(body).encode())["id"]

    def session(self, session_id: str) -> SessionInfo:
        """GET /sessions/{id}."""
        return sessions.session_info(self._http.get(path("sessions", session_id)))

    def recent_sessions(self, device_id: str, *, since: datetime) -> Sequence[SessionInfo]:
        """GET /sessions, filtered here."""
        body = self._http.get("/sessions")
        found = [sessions.session_info(entry) for entry in _entries(body, "sessions")]
        return [
            info
            for info in found
            if info.device_id == device_id and (info.created_at is None or info.created_at >= since)
        ]

    def close_session(self, session_id: str) -> None:
        """POST /sessions/{id}/end once its jobs are over, because ending a session cancels the queued ones.

        Raises NotSent while jobs are unfinished; nothing has changed then, and calling again later ends it.
        """
        if not self.session(session_id).is_open:
            return
        if unfinished := self._unfinished(session_id):
            raise NotSent(
                f"ionq session {session_id} is left open: ending it would cancel "
                f"{plural(len(unfinished), 'unfinished job')}, the first is {unfinished[0]}; close it when they have "
                "ended, or cancel it",
                provider="ionq",
                retry_after_s=_SESSION_RETRY_S,
            )
        self._end_session(session_id)

    def cancel_session(self, session_id: str) -> None:
        """Cancel the session's unfinished jobs, then end it."""
        for vendor_id in self._unfinished(session_id):
            self.cancel(vendor_id)
        self._end_session(session_id)

    def _unfinished(self, session_id: str) -> list[str]:
        unfinished: list[str] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params = [("limit", str(_PAGE)), *([("next", cursor)] if cursor else [])]
            page = self._http.get(path("sessions", session_id, "jobs"), params)
            over = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)
            unfinished += [str(job["id"]) for job in _jobs(page) if wire.observation(job).phase not in over]
            cursor = page.get("next")
            if not cursor:
                break
        return unfinished

    def _end_session(self, session_id: str) -> None:
        self._http.post_repeatable(path("sessions", session_id, "end"))

    def _remember(self, job: Mapping[str, Any]) -> None:
        with self._lock:
            self._seen[str(job["id"])] = job
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def _recall(self, vendor_id: str) -> Mapping[str, Any] | None:
        with self._lock:
            return self._seen.pop(vendor_id, None)


def _jobs(page: Any) -> list[Mapping[str, Any]]:
    jobs = page.get("jobs") if isinstance(page, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) and "id" in job for job in jobs):
        raise Unreadable("ionq: the job list has no member jobs", provider="ionq", body=str(page)[:4000])
    return jobs


def _entries(body: Any, name: str) -> list[Mapping[str, Any]]:
    """A bare list, or the list under `name`: both have been seen."""
    entries = wire.mapping(body).get(name) if isinstance(body, dict) else body
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Unreadable(f"ionq: a list of {name} was expected", provider="ionq", body=str(body)[:4000])
    return entries


def _error(fidelity: Any) -> float | None:
    known = wire.mapping(fidelity).get("median")
    return 1 - known if isinstance(known, int | float) and not isinstance(known, bool) and 0 <= known <= 1 else None


def _device(entry: Mapping[str, Any]) -> DeviceInfo:
    queue_ms = entry.get("average_queue_time")
    return DeviceInfo(
        device_id=str(entry.get("backend")),
        n_qubits=entry.get("qubits") if isinstance(entry.get("qubits"), int) else None,
        is_simulator=str(entry.get("backend")) == "simulator",
        is_available=entry.get("status") in ("available", "running"),
        queue_s=queue_ms / 1000 if isinstance(queue_ms, int | float) else None,
        note=str(entry.get("status")),
    )


def decode_kept(raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
    """Read a stored answer without an account or the network; see `providers.decoder`."""
    return decode(raw, spec, key)


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> IonQProvider:
    """Provider from a credentials block's fields, otherwise `IONQ_API_KEY` and `IONQ_API_URL` (qiskit-ionq's names).

    Given credentials are not mixed with the environment: a key is sent only to the address it was given with. Raises
    CredentialsMissing naming what to set. Makes no request.
    """
    if credentials is None:
        env = os.environ.get
        token: Any = env("QISKIT_IONQ_API_TOKEN") or env("IONQ_API_KEY") or env("IONQ_API_TOKEN")
        url = env("QISKIT_IONQ_API_URL") or env("IONQ_API_URL")
    else:
        token, url = credentials.get("api_key"), credentials.get("api_url")
    secret = token.get_secret_value() if hasattr(token, "get_secret_value") else token
    if not secret:
        raise CredentialsMissing(
            "no IonQ API key: set IONQ_API_KEY, or save a qflows-ionq-credentials block and name it in the device "
            "profile; without an account, `qflows sandbox start` gives an IonQ API to try"
        )
    return IonQProvider(base_url=str(url or PRODUCTION).rstrip("/"), api_key=str(secret), timeout_s=timeout_s)
