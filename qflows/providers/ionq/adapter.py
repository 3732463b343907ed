"""IonQ behind the provider protocol: httpx on REST v0.4, nothing repeated behind our back.

IonQ has no idempotency key and cannot filter by name or metadata, so a lost answer is settled by reading the job
list of the backend to the end and matching `metadata.qflows_key`.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import Any

from qflows.accounts import account_name
from qflows.errors import CredentialsMissing, ProgramRejected, Refused, Unreadable
from qflows.model import Cost, ItemResult
from qflows.programs import Program
from qflows.programs.steps import NOT_GATES
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
    SessionInfo,
    VendorResult,
)
from qflows.providers.ionq import sessions, wire
from qflows.providers.ionq.circuit_json import read_json_circuit
from qflows.providers.ionq.http import IonQHttp, path

log = logging.getLogger("qflows.providers.ionq")

PRODUCTION = "https://api.ionq.co/v0.4"
_PAGE = 25  # ids and list page; pagination schema, API v0.4
_REMEMBERED = 50_000
_MAX_PAGES = 4_000  # 100,000 jobs: a list that never ends must not hang us
_LIMITS = {"simulator": (29, 1_000_000)}  # docs.ionq.com, Backends; qiskit-ionq allows 10,000 shots on QPUs


class IonQProvider:
    """One IonQ API key. Safe for use from several threads."""

    name = "ionq"
    capabilities = Capabilities(
        lookup=Lookup.SCAN,
        settle_s=15.0,  # visibility delay after a POST is not documented; two looks this far apart
        poll_page=_PAGE,
        pace=Pace(first_s=1.0, factor=1.5, max_s=30.0),
        max_programs=wire.MAX_CIRCUITS,
        max_job_bytes=wire.MAX_BYTES,
        max_job_gates=wire.MAX_GATES,
        sessions=frozenset({"dedicated"}),
    )

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self._http = IonQHttp(base_url=base_url, api_key=api_key, timeout_s=timeout_s)
        self.account = account_name(base_url, api_key)
        # the console's list; whether it takes an id in the address is documented nowhere
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

    def limits(self, device_id: str) -> Limits:
        """GET /backends/{id}. Raises Refused for an unknown backend."""
        entry = self._http.get_object(path("backends", device_id))
        n_qubits, shots = _LIMITS.get(device_id, (None, 10_000))
        return Limits(
            max_qubits=entry["qubits"] if type(entry.get("qubits")) is int else n_qubits,
            max_shots=shots, max_programs=wire.MAX_CIRCUITS, mid_circuit=True,
        )  # fmt: skip

    def check(self, spec: JobSpec) -> None:
        """Refuses unknown options, missing shots, and circuits that IonQ's formats or a job's limits cannot carry."""
        unknown = set(spec.options) - wire.OPTIONS
        if unknown:
            raise ProgramRejected(f"ionq has no option {min(unknown)!r}; there are {', '.join(sorted(wire.OPTIONS))}")
        model = spec.options.get("noise_model")
        if model is not None and (model not in wire.NOISE_MODELS or spec.device_id != "simulator"):
            raise ProgramRejected(
                f"noise_model {model!r}: the IonQ simulator knows {', '.join(sorted(wire.NOISE_MODELS))}; "
                "QPUs take none"
            )
        if spec.shots is None:
            raise ProgramRejected("ionq needs shots; pass shots= (exact evaluation: device='local-exact')")
        if spec.options.get("debiasing") and spec.shots < 500:
            raise ProgramRejected("debiasing needs 500 shots or more (docs.ionq.com)")
        if any(program.has_mid_circuit for program in spec.programs):
            ideal = spec.device_id == "simulator" and spec.options.get("noise_model", wire.IDEAL) == wire.IDEAL
            if len(spec.programs) > 1 or ideal:
                raise ProgramRejected(
                    "IonQ runs mid-circuit measurement and reset one circuit a job, on a QPU or with a noise model "
                    "(options={'noise_model': 'aria-1'}); its ideal simulator returns no shots for it"
                )
        if any(spec.observables):
            raise ProgramRejected("ionq samples; observables are measured by qflows in grouped circuits")
        wire.check_size(wire.payload(spec, "0" * 64))

    def submit(self, spec: JobSpec, key: str) -> Accepted:
        """POST /jobs, once. 400 401 403 404 413: Refused; never connected: NotSent; all else: Ambiguous."""
        body = self._http.post_once("/jobs", wire.payload(spec, key))
        return Accepted(body["id"])

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Reads the job list of the backends, 25 a page, to its end, or to where it is older than `since`."""
        hits: dict[str, list[Found]] = {}
        params: list[tuple[str, str]] = [("target", ",".join(sorted(device_ids))), ("limit", str(_PAGE))]
        cursor: str | None = None
        newest_first, last = True, None
        for _ in range(_MAX_PAGES):
            page = self._http.get("/jobs", [*params, *([("next", cursor)] if cursor else [])])
            moments = []
            for job in _jobs(page):
                created = wire.moment(job.get("submitted_at"))
                moments.append(created)
                # order is not documented: stopping early is allowed only while the list itself shows it
                newest_first = newest_first and created is not None and (last is None or created <= last)
                last = created
                key = wire.mapping(job.get("metadata")).get(wire.KEY)
                # a child may show its parent's metadata (not documented); it is no purchase of its own
                if key in keys and not job.get("parent_job_id"):
                    hits.setdefault(str(key), []).append(Found(str(job["id"]), created))
            cursor = page.get("next")
            if not cursor or (newest_first and moments and all(m is not None and m < since for m in moments)):
                break
        for found in hits.values():
            found.sort(key=lambda hit: (hit.created_at is None, hit.created_at or since, hit.vendor_id))
        return hits

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """GET /jobs?ids=…, 25 ids a request."""
        looks: dict[str, Observation] = {}
        for start in range(0, len(vendor_ids), _PAGE):
            ids = vendor_ids[start : start + _PAGE]
            page = self._http.get("/jobs", [("ids", vendor_id) for vendor_id in ids] + [("limit", str(_PAGE))])
            for job in _jobs(page):
                look = wire.observation(job)
                looks[str(job["id"])] = look
                if look.phase not in (Phase.QUEUED, Phase.RUNNING):
                    self._remember(job)
        return looks

    def result(self, vendor_id: str, spec: JobSpec, key: str) -> VendorResult:
        """Counts per circuit, matched by child id, never by place in an aggregate."""
        job = self._recall(vendor_id) or self._http.get_object(path("jobs", vendor_id))
        if spec.options.get("dry_run"):
            raise Refused("a dry run has no results; read the cost instead", provider="ionq")
        single = len(spec.programs) == 1
        items = [self._single(job, vendor_id, spec, key)] if single else self._children(job, vendor_id, spec, key)
        if not spec.options.get("memory"):  # as many words as shots: kept in the ledger only if wanted
            items = [replace(item, memory=None) for item in items]
        execution_ms = job.get("execution_duration_ms")
        return VendorResult(
            items=tuple(items),
            cost=self._cost(vendor_id, spec),
            started_at=wire.moment(job.get("started_at")),
            finished_at=wire.moment(job.get("completed_at")),
            qpu_s=execution_ms / 1000 if isinstance(execution_ms, int | float) else None,
            metadata={name: job[name] for name in ("backend", "stats", "noise", "type") if name in job},
        )

    def _single(self, job: Mapping[str, Any], vendor_id: str, spec: JobSpec, key: str) -> ItemResult:
        (program,) = spec.programs
        if program.has_mid_circuit:
            return wire.register_shots(
                program,
                shots=spec.shots,
                body=self._http.get(path("jobs", vendor_id, "artifacts", _shots_artifact(job))),
            )
        return self._item(job, vendor_id, program, spec, wire.item_seed(spec, key, 0))

    def _item(self, job: Mapping[str, Any], job_id: str, program: Program, spec: JobSpec, seed: int) -> ItemResult:
        results = wire.mapping(job.get("results"))
        if not results:
            job = self._http.get_object(path("jobs", job_id))
            results = wire.mapping(job.get("results"))
        params = [("sharpen", str(bool(spec.options["sharpen"])).lower())] if "sharpen" in spec.options else []
        url = wire.mapping(results.get("probabilities")).get("url")
        states = self._http.get_linked(url, path("jobs", job_id, "results", "probabilities"), params)
        shots_url = wire.mapping(results.get("shots")).get("url")
        memory = None
        if spec.options.get("memory") and (shots_url or "ionq.result.shots.json.v1" in results):
            memory = self._http.get_linked(shots_url, path("jobs", job_id, "results", "shots"), [])
        exact = spec.device_id == "simulator" and spec.options.get("noise_model", wire.IDEAL) == wire.IDEAL
        return wire.item_result(program, states, spec=spec, seed=seed, is_exact=exact, memory=memory)

    def _children(self, job: Mapping[str, Any], vendor_id: str, spec: JobSpec, key: str) -> list[ItemResult]:
        """One aggregate request when every child is in it, else the children that are missing one by one."""
        # a job from a list has no child_job_ids
        parent = job if "child_job_ids" in job else self._http.get_object(path("jobs", vendor_id))
        children = parent.get("child_job_ids")
        ids = [str(child) for child in children] if isinstance(children, list) else []
        if len(ids) != len(spec.programs):
            raise Unreadable(
                f"ionq job {vendor_id} has {len(ids)} children where {len(spec.programs)} circuits were sent",
                provider="ionq",
                body=str(parent)[:4000],
            )
        exact = spec.options.get("noise_model", wire.IDEAL) == wire.IDEAL and spec.device_id == "simulator"
        # shots, and results merged in another way, exist per child only
        one_by_one = spec.options.get("memory") or "sharpen" in spec.options
        aggregate = {} if one_by_one else self._aggregate(parent, vendor_id)
        singles = self._children_listed(vendor_id) if any(child not in aggregate for child in ids) else {}
        items = []
        for index, (child, program) in enumerate(zip(ids, spec.programs, strict=True)):
            seed = wire.item_seed(spec, key, index)
            if child in aggregate:
                items.append(wire.item_result(program, aggregate[child], spec=spec, seed=seed, is_exact=exact))
                continue
            one = singles.get(child) or self._http.get_object(path("jobs", child))
            finished = one.get("status") == "completed"
            items.append(self._item(one, child, program, spec, seed) if finished else wire.child_failure(one))
        return items

    def _aggregate(self, parent: Mapping[str, Any], vendor_id: str) -> Mapping[str, Any]:
        url = wire.mapping(wire.mapping(parent.get("results")).get("probabilities")).get("url")
        if not url:
            return {}  # a failed parent has no aggregate, its good children still have results
        body = self._http.get_linked(url, path("jobs", vendor_id, "results", "probabilities", "aggregated"), [])
        return body if isinstance(body, dict) else {}

    def _children_listed(self, vendor_id: str) -> dict[str, Mapping[str, Any]]:
        listed: dict[str, Mapping[str, Any]] = {}
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params = [("parent_job_id", vendor_id), ("limit", str(_PAGE)), *([("next", cursor)] if cursor else [])]
            page = self._http.get("/jobs", params)
            listed |= {str(job["id"]): job for job in _jobs(page)}
            cursor = page.get("next")
            if not cursor:
                break
        return listed

    def _cost(self, vendor_id: str, spec: JobSpec) -> Cost | None:
        if spec.device_id == "simulator":
            return Cost(0.0, "usd", False)
        try:
            body = self._http.get_object(path("jobs", vendor_id, "cost"))
        except (Refused, Unreadable) as error:
            log.warning("the cost of ionq job %s is not known: %s", vendor_id, error)
            return None  # counts are worth more than their price
        for name, is_estimate in (("cost", False), ("estimated_cost", True)):
            price = body.get(name)
            if isinstance(price, dict) and isinstance(price.get("value"), int | float):
                return Cost(float(price["value"]), str(price.get("unit", "usd")), is_estimate)
        return None

    def exists(self, vendor_id: str) -> bool:
        """GET /jobs/{id}."""
        try:
            self._http.get(path("jobs", vendor_id))
        except Refused as error:
            if error.http_status == 404:
                return False
            raise
        return True

    def cancel(self, vendor_id: str) -> None:
        """PUT /jobs/{id}/status/cancel; no effect on a finished job."""
        self._http.put(path("jobs", vendor_id, "status", "cancel"))

    def estimate(self, spec: JobSpec) -> Cost | None:
        """GET /jobs/estimate with the gate counts of all circuits, in the vendor's unit."""
        if spec.device_id == "simulator":
            return Cost(0.0, "usd", False)
        steps = [step for program in spec.programs for step in program.instructions]
        one = sum(len(step.qubits) == 1 and step.name not in NOT_GATES for step in steps)
        params = [
            ("backend", spec.device_id),
            ("type", "ionq.circuit.v1"),
            ("qubits", str(max(p.n_qubits for p in spec.programs))),
            ("shots", str(spec.shots or 1000)),
            ("1q_gates", str(one)),
            ("2q_gates", str(sum(p.n_two_qubit for p in spec.programs))),
            ("error_mitigation", str(bool(spec.options.get("debiasing"))).lower()),
        ]
        body = self._http.get_object("/jobs/estimate", params)
        total = body.get("estimated_total_cost")
        unit = str(body.get("estimated_unit", "usd"))
        return Cost(float(total), unit, True) if isinstance(total, int | float) else None

    def open_session(self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]) -> str:
        """POST /sessions, once. Options: `max_jobs`, `max_usd`; the limits end it even if nobody does."""
        body = sessions.request(device_id, mode=mode, max_time_s=max_time_s, options=options)
        return self._http.post_once("/sessions", body)["id"]

    def session(self, session_id: str) -> SessionInfo:
        """GET /sessions/{id}."""
        return sessions.session_info(self._http.get(path("sessions", session_id)))

    def recent_sessions(self, device_id: str, *, since: datetime) -> Sequence[SessionInfo]:
        """GET /sessions, narrowed here."""
        body = self._http.get("/sessions")
        found = [sessions.session_info(entry) for entry in _entries(body, "sessions")]
        return [
            info
            for info in found
            if info.device_id == device_id and (info.created_at is None or info.created_at >= since)
        ]

    def close_session(self, session_id: str) -> None:
        """POST /sessions/{id}/end; ending an ended session is no error."""
        self._http.post_repeatable(path("sessions", session_id, "end"))

    def cancel_session(self, session_id: str) -> None:
        """Cancels the session's unfinished jobs, then ends it."""
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            params = [("limit", str(_PAGE)), *([("next", cursor)] if cursor else [])]
            page = self._http.get(path("sessions", session_id, "jobs"), params)
            for job in _jobs(page):
                if wire.observation(job).phase in (Phase.QUEUED, Phase.RUNNING):
                    self.cancel(str(job["id"]))
            cursor = page.get("next")
            if not cursor:
                break
        self.close_session(session_id)

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
        raise Unreadable("ionq: a job list without jobs", provider="ionq", body=str(page)[:4000])
    return jobs


def _entries(body: Any, name: str) -> list[Mapping[str, Any]]:
    """A bare list, or the list under `name`: both were seen."""
    entries = wire.mapping(body).get(name) if isinstance(body, dict) else body
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Unreadable(f"ionq: a list of {name} was expected", provider="ionq", body=str(body)[:4000])
    return entries


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


def _shots_artifact(job: Mapping[str, Any]) -> str:
    for name, descriptor in wire.mapping(job.get("results")).items():
        if name.startswith("ionq.result.shots.json.v2") and "id" in wire.mapping(descriptor):
            return str(descriptor["id"])
    raise Unreadable(f"ionq job {job.get('id')} offers no shot-by-shot artifact", provider="ionq", body=str(job)[:4000])


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> IonQProvider:
    """Provider from a credentials block's fields, else from `IONQ_API_KEY` and `IONQ_API_URL` (qiskit-ionq's names).

    Given credentials do not mix with the environment: a key is sent only to the address it was given with.
    Raises CredentialsMissing naming what to set. Makes no request.
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
