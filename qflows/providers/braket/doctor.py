"""Checking an AWS account: its identity, its rights, and its results bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any

from qflows.errors import ProviderError
from qflows.protocol import Bench, Fact, Finding, JobSpec, Prepared, Verdict
from qflows.providers.braket import bulk
from qflows.providers.braket.account import Account
from qflows.providers.braket.aws import Aws
from qflows.providers.braket.buckets import REMEDY, trouble_with
from qflows.providers.braket.devices import Device

REGIONS = ("us-east-1", "us-west-1", "eu-north-1")
"""Regions with QPUs (device pages, stored copy 2026)."""


class Doctor:
    """The half of the provider that checks its account."""

    _aws: Aws
    _account: Account
    prepare: Callable[[JobSpec, str], Prepared]
    _fetch_device: Callable[[str], Device]
    _devices: dict[str, tuple[Device, float]]
    _lock: Lock
    _keeps_barriers = True

    def addresses(self) -> Mapping[str, str]:
        """Braket in the caller's region, and S3."""
        region = self._account.region
        services = {"Braket": "braket", "S3": "s3"}
        found = {name: str(self._aws.client(service, region).meta.endpoint_url) for name, service in services.items()}
        return {name: url for at, (name, url) in enumerate(found.items()) if url not in list(found.values())[:at]}

    def diagnose(self) -> Iterator[Finding]:
        """Ask STS, search devices and tasks region by region, and check the results bucket."""
        yield Finding("client", Verdict.OK, _versions())
        region = self._account.region
        yield _asking(
            "identity",
            lambda: self._aws.call("sts", region, "GetCallerIdentity"),
            lambda body: f"account {body.get('Account')}, region {region}",
            "check the AWS keys, their expiry, and the profile (AWS_PROFILE)",
        )
        for one in dict.fromkeys((region, *REGIONS)):
            yield from self._region_findings(one, is_own=one == region)
        yield self._bucket_finding(region)

    def _region_findings(self, region: str, *, is_own: bool) -> Iterator[Finding]:
        verdict = Verdict.WRONG if is_own else Verdict.ADVICE
        remedy = "allow braket:SearchDevices, braket:GetDevice and the region (service control policies, opt-in)"
        seen = _asking(
            f"right: devices in {region}",
            lambda: self._aws.call("braket", region, "SearchDevices", filters=[], maxResults=100),
            lambda body: f"{len(body.get('devices', ()))} listed",
            remedy if is_own else f"devices of {region} cannot be used; {remedy}",
            otherwise=verdict,
        )
        yield seen
        if seen.verdict is not Verdict.OK:
            return
        yield _asking(
            f"right: find tasks in {region}",
            lambda: self._aws.call("braket", region, "SearchQuantumTasks", filters=_last_hour(), maxResults=bulk.PAGE),
            lambda body: _tags_note(body.get("quantumTasks", ())),
            "allow braket:SearchQuantumTasks: a lost answer is found again by it",
            otherwise=verdict,
        )

    def _bucket_finding(self, region: str) -> Finding:
        check = "results bucket"
        if self._account.bucket is None:
            return Finding(
                check, Verdict.OK, "the SDK's default bucket of each region, made at the first task (s3:CreateBucket)"
            )
        try:
            told = trouble_with(self._aws, region, self._account.bucket)
        except ProviderError as error:
            return Finding(check, Verdict.WRONG, str(error), "allow s3:ListBucket on the results bucket")
        if told is None:
            return Finding(check, Verdict.OK, f"{self._account.bucket}, in {region}")
        return Finding(check, Verdict.WRONG, told, REMEDY)

    def measure(self, bench: Bench) -> Iterator[Fact]:
        """With the smallest tasks on the cheapest device, and by reading; see `probing`."""
        from qflows.providers.braket import probing  # builds circuits, and loading Qiskit takes a second

        return probing.measure(self._aws, self.prepare, self._fetch_device, bench)

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Stop relying on barriers that AWS's compilers do not keep; either answer to everything else is handled."""
        self._keeps_barriers = facts.get("barriers") != "merged"
        with self._lock:
            self._devices.clear()


def _versions() -> str:
    found = [f"boto3 {version('boto3')}", f"botocore {version('botocore')}"]
    try:
        found.append(f"amazon-braket-sdk {version('amazon-braket-sdk')}")
    except PackageNotFoundError:
        pass  # not needed for buying
    return ", ".join(found)


def _last_hour() -> list[dict[str, Any]]:
    since = datetime.now(UTC) - timedelta(hours=1)
    return [{"name": "createdAt", "operator": "GTE", "values": [since.isoformat(timespec="seconds")]}]


def _tags_note(tasks: Any) -> str:
    return "tasks can be searched" + ("; their tags are shown" if any(t.get("tags") for t in tasks) else "")


def _asking(
    check: str,
    ask: Callable[[], Mapping[str, Any]],
    tell: Callable[[Mapping[str, Any]], str],
    remedy: str,
    otherwise: Verdict = Verdict.WRONG,
) -> Finding:
    try:
        return Finding(check, Verdict.OK, tell(ask()))
    except ProviderError as error:
        return Finding(check, otherwise, str(error), remedy)
