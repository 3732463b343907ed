"""TinyQ behind the provider protocol: each request is sent once, and its outcome is sorted by what it proves."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from qflows.bounded_http import Answer, BoundedHttp
from qflows.errors import Ambiguous, CredentialsMissing, ProgramRejected, ProviderError, Refused, Throttled, Unreadable
from qflows.model import Quote
from qflows.privacy.accounts import account_name
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
    Prepared,
    RawAnswer,
    VendorOptions,
    VendorResult,
)
from tinyq_qflows import wire

PRODUCTION = "https://api.tinyq.example"
_PAGE = 50  # ids a request, and jobs of a tag


class TinyQOptions(VendorOptions):
    """TinyQ has no options."""


class TinyQProvider:
    """One TinyQ key. Safe for several threads: it keeps nothing but a connection pool."""

    name = "tinyq"
    job_page = None
    capabilities = Capabilities(
        lookup=Lookup.QUERY,
        settle_s=5.0,  # how late a tag is found is not documented
        poll_page=_PAGE,
        pace=Pace(first_s=0.2, rate=2.0),
        max_programs=wire.MAX_PROGRAMS,
    )

    def __init__(self, *, url: str, key: str, timeout_s: float) -> None:
        self._http = BoundedHttp(
            name="tinyq",
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            secrets=[key],
            timeout_s=timeout_s,
        )
        self.account = account_name(url, key)

    def read(self, source: Any) -> Program | None:
        """TinyQ has no program form of its own."""
        return None

    def devices(self) -> Sequence[DeviceInfo]:
        """GET /v1/devices."""
        listed = self._get("/v1/devices").get("devices")
        return [DeviceInfo(one["name"], one["qubits"], one["simulator"], one["online"]) for one in _objects(listed)]

    def limits(self, device_id: str) -> Limits:
        """From the list of devices. Raises Refused for one that is not in it."""
        for one in self.devices():
            if one.device_id == device_id:
                return Limits(max_qubits=one.n_qubits, max_shots=100_000, max_programs=wire.MAX_PROGRAMS)
        raise Refused(f"tinyq has no device {device_id}; `qflows devices` lists them", provider="tinyq")

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """None."""
        return TinyQOptions

    def check(self, spec: JobSpec) -> None:
        """Refuses options, and what the body cannot hold."""
        try:
            TinyQOptions.model_validate(dict(spec.options))
        except ValidationError:
            raise ProgramRejected(f"tinyq has no options; remove {', '.join(sorted(spec.options))}") from None
        wire.body(spec, "0" * 64)

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """The body as bytes. No I/O."""
        self.check(spec)
        return Prepared(spec, key, wire.body(spec, key))

    def send(self, prepared: Prepared) -> Accepted:
        """POST /v1/jobs, once. Refusals on TinyQ's own word; anything but an id else may have bought the job."""
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._http.exchange("POST", "/v1/jobs", content=prepared.body, headers=headers)
        except Unreadable as error:
            raise Ambiguous(f"{error}; it may have the job", provider="tinyq") from None
        said = answer.json()
        if answer.status == 201 and isinstance(said, dict) and isinstance(said.get("id"), str):
            return Accepted(said["id"])
        if answer.status in (400, 401, 403, 404, 413):
            raise _refusal(answer)
        raise Ambiguous(
            f"tinyq answered {answer.status} to a submission without an id; it may have the job",
            provider="tinyq",
            http_status=answer.status,
            retry_after_s=answer.retry_after_s,
            body=answer.text,
        )

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """GET /v1/jobs?tag=KEY, one request a key."""
        found: dict[str, list[Found]] = {}
        for key in keys:
            jobs = _objects(self._get("/v1/jobs", [("tag", key)]).get("jobs"))
            if jobs:
                found[key] = [Found(job["id"], wire.created(job)) for job in jobs]
        return found

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """GET /v1/jobs?id=…, 50 ids a request."""
        looks: dict[str, Observation] = {}
        for start in range(0, len(vendor_ids), _PAGE):
            page = self._get("/v1/jobs", [("id", one) for one in vendor_ids[start : start + _PAGE]])
            looks |= {job["id"]: wire.observation(job) for job in _objects(page.get("jobs"))}
        return looks

    def exists(self, vendor_id: str) -> bool:
        """GET /v1/jobs/{id}; False on the code `no_such_job` only."""
        try:
            self._get(f"/v1/jobs/{vendor_id}")
        except Refused as error:
            if error.vendor_code == "no_such_job":
                return False
            raise
        return True

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """GET /v1/jobs/{id}/counts, as it came."""
        answer = self._read("GET", f"/v1/jobs/{vendor_id}/counts")
        if answer.json() is None:
            raise _unreadable(answer)
        return RawAnswer({wire.COUNTS: answer.content})

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Counts a program."""
        return wire.decode(raw, spec)

    def cancel(self, vendor_id: str) -> None:
        """POST /v1/jobs/{id}/cancel; safe to repeat."""
        self._read("POST", f"/v1/jobs/{vendor_id}/cancel")

    def estimate(self, spec: JobSpec) -> Quote:
        """Free."""
        return Quote(Decimal(0), Decimal(0), "usd", "TinyQ API page, 2026-11-01")

    def _get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Mapping[str, Any]:
        answer = self._read("GET", path, params)
        said = answer.json()
        if not isinstance(said, dict):
            raise _unreadable(answer)
        return said

    def _read(self, method: str, path: str, params: Sequence[tuple[str, str]] = ()) -> Answer:
        """One request that may be repeated, answered 2xx."""
        answer = self._http.exchange(method, path, params=params)
        if answer.is_success:
            return answer
        if answer.status == 429:
            raise Throttled(
                "tinyq asks for fewer requests",
                provider="tinyq",
                http_status=429,
                retry_after_s=answer.retry_after_s,
            )
        if answer.status < 500 and isinstance(answer.json(), dict):
            raise _refusal(answer)
        raise _unreadable(answer)


def _objects(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Unreadable("tinyq: a list of objects was expected", provider="tinyq", body=str(found)[:4000])
    return found


def _unreadable(answer: Answer) -> ProviderError:
    kind = Unreadable if answer.is_success else Ambiguous
    return kind(
        f"tinyq answered {answer.status} without a document of its API",
        provider="tinyq",
        http_status=answer.status,
        body=answer.text,
    )


def _refusal(answer: Answer) -> Refused:
    said = answer.json()
    error = said.get("error") if isinstance(said, dict) else None
    error = error if isinstance(error, dict) else {}
    text = str(error.get("message") or answer.text)[:500]
    return Refused(
        f"tinyq refused ({answer.status}): {text}",
        provider="tinyq",
        http_status=answer.status,
        vendor_code=str(error["code"]) if "code" in error else None,
        vendor_message=text,
        body=answer.text,
    )


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> TinyQProvider:
    """From the fields of a credentials block, else from `TINYQ_KEY` and `TINYQ_URL`. Raises CredentialsMissing."""
    environment = {"key": os.environ.get("TINYQ_KEY"), "url": os.environ.get("TINYQ_URL")}
    given = environment if credentials is None else credentials
    key = given.get("key")
    key = key.get_secret_value() if hasattr(key, "get_secret_value") else key
    if not key:
        raise CredentialsMissing("no TinyQ key: set TINYQ_KEY, or name a credentials block in the device profile")
    return TinyQProvider(url=str(given.get("url") or PRODUCTION).rstrip("/"), key=str(key), timeout_s=timeout_s)
