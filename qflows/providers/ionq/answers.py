"""The answer to a finished IonQ job: downloaded as documents that are stored, and decoded from them, now or years
later.

Names of the documents: `job`; of one circuit `probabilities`, `sharpened`, `shots` and `registers`; of several
`aggregated`, `children/<page>`, and `<child id>/...` as for one circuit; `cost`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from qflows.errors import Refused, Unreadable
from qflows.model import Cost, ItemResult
from qflows.programs import Program
from qflows.protocol import JobSpec, RawAnswer, VendorResult
from qflows.providers.ionq import results, wire
from qflows.providers.ionq.http import BULK_BYTES, LIST_BYTES, RESULT_BYTES, IonQHttp, path
from qflows.providers.ionq.options import SIMULATOR
from qflows.providers.ionq.wire import mapping

log = logging.getLogger("qflows.providers.ionq")

_PAGE = 25
_MAX_PAGES = 1 + wire.MAX_CIRCUITS // _PAGE
_V1, _V2 = "ionq.result.probabilities.json.v1", "ionq.result.probabilities.json.v2"
_AGGREGATE = "ionq.result.probabilities-aggregate.json.v1"
_SHOTS, _SHOTS_2 = "ionq.result.shots.json.v1", "ionq.result.shots.json.v2"


class Download:
    """The documents of one job, each read once. `known`: the job as a poll has just returned it."""

    def __init__(self, http: IonQHttp, vendor_id: str, spec: JobSpec, known: Mapping[str, Any] | None) -> None:
        self._http = http
        self._id = vendor_id
        self._spec = spec
        self._known = known
        self._kept: dict[str, bytes] = {}

    def documents(self) -> Mapping[str, bytes]:
        """All of them, in the order in which they were read."""
        is_dry = bool(self._spec.options.get("dry_run"))
        job = self._job(needs_children=len(self._spec.programs) > 1 and not is_dry, needs_results=not is_dry)
        if not is_dry:
            if len(self._spec.programs) > 1:
                self._composite(job)
            else:
                self._circuit("", self._id, job, is_openqasm=any(p.has_mid_circuit for p in self._spec.programs))
        if self._spec.device_id != SIMULATOR:
            self._cost()
        return self._kept

    def _keep(self, name: str, document: bytes) -> Any:
        self._kept[name] = document
        return results.parse(document, name)

    def _job(self, *, needs_children: bool, needs_results: bool) -> Mapping[str, Any]:
        job = self._known
        # a job from a list has no child_job_ids
        if job is None or (needs_children and "child_job_ids" not in job) or (needs_results and not job.get("results")):
            return _object(self._keep("job", self._http.document(path("jobs", self._id), max_bytes=LIST_BYTES)))
        return _object(self._keep("job", json.dumps(dict(job)).encode()))

    def _circuit(self, under: str, job_id: str, job: Mapping[str, Any], *, is_openqasm: bool) -> None:
        """Download the results of one circuit, every view of them."""
        found = mapping(job.get("results"))
        if is_openqasm:
            artifact = _artifact(found, _SHOTS_2)
            if artifact is None:
                raise Unreadable(
                    f"ionq job {job_id} offers no shot-by-shot artifact", provider="ionq", body=str(job)[:4000]
                )
            document = self._http.document(path("jobs", job_id, "artifacts", artifact), max_bytes=BULK_BYTES)
            self._kept[under + "registers"] = document
            return
        url, where = mapping(found.get("probabilities")).get("url"), path("jobs", job_id, "results", "probabilities")
        if url is None and _V1 not in found and (second := _artifact(found, _V2)) is not None:
            where = path("jobs", job_id, "artifacts", second)
        self._kept[under + "probabilities"] = self._http.document(where, url=url, max_bytes=RESULT_BYTES)
        if self._spec.options.get("debiasing"):
            # the plurality vote is another view of the same shots, not another purchase
            params = [("sharpen", "true")]
            self._kept[under + "sharpened"] = self._http.document(where, params, url=url, max_bytes=RESULT_BYTES)
        shots_url = mapping(found.get("shots")).get("url")
        if self._spec.options.get("memory") and (shots_url or _SHOTS in found):
            where = path("jobs", job_id, "results", "shots")
            self._kept[under + "shots"] = self._http.document(where, url=shots_url, max_bytes=RESULT_BYTES)

    def _composite(self, job: Mapping[str, Any]) -> None:
        children = job.get("child_job_ids")
        if not isinstance(children, list) or len(children) != len(self._spec.programs):
            n = len(children) if isinstance(children, list) else 0
            raise Unreadable(
                f"ionq job {self._id} has {n} children where {len(self._spec.programs)} circuits were sent",
                provider="ionq",
                body=str(job)[:4000],
            )
        listed = self._children()
        aggregated: Mapping[str, Any] = {}
        # shots, and results merged in another way, exist per child only
        if not self._spec.options.get("memory") and not self._spec.options.get("debiasing"):
            aggregated = self._aggregated(job)
        for child in map(str, children):
            if child in aggregated:
                continue
            one = listed.get(child)
            if one is None:
                one = _object(self._keep(f"{child}/job", self._http.document(path("jobs", child))))
            if one.get("status") == "completed":
                self._circuit(f"{child}/", child, one, is_openqasm=False)

    def _aggregated(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        found = mapping(job.get("results"))
        url = mapping(found.get("probabilities")).get("url")
        if not url and _AGGREGATE not in found:
            return {}  # a failed parent has no aggregate, but its good children have results
        where = path("jobs", self._id, "results", "probabilities", "aggregated")
        return mapping(self._keep("aggregated", self._http.document(where, url=url, max_bytes=BULK_BYTES)))

    def _children(self) -> dict[str, Mapping[str, Any]]:
        cursor: str | None = None
        found: dict[str, Mapping[str, Any]] = {}
        for page in range(_MAX_PAGES):
            params = [("parent_job_id", self._id), ("limit", str(_PAGE)), *([("next", cursor)] if cursor else [])]
            body = self._keep(f"children/{page}", self._http.document("/jobs", params, max_bytes=LIST_BYTES))
            found |= _children_in(body)
            cursor = mapping(body).get("next")
            if not cursor:
                break
        return found

    def _cost(self) -> None:
        try:
            self._kept["cost"] = self._http.document(path("jobs", self._id, "cost"))
        except (Refused, Unreadable) as error:
            # 404 while none exists; counts matter more than their price
            log.warning("the cost of ionq job %s is not known: %s", self._id, error)


def decode(raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
    """Decode the documents of a download. Raises Unreadable, also if another backend than the requested one
    answered."""
    read = {name: results.parse(body, name) for name, body in raw.documents.items() if name != "cost"}
    job = _object(read.get("job"))
    _check_backend(job, spec)
    if spec.options.get("dry_run"):
        note = "a dry run has no results: IonQ compiled and priced the circuit, and did not run it"
        items = [ItemResult(metadata={"notes": [note]}) for _ in spec.programs]
    elif len(spec.programs) == 1:
        items = [_item("", read, spec.programs[0], spec, wire.item_seed(spec, key, 0))]
    else:
        items = _items(job, read, spec, key)
    if not spec.options.get("memory"):  # as many words as shots: stored in the ledger only on request
        items = [replace(item, memory=None) for item in items]
    execution_ms = job.get("execution_duration_ms")
    notes = _settings_notes(job, spec)
    return VendorResult(
        items=tuple(items),
        cost=_cost(raw.documents.get("cost"), spec),
        started_at=wire.moment(job.get("started_at")),
        finished_at=wire.moment(job.get("completed_at")),
        qpu_s=execution_ms / 1000 if _is_number(execution_ms) else None,
        metadata={name: job[name] for name in ("backend", "stats", "noise", "type") if name in job}
        | ({"notes": notes} if notes else {}),
    )


def _item(under: str, read: Mapping[str, Any], program: Program, spec: JobSpec, seed: int) -> ItemResult:
    if program.has_mid_circuit:
        return results.register_shots(program, read.get(under + "registers"), shots=spec.shots)
    return results.item_result(
        program,
        read.get(under + "probabilities"),
        spec=spec,
        seed=seed,
        memory=read.get(under + "shots"),
        sharpened=read.get(under + "sharpened"),
    )


def _items(job: Mapping[str, Any], read: Mapping[str, Any], spec: JobSpec, key: str) -> list[ItemResult]:
    listed: dict[str, Mapping[str, Any]] = {}
    for name, body in read.items():
        if name.startswith("children/"):
            listed |= _children_in(body)
        elif name.endswith("/job"):
            listed |= {name.removesuffix("/job"): _object(body)}
    aggregated = mapping(read.get("aggregated"))
    children = job.get("child_job_ids")
    if not isinstance(children, list) or len(children) != len(spec.programs):
        raise Unreadable("ionq: the job does not name one child for each circuit", provider="ionq")
    items = []
    for index, one in enumerate(ordered(children, listed, spec)):
        child, program, seed = one["id"], spec.programs[index], wire.item_seed(spec, key, index)
        if child in aggregated:
            items.append(results.item_result(program, aggregated[child], spec=spec, seed=seed))
        elif f"{child}/probabilities" in read:
            items.append(_item(f"{child}/", read, program, spec, seed))
        else:
            items.append(results.child_failure(one))
    return items


def ordered(children: list[Any], listed: Mapping[str, Mapping[str, Any]], spec: JobSpec) -> list[Mapping[str, Any]]:
    """The children in the order of the circuits, distinguished by the names they were given.

    The order of `child_job_ids` is not promised (API v0.4 description). It is used if children have other names than
    ours, like those of jobs that were sent before circuits had unique names. Raises Unreadable if only some of the
    names are ours, or one occurs twice.
    """
    given: list[Mapping[str, Any]] = [
        {"id": str(child), **listed.get(str(child), {})} | {"id": str(child)} for child in children
    ]
    place_of = {wire.circuit_name(place, program): place for place, program in enumerate(spec.programs)}
    places = [place_of.get(str(one.get("name"))) for one in given]
    if all(place is None for place in places):
        return given
    if sorted(place for place in places if place is not None) != list(range(len(given))):
        names = [str(one.get("name"))[:64] for one in given if str(one.get("name")) not in place_of]
        raise Unreadable(
            f"ionq: the children of a job do not have the names of its circuits ({names[:3]} are among them)",
            provider="ionq",
        )
    return [one for _, one in sorted(zip(places, given, strict=True), key=lambda pair: pair[0] or 0)]


def _cost(document: bytes | None, spec: JobSpec) -> Cost | None:
    """The bill, otherwise IonQ's own estimate; a bad cost document must not lose counts."""
    if spec.device_id == SIMULATOR:
        return Cost(0.0, "usd", False)
    try:
        body = mapping(results.parse(document or b"{}", "cost"))
    except Unreadable:
        return None
    is_dry = bool(spec.options.get("dry_run"))  # nothing is billed, and the quote was what was requested
    for name, is_estimate in (("estimated_cost", True),) if is_dry else (("cost", False), ("estimated_cost", True)):
        price = mapping(body.get(name))
        if _is_number(price.get("value")):
            return Cost(float(price["value"]), str(price.get("unit") or "usd"), is_estimate)
    return None


def _check_backend(job: Mapping[str, Any], spec: JobSpec) -> None:
    """Reject counts of another device: jobs for an unavailable QPU came back completed by `simulator` (2026-07)."""
    backend = job.get("backend")
    if isinstance(backend, str) and backend != spec.device_id:
        raise Unreadable(
            f"ionq ran the job on {backend[:80]} where {spec.device_id} was requested; its counts are not those of "
            f"{spec.device_id}",
            provider="ionq",
            body=str(job)[:4000],
        )


def _settings_notes(job: Mapping[str, Any], spec: JobSpec) -> list[str]:
    """What IonQ reports as different from the request: members it does not know are silently ignored."""
    done = mapping(mapping(job.get("settings")).get("error_mitigation"))
    if spec.device_id == SIMULATOR:
        return []
    asked = {name: bool(spec.options.get(name)) for name in ("debiasing", "symmetry_verification")}
    return [
        f"{name} was {wanted} in the job as sent and is {done[name]} in IonQ's record of it"
        for name, wanted in asked.items()
        if isinstance(done.get(name), bool) and done[name] != wanted
    ]


def _artifact(found: Mapping[str, Any], format_: str) -> str | None:
    descriptor = mapping(found.get(format_))
    return str(descriptor["id"]) if descriptor.get("id") else None


def _children_in(body: Any) -> dict[str, Mapping[str, Any]]:
    jobs = mapping(body).get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(job, dict) and "id" in job for job in jobs):
        raise Unreadable("ionq: the job list has no member jobs", provider="ionq", body=str(body)[:4000])
    return {str(job["id"]): job for job in jobs}


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict) or not body:
        raise Unreadable("ionq: a job is not an object", provider="ionq", body=str(body)[:4000])
    return body


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
