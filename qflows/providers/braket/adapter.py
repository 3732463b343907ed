"""Amazon Braket behind the provider protocol: boto3, each request sent once.

A lost answer is settled by SearchQuantumTasks: it cannot filter by tag, but every summary carries its tags, so a
window of creation times is read to its end and matched. The job key is the client token as well, which makes a second
submission harmless for as long as AWS remembers it; how long that is, is documented nowhere, so nothing rests on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from qflows.errors import Ambiguous, NotSent, ProgramRejected, Refused, Unreadable
from qflows.model import Cost
from qflows.programs import Program, to_program
from qflows.programs.to_openqasm import BRAKET
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
from qflows.providers.braket import bulk, wire
from qflows.providers.braket.account import Account
from qflows.providers.braket.aws import Aws
from qflows.providers.braket.devices import Device
from qflows.providers.braket.queue import Places
from qflows.providers.braket.tags import Tags

_SEEN = 50_000
# where QPUs are (device pages, stored copy 2026); the caller's own region comes first
_REGIONS = ("us-east-1", "us-west-1", "eu-north-1")


class BraketProvider(Tags):
    """One AWS account's Braket. Safe for use from several threads."""

    name = "braket"
    capabilities = Capabilities(
        lookup=Lookup.QUERY,
        settle_s=15.0,  # how far a search lags behind Create is not documented; two looks this far apart
        poll_page=bulk.PAGE,
        pace=Pace(first_s=1.0, factor=1.5, max_s=30.0),
        max_programs=100,  # per device in `limits`: only some take program sets
        max_job_shots=wire.MAX_SET_SHOTS,
        retags=True,
    )

    def __init__(self, aws: Aws, account: Account) -> None:
        self._aws = aws
        self._account = account
        self.account = account.name
        self.job_page = "https://console.aws.amazon.com/braket/home#/tasks" if account.is_amazon else None
        self._bulk = bulk.Bulk(self._search)
        self._places = Places(lambda arn: wire.observation(self._get(arn)))
        self._devices: dict[str, Device] = {}
        self._seen: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._lock, self._describing = Lock(), Lock()

    def read(self, source: Any) -> Program | None:
        """Braket's OpenQASM program object (`braket.ir.openqasm.Program`) as a program."""
        if not type(source).__module__.startswith("braket.ir.openqasm") or not hasattr(source, "source"):
            return None
        from braket.circuits import Circuit

        return to_program(Circuit.from_ir(source.source, inputs=dict(source.inputs or {})))

    # -- devices -----------------------------------------------------------------------------------------------

    def devices(self) -> Sequence[DeviceInfo]:
        """SearchDevices in every region with QPUs, then GetDevice for each that is not retired."""
        arns: dict[str, None] = {}
        for region in dict.fromkeys((self._account.region, *_REGIONS)):
            token: str | None = None
            while True:
                more = {"nextToken": token} if token else {}
                page = self._aws.call("braket", region, "SearchDevices", filters=[], maxResults=100, **more)
                live = (entry for entry in page.get("devices", ()) if entry.get("deviceStatus") != "RETIRED")
                arns |= dict.fromkeys(str(entry["deviceArn"]) for entry in live)
                token = page.get("nextToken")
                if not token:
                    break
        return [self._fetch_device(arn).info() for arn in arns if wire.is_device(arn)]

    def limits(self, device_id: str) -> Limits:
        """GetDevice. Raises Refused for an unknown device."""
        return self._fetch_device(device_id).limits()

    def _fetch_device(self, arn: str) -> Device:
        if not wire.is_device(arn):
            raise Refused(f"{arn!r} is not the ARN of a Braket device (arn:aws:braket:...)", provider="braket")
        device = Device.read(self._aws.call("braket", self._region(arn), "GetDevice", deviceArn=arn))
        with self._lock:
            self._devices[arn] = device
        return device

    def _device(self, arn: str) -> Device:
        """As of the first look: gates and prices do not change under a running process."""
        with self._describing:  # many threads start with the same device
            with self._lock:
                known = self._devices.get(arn)
            return known or self._fetch_device(arn)

    def _region(self, device_id: str) -> str:
        return wire.region_of(device_id) or self._account.region

    # -- submission --------------------------------------------------------------------------------------------

    def check(self, spec: JobSpec) -> None:
        """Refuses unknown options, missing shots, and circuits Braket's OpenQASM cannot carry."""
        if not wire.is_device(spec.device_id):
            raise ProgramRejected(f"{spec.device_id!r} is not the ARN of a Braket device (arn:aws:braket:...)")
        unknown = set(spec.options) - wire.OPTIONS
        if unknown:
            raise ProgramRejected(
                f"braket has no option {sorted(unknown)[0]!r}; there are {', '.join(sorted(wire.OPTIONS))}"
            )
        if spec.shots is None:
            raise ProgramRejected("braket needs shots; pass shots= (exact evaluation: device='local-exact')")
        if any(spec.observables):
            raise ProgramRejected("observables are measured by qflows in grouped circuits, not by Braket")
        mitigation = spec.options.get("error_mitigation")
        if mitigation is not None:
            if mitigation not in wire.MITIGATIONS or "/ionq/" not in spec.device_id or len(spec.programs) > 1:
                raise ProgramRejected(f"error_mitigation {mitigation!r}: 'debias' exists, for single circuits on IonQ")
            if spec.shots < wire.MIN_MITIGATED_SHOTS:
                raise ProgramRejected(f"error mitigation needs {wire.MIN_MITIGATED_SHOTS} shots or more")
        if spec.options.get("verbatim") and "/qpu/" not in spec.device_id:
            raise ProgramRejected("verbatim is for QPUs")
        with self._lock:
            device = self._devices.get(spec.device_id)
        for program in spec.programs:
            wire.source_of(program, spec, device.gates if device else BRAKET)

    def submit(self, spec: JobSpec, key: str) -> Accepted:
        """CreateQuantumTask, once, with the key as client token and tag.

        400 401 402 403 404 410 424: Refused; never connected: NotSent; all else, throttling too: Ambiguous. The first
        submission to a device reads its gates, and the first without a given bucket looks for the default one.
        """
        region = self._region(spec.device_id)
        try:
            device = self._device(spec.device_id)
            bucket, prefix = self._account.place(region)
        except Ambiguous as error:  # a read in advance: the task itself was not sent
            raise NotSent(
                f"before the submission: {error}", provider="braket", http_status=error.http_status
            ) from error
        except Unreadable as error:
            raise Refused(f"{error}; nothing was sent", provider="braket", body=error.body) from error
        if refusal := device.refusal(len(spec.programs), spec.shots or 0):
            raise Refused(refusal, provider="braket")
        try:
            request = wire.request(spec, key, gates=device.gates, bucket=bucket, prefix=prefix)
        except ProgramRejected as error:  # only now are the device's gates known; nothing was sent
            raise Refused(f"{device.name}: {error}", provider="braket") from error
        sent_at = datetime.now(UTC)
        arn = self._aws.create(region, request).get("quantumTaskArn")
        if not isinstance(arn, str) or not wire.is_task(arn):
            raise Ambiguous("braket answered a submission without a task; it may have it", provider="braket")
        self._bulk.made(arn, sent_at, datetime.now(UTC))
        return Accepted(arn)

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Reads the tasks created since then on these devices, 100 a page, and matches their tags."""
        hits: dict[str, list[Found]] = {}
        by_region: dict[str, set[str]] = {}
        for device_id in device_ids:
            by_region.setdefault(self._region(device_id), set()).add(device_id)
        for region, devices in by_region.items():
            for filters in bulk.created_since(since, devices):
                for task in bulk.pages_of(self._search, region, filters):
                    key = wire.key_in(task, keys)
                    if key is not None:
                        found = Found(str(task["quantumTaskArn"]), wire.moment(task.get("createdAt")))
                        hits.setdefault(key, []).append(found)
        for found in hits.values():
            found.sort(key=lambda hit: (hit.created_at is None, hit.created_at or since, hit.vendor_id))
        return hits

    def _search(self, region: str, filters: list[dict[str, Any]], token: str | None) -> dict[str, Any]:
        more = {"nextToken": token} if token else {}
        return self._aws.call("braket", region, "SearchQuantumTasks", filters=filters, maxResults=bulk.PAGE, **more)

    # -- waiting -----------------------------------------------------------------------------------------------

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """SearchQuantumTasks, 100 tasks a request where it can be.

        One GetQuantumTask more per failed task, for its reason, for up to ten tasks that no search shows, and for a
        few queued ones, for their place (`queue.ASKED`).
        """
        looks: dict[str, Observation] = {}
        summaries = self._bulk.tasks(vendor_ids)
        hidden = [arn for arn in dict.fromkeys(vendor_ids) if arn not in summaries and wire.is_task(arn)]
        for arn in hidden[: bulk.BY_ARN]:  # the index lags, or reads filters in a way of its own
            try:
                summaries[arn] = self._get(arn)
            except Refused as error:
                if error.http_status != 404:
                    raise
        for arn, summary in summaries.items():
            # a search does not say why a task failed
            task = self._get(arn) if wire.observation(summary).phase is Phase.FAILED else summary
            looks[arn] = wire.observation(task)
            if looks[arn].phase in (Phase.DONE, Phase.FAILED):
                self._remember(arn, task)
        return self._places.added(looks)

    def _get(self, arn: str) -> Mapping[str, Any]:
        if not wire.is_task(arn):
            raise Refused(f"{arn!r} is not the ARN of a quantum task", provider="braket")
        region = str(wire.region_of(arn))
        return self._aws.call(
            "braket", region, "GetQuantumTask", quantumTaskArn=arn, additionalAttributeNames=["QueueInfo"]
        )

    def result(self, vendor_id: str, spec: JobSpec, key: str) -> VendorResult:
        """Reads `results.json` from the task's bucket. A task without one is Refused if it failed or was cancelled,
        else Ambiguous: S3 may lag, and reading again is free.
        """
        task = self._recall(vendor_id) or self._get(vendor_id)
        bucket, directory = str(task["outputS3Bucket"]), str(task["outputS3Directory"])
        try:
            document = self._aws.read_object(str(wire.region_of(vendor_id)), bucket, f"{directory}/results.json")
        except Refused as error:
            if error.vendor_code not in ("NoSuchKey", "404"):
                raise
            raise self._no_result(vendor_id, task) from None
        results = wire.items(spec, document)
        metadata = document.get("additionalMetadata") or {}
        simulator = metadata.get("simulatorMetadata") or {}
        duration_ms = simulator.get("executionDuration")
        duration_ms = duration_ms if isinstance(duration_ms, int | float) else None
        successful = (document.get("taskMetadata") or {}).get("successfulShots")
        return VendorResult(
            items=results,
            cost=self._cost(spec, successful if isinstance(successful, int) else None, duration_ms),
            finished_at=wire.moment(task.get("endedAt")),
            qpu_s=duration_ms / 1000 if duration_ms is not None else None,
            metadata={"bucket": bucket, "directory": directory},
        )

    def _no_result(self, vendor_id: str, task: Mapping[str, Any]) -> Refused | Ambiguous:
        look = wire.observation(task)
        if look.phase in (Phase.FAILED, Phase.CANCELLED):
            return Refused(
                f"braket task {vendor_id} is {look.word} and has no results: {look.error_message or 'no reason given'}",
                provider="braket",
                vendor_code=look.word,
                vendor_message=look.error_message,
            )
        return Ambiguous(f"braket task {vendor_id} is {look.word}, its results are not in S3 yet", provider="braket")

    def _cost(self, spec: JobSpec, successful: int | None, duration_ms: float | None) -> Cost | None:
        shots = successful if successful is not None else (spec.shots or 0) * len(spec.programs)
        reserved = "reservation_arn" in spec.options
        try:
            return self._device(spec.device_id).cost(shots, duration_ms=duration_ms, is_reserved=reserved)
        except Refused:  # counts must not be lost because the device's page may not be read
            return None

    def exists(self, vendor_id: str) -> bool:
        """GetQuantumTask."""
        try:
            self._get(vendor_id)
        except Refused as error:
            if error.http_status == 404:
                return False
            raise
        return True

    def cancel(self, vendor_id: str) -> None:
        """CancelQuantumTask. A task that has ended answers with a conflict, which is no error here."""
        if not wire.is_task(vendor_id):
            raise Refused(f"{vendor_id!r} is not the ARN of a quantum task", provider="braket")
        try:
            self._aws.call("braket", str(wire.region_of(vendor_id)), "CancelQuantumTask", quantumTaskArn=vendor_id)
        except Refused as error:
            if error.http_status != 409:
                raise

    def estimate(self, spec: JobSpec) -> Cost | None:
        """0.30 USD per task and the shot price of the device; None for simulators, which bill time."""
        reserved = "reservation_arn" in spec.options
        shots = (spec.shots or 0) * len(spec.programs)
        return self._device(spec.device_id).cost(shots, is_reserved=reserved)

    def _remember(self, arn: str, task: Mapping[str, Any]) -> None:
        with self._lock:
            self._seen[arn] = task
            while len(self._seen) > _SEEN:
                self._seen.popitem(last=False)

    def _recall(self, arn: str) -> Mapping[str, Any] | None:
        with self._lock:
            return self._seen.get(arn)


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> BraketProvider:
    """Provider from a credentials block's fields, else from the environment, as boto3 and the Braket SDK read it.

    Raises CredentialsMissing naming what to set. Makes no request, but for boto3's own search for credentials.
    """
    account, session = Account.of(dict(credentials or {}))
    aws = Aws(
        session,
        endpoint_url=account.endpoint_url,
        timeout_s=timeout_s,
        keeps_quotas=account.keeps_quotas,
    )
    account.aws = aws
    return BraketProvider(aws, account)
