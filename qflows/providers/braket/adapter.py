"""Amazon Braket behind the provider protocol: boto3, each request sent once.

A lost answer is settled by SearchQuantumTasks: it cannot filter by tag, but every summary carries its tags, so a window
of creation times is read to its end and matched. The job key is also the client token, which makes a second submission
harmless for as long as AWS remembers it; how long that is, is not documented, so nothing relies on it.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from pydantic import ValidationError

from qflows.errors import Ambiguous, NotSent, ProgramRejected, ProviderError, Refused, Throttled, Unreadable
from qflows.model import Quote
from qflows.programs import Program, to_program
from qflows.protocol import (
    Accepted,
    Capabilities,
    CompileWish,
    Condition,
    DeviceInfo,
    DeviceList,
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
from qflows.providers.braket import bulk, circuits, condition, imports, options, results, wire
from qflows.providers.braket.account import Account
from qflows.providers.braket.aws import Aws
from qflows.providers.braket.compile import compiled
from qflows.providers.braket.devices import Device, cost_of
from qflows.providers.braket.doctor import REGIONS, Doctor
from qflows.providers.braket.queue import Places
from qflows.providers.braket.tags import Tags

_SEEN = 50_000
_DEVICE_AGE_S = 600.0  # a device's document is read again after this
_QUOTA = "ServiceQuotaExceededException"
_FULL = "the account's quota of unfinished tasks on the simulator is reached; this task is sent when some have ended"
_FULL_S = 5.0
# documents of a raw answer besides the result files
_TASK, _DEVICE = "task", "device"


@dataclass(frozen=True)
class _Request:
    """What `prepare` passes to `send`."""

    region: str
    parameters: Mapping[str, Any]


class BraketProvider(Doctor, Tags):
    """One AWS account's Braket. Thread-safe."""

    name = "braket"
    capabilities = Capabilities(
        lookup=Lookup.QUERY,
        settle_s=15.0,  # how far a search lags behind Create is not documented; two look-ups this far apart
        poll_page=bulk.PAGE,
        pace=Pace(first_s=0.2, rate=2.5, burst=25),  # half the quota of SearchQuantumTasks: 5/s, burst 50
        posts_at_once=4,  # CreateQuantumTask: 20/s, burst 40; `Pacing` counts them
        max_programs=100,  # per device in `limits`: only some take program sets
        max_job_shots=200_000,  # the smallest of superconducting QPUs; `limits` says what a device takes
        retags=True,
        imports=True,
        sends_inputs=True,
    )

    def __init__(self, aws: Aws, account: Account) -> None:
        self._aws = aws
        self._account = account
        self.account = account.name
        self.job_page = "https://console.aws.amazon.com/braket/home#/tasks" if account.is_amazon else None
        self._bulk = bulk.Bulk(self._search)
        self._places = Places(lambda arn: wire.observation(self._get(arn)))
        self._devices: dict[str, tuple[Device, float]] = {}
        self._full_until: dict[tuple[str, str], float] = {}  # region and simulator, monotonic seconds
        self._seen: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._lock, self._describing = Lock(), Lock()

    def read(self, source: Any) -> Program | None:
        """Braket's OpenQASM program object (`braket.ir.openqasm.Program`) as a program."""
        if not type(source).__module__.startswith("braket.ir.openqasm") or not hasattr(source, "source"):
            return None
        return to_program(source)

    # -- devices -----------------------------------------------------------------------------------------------

    def devices(self) -> Sequence[DeviceInfo]:
        """SearchDevices in every region with QPUs, then GetDevice for each that is not retired.

        A region that refuses, or a device whose document cannot be read, does not affect the others. Raises the first
        region's error if all refuse.
        """
        arns: dict[str, None] = {}
        failures: dict[str, ProviderError] = {}
        regions = list(dict.fromkeys((self._account.region, *REGIONS)))
        for region in regions:
            try:
                arns |= dict.fromkeys(self._listed(region))
            except ProviderError as error:
                failures[region] = error
        if len(failures) == len(regions):
            raise failures[regions[0]]
        troubles = {f"region {region}": str(error) for region, error in failures.items()}
        found: list[DeviceInfo] = []
        for arn in arns:
            try:
                found.append(self._fetch_device(arn).info())
            except ProviderError as error:
                troubles[arn] = str(error)
        return DeviceList(tuple(found), troubles)

    def _listed(self, region: str) -> Iterator[str]:
        """ARNs of the devices of a region that are not retired."""
        token: str | None = None
        while True:
            more = {"nextToken": token} if token else {}
            page = self._aws.call("braket", region, "SearchDevices", filters=[], maxResults=100, **more)
            for entry in page.get("devices", ()):
                if entry.get("deviceStatus") != "RETIRED" and wire.is_device(str(entry["deviceArn"])):
                    yield str(entry["deviceArn"])
            token = page.get("nextToken")
            if not token:
                return

    def limits(self, device_id: str) -> Limits:
        """GetDevice. Raises Refused for an unknown device."""
        return self._fetch_device(device_id).limits()

    def condition(self, device_id: str) -> Condition:
        """GetDevice: fidelities of its standardized part, and its execution windows."""
        body = self._aws.call("braket", self._region(device_id), "GetDevice", deviceArn=device_id)
        try:
            return condition.read(json.loads(body["deviceCapabilities"]), datetime.now(UTC))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Unreadable(f"braket: the calibration of {device_id} cannot be read: {error!r:.300}") from error

    def calibration(self, device_id: str) -> Mapping[str, Any] | None:
        """GetDevice of a QPU: its standardized and its maker's properties, and when they were updated."""
        if "/qpu/" not in device_id:
            return None
        body = self._aws.call("braket", self._region(device_id), "GetDevice", deviceArn=device_id)
        document = json.loads(body["deviceCapabilities"])
        found = {name: document[name] for name in ("standardized", "provider") if document.get(name)}
        updated = (document.get("service") or {}).get("updatedAt")
        return {**found, "updatedAt": updated} if found else None

    def _fetch_device(self, arn: str) -> Device:
        if not wire.is_device(arn):
            raise Refused(
                f"{arn!r} is not the ARN of a Braket device (arn:aws:braket:...); `qflows devices --live braket` lists "
                "them",
                provider="braket",
            )
        device = Device.read(self._aws.call("braket", self._region(arn), "GetDevice", deviceArn=arn))
        device = replace(device, keeps_barriers=self._keeps_barriers)
        with self._lock:
            self._devices[arn] = device, time.monotonic()
        return device

    def _known(self, arn: str) -> Device | None:
        """The description from the last request, if it is recent enough."""
        with self._lock:
            device, at = self._devices.get(arn, (None, 0.0))
        return device if time.monotonic() - at < _DEVICE_AGE_S else None

    def _device(self, arn: str) -> Device:
        with self._describing:  # many threads start with the same device
            return self._known(arn) or self._fetch_device(arn)

    def _region(self, device_id: str) -> str:
        return wire.region_of(device_id) or wire.simulator_region(self._account.region)

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """By kind of device: see `options.py`."""
        return options.model_of(device_id)

    # -- submission --------------------------------------------------------------------------------------------

    def check(self, spec: JobSpec) -> None:
        """Refuse options that the device does not have, missing shots, tags that AWS would cut, a reservation that the
        job does not name, and circuits that Braket's OpenQASM cannot carry.
        """
        if not wire.is_device(spec.device_id):
            raise ProgramRejected(f"{spec.device_id!r} is not the ARN of a Braket device (arn:aws:braket:...)")
        if spec.shots is None:
            raise ProgramRejected("braket needs shots; pass shots= (exact evaluation: device='local-exact')")
        if any(spec.observables):
            raise ProgramRejected("observables are measured by qflows in grouped circuits, not by Braket")
        _check_options(spec)
        self.check_tags(name="", tags=spec.tags)
        device = self._known(spec.device_id)
        for program in spec.programs:
            circuits.source_of(program, spec, device)

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """See `compile.compiled`; may read the device's document. Raises ProgramRejected, or what reading raises."""
        _check_options(spec)
        return compiled(spec, self._device(spec.device_id), wish)

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """None: only some documents give durations of gates, and none that of a whole shot."""
        return None

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """Prepare a job; the first one on a device reads its document, and the first without a given bucket looks for
        the default one.
        """
        region = self._region(spec.device_id)
        try:
            device = self._device(spec.device_id)
            bucket, prefix = self._account.place(region)
        except Ambiguous as error:  # a preparatory read: the task itself was not sent
            raise NotSent(
                f"before the submission: {error}",
                provider="braket",
                http_status=error.http_status,
                retry_after_s=error.retry_after_s,
            ) from error
        except Unreadable as error:
            raise Refused(f"{error}; nothing was sent", provider="braket", body=error.body) from error
        if refusal := device.refusal(len(spec.programs), spec.shots or 0):
            raise Refused(refusal, provider="braket")
        try:
            parameters = wire.request(spec, key, device=device, bucket=bucket, prefix=prefix)
        except ProgramRejected as error:  # the device's document is only known now
            raise ProgramRejected(f"{device.name}: {error}") from error
        return Prepared(spec, key, _Request(region, parameters))

    def send(self, prepared: Prepared) -> Accepted:
        """CreateQuantumTask, once, with the key as client token and tag.

        400 401 402 403 404 410 424 in AWS's own words: Refused; never connected: NotSent; all else, including
        throttling: Ambiguous. A simulator that has as many unfinished tasks as the quota allows is Throttled: for a
        while nothing more is sent to it, then one at a time until there is room.
        """
        request: _Request = prepared.body
        place = request.region, prepared.spec.device_id
        if (wait_s := self._full_until.get(place, 0.0) - time.monotonic()) > 0:
            raise Throttled(_FULL, provider="braket", retry_after_s=wait_s)
        sent_at = datetime.now(UTC)
        try:
            arn = self._aws.create(request.region, request.parameters).get("quantumTaskArn")
        except Refused as error:
            if error.vendor_code != _QUOTA or not wire.is_simulator(prepared.spec.device_id):
                raise
            self._full_until[place] = time.monotonic() + _FULL_S
            raise Throttled(
                _FULL, provider="braket", http_status=error.http_status, vendor_code=_QUOTA, retry_after_s=_FULL_S
            ) from error
        if not isinstance(arn, str) or not wire.is_task(arn):
            raise Ambiguous("braket answered a submission without a task; it may have it", provider="braket")
        self._bulk.made(arn, sent_at, datetime.now(UTC))
        return Accepted(arn)

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Read the tasks created since then on these devices, 100 a page, and matches their tags."""
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
        """SearchQuantumTasks, 100 tasks per request if possible.

        Plus one GetQuantumTask per failed task, for its reason, for up to ten tasks that no search shows, and for a few
        queued ones, for their place (`queue.ASKED`).
        """
        looks: dict[str, Observation] = {}
        summaries = self._bulk.tasks(vendor_ids)
        hidden = [arn for arn in dict.fromkeys(vendor_ids) if arn not in summaries and wire.is_task(arn)]
        for arn in hidden[: bulk.BY_ARN]:  # the index lags, or interprets filters differently
            try:
                summaries[arn] = self._get(arn)
            except Refused as error:
                if error.http_status != 404:
                    raise
        for arn, summary in summaries.items():
            # a search does not give the reason of a failure
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

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """The task as GetQuantumTask or a search described it, what its device charges, and its files in the bucket.

        A task without results is Refused if it failed or was cancelled, otherwise Ambiguous: S3 may lag, and reading
        again is free. A failed program set may lack files.
        """
        task = self._recall(vendor_id) or self._get(vendor_id)
        region, bucket = str(wire.region_of(vendor_id)), str(task["outputS3Bucket"])
        may_miss = wire.observation(task).phase is not Phase.DONE

        def read(path: str) -> bytes | None:
            try:
                return self._aws.read_object(region, bucket, f"{task['outputS3Directory']}/{path}")
            except Refused as error:
                if error.vendor_code not in ("NoSuchKey", "404"):
                    raise
                if may_miss and path != results.ROOT:
                    return None
                raise self._no_result(vendor_id, task) from None

        files = results.download(read)
        documents = {_TASK: _json(task), _DEVICE: _json(self._tariff(spec.device_id))}
        return RawAnswer(documents | files)

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Counts by program, and the cost as computed from the device's tariff; AWS bills monthly."""
        return decode_kept(raw, spec, key)

    def _tariff(self, device_id: str) -> Mapping[str, Any]:
        try:
            return self._device(device_id).tariff()
        except (Refused, Unreadable):  # counts must not be lost because the device's page is not readable
            return {}

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

    # -- tasks of others ---------------------------------------------------------------------------------------

    def listed(self, *, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """SearchQuantumTasks by time in the caller's region and in those with QPUs."""
        own = wire.simulator_region(self._account.region)
        return imports.listed(self._search, (self._account.region, own, *REGIONS), since=since, until=until)

    def foreign(self, vendor_id: str) -> Foreign:
        """GetQuantumTask, and the files of a completed task in the bucket, which contain its program."""
        task = self._get(vendor_id)
        region, bucket = str(wire.region_of(vendor_id)), str(task["outputS3Bucket"])
        folder = task["outputS3Directory"]
        read = imports.reader(lambda path: self._aws.read_object(region, bucket, f"{folder}/{path}"))
        return imports.foreign(task, read)

    def exists(self, vendor_id: str) -> bool:
        """GetQuantumTask: False only for Braket's own ResourceNotFoundException."""
        try:
            self._get(vendor_id)
        except Refused as error:
            if error.vendor_code == "ResourceNotFoundException":
                return False
            raise
        return True

    def cancel(self, vendor_id: str) -> None:
        """CancelQuantumTask. A task that has ended answers with a conflict, which means too late and is not an
        error."""
        if not wire.is_task(vendor_id):
            raise Refused(f"{vendor_id!r} is not the ARN of a quantum task", provider="braket")
        try:
            self._aws.call("braket", str(wire.region_of(vendor_id)), "CancelQuantumTask", quantumTaskArn=vendor_id)
        except Refused as error:
            if error.http_status != 409:
                raise

    def estimate(self, spec: JobSpec) -> Quote | None:
        """One task fee and the device's price for each shot of each program, which is also the most it can cost.

        Simulators bill time that is unknown beforehand: no bound. A task in a reservation costs nothing beyond it.
        """
        return self._device(spec.device_id).quote(
            (spec.shots or 0) * len(spec.programs), is_reserved=bool(spec.options.get("reservation_arn"))
        )

    def _remember(self, arn: str, task: Mapping[str, Any]) -> None:
        with self._lock:
            self._seen[arn] = task
            while len(self._seen) > _SEEN:
                self._seen.popitem(last=False)

    def _recall(self, arn: str) -> Mapping[str, Any] | None:
        with self._lock:
            return self._seen.get(arn)


def _check_options(spec: JobSpec) -> None:
    """Raise ProgramRejected for names and values that the device's options do not have."""
    model = options.model_of(spec.device_id)
    try:
        given = model.model_validate(dict(spec.options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(model.model_fields))
            raise ProgramRejected(
                f"braket has no option {name!r} for {spec.device_id}; the options are {known}"
            ) from None
        raise ProgramRejected(f"option {name} of braket: {first['msg']}") from None
    reservation = getattr(given, "reservation_arn", None)
    options.check_reservation_context(spec.device_id, reservation)
    if getattr(given, "error_mitigation", None):
        if len(spec.programs) > 1:
            raise ProgramRejected("error_mitigation is for single circuits; submit them as jobs of their own")
        if (spec.shots or 0) < wire.MIN_MITIGATED_SHOTS:
            raise ProgramRejected(f"error mitigation needs {wire.MIN_MITIGATED_SHOTS} shots or more")


def _json(document: Mapping[str, Any]) -> bytes:
    """As AWS sends it: times in ISO 8601; without boto3's additions."""
    plain = {name: value for name, value in document.items() if name != "ResponseMetadata"}
    return json.dumps(plain, default=_text).encode()


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _object(body: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Unreadable("braket: a kept document is not JSON", provider="braket") from None
    return found if isinstance(found, dict) else {}


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def decode_kept(raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
    """Read a stored answer without an account or the network; see `providers.decoder`."""
    files = {name: body for name, body in raw.documents.items() if name not in (_TASK, _DEVICE)}
    document = results.gathered(files)
    task = _object(raw.documents.get(_TASK))
    is_partial = task.get("status") == "FAILED"
    simulator = _part(_part(document, "additionalMetadata"), "simulatorMetadata")
    duration_ms = simulator.get("executionDuration")
    duration_ms = duration_ms if isinstance(duration_ms, int | float) else None
    # what AWS charges for the shots of failed executables is not documented: all are counted
    shots = (spec.shots or 0) * len(spec.programs)
    return VendorResult(
        items=imports.items(spec, document)
        if "imported" in spec.options
        else results.items(spec, document, is_partial=is_partial),
        cost=cost_of(
            _object(raw.documents.get(_DEVICE)),
            shots,
            duration_ms=duration_ms,
            is_reserved=bool(spec.options.get("reservation_arn")),
        ),
        finished_at=wire.moment(task.get("endedAt")),
        qpu_s=duration_ms / 1000 if duration_ms is not None else None,
        metadata={"bucket": task.get("outputS3Bucket"), "directory": task.get("outputS3Directory")}
        | results.metadata(document),
    )


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> BraketProvider:
    """Provider from a credentials block's fields, otherwise from the environment, as boto3 and the Braket SDK read it.

    Raises CredentialsMissing naming what to set. Makes no request except boto3's own search for credentials.
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
