"""Quantum tasks: create, read, cancel, and their tags."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.braket import render
from qflows.sandbox.braket.account import account_of, check_spending, region_of, see_device, sets_of
from qflows.sandbox.braket.action import Action, Rules, bad, take_apart
from qflows.sandbox.braket.contract import check_request
from qflows.sandbox.braket.devices import Device
from qflows.sandbox.braket.storage import has_bucket, is_foreign, region_of_bucket
from qflows.sandbox.braket.windows import opens_at, windows_of
from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job, Work
from qflows.sandbox.vendor import Call, Route

RUN = "qflows.sandbox.braket.execute:run"


class Tasks:
    """Handlers of `/quantum-task` and `/tags`."""

    def routes(self) -> list[Route]:
        """All routes, the more specific path first: an ARN contains slashes."""
        return [
            Route("submit", "POST", "/quantum-task", self.create),
            Route("cancel", "PUT", "/quantum-task/{arn:path}/cancel", self.cancel),
            Route("get", "GET", "/quantum-task/{arn:path}", self.get),
            Route("tag", "POST", "/tags/{arn:path}", self.tag),
            Route("untag", "DELETE", "/tags/{arn:path}", self.untag),
            Route("list_tags", "GET", "/tags/{arn:path}", self.list_tags),
        ]

    async def create(self, call: Call) -> Response:
        """CreateQuantumTask, with the client token as the switches say."""
        document = check_request("CreateQuantumTask", call.document())
        region = region_of(call)
        token = f"{region}/{account_of(call)}/{document['clientToken']}"
        known = self._known(call, token, document)
        if known is None:
            known = self._accept(call, document, region, token).id
        return render.answer("CreateQuantumTask", {"quantumTaskArn": known}, 201)

    def _known(self, call: Call, token: str, document: dict[str, Any]) -> str | None:
        """ARN of an earlier task with this token, if tokens count. AWS documents neither lifetime nor mismatch."""
        if call.switch("token") == "ignore":
            return None
        entry = call.world.shelf("braket", "tokens").get(token)
        if entry is None:
            return None
        ttl_s = call.switch("token_ttl_s")
        if ttl_s and call.world.clock.now() > entry["at"] + ttl_s:
            return None
        if entry["print"] != _print(document):
            if call.switch("token_mismatch") == "conflict":
                raise Refusal(409, "the client token was used with other parameters", code="ConflictException")
            if call.switch("token_mismatch") == "refuse":
                raise bad("the client token was used with other parameters")
        return entry["arn"]

    def _accept(self, call: Call, document: dict[str, Any], region: str, token: str) -> Job:
        device = see_device(call, document["deviceArn"], region)
        experimental = (document.get("experimentalCapabilities") or {}).get("enabled") == "ALL"
        rules = Rules(device, sets_of(call, device), experimental, call.switch)
        action = take_apart(document["action"], document["shots"], rules)
        _check_prefix(document["outputS3KeyPrefix"])
        failure = self._check_bucket(call, document["outputS3Bucket"])
        _check_reservation(document.get("associations") or (), device)
        _check_quota(call, device, region)
        check_spending(call, device, document["shots"], has_reservation=bool(document.get("associations")))
        task_id = str(uuid.uuid4())
        arn = f"arn:aws:braket:{region}:{account_of(call)}:quantum-task/{task_id}"
        job = call.new_job(arn, request={"action": document["action"]}, key=client_key(document))
        job.facts = self._facts(document, task_id, region, action)
        job.facts["account"] = account_of(call)
        job.not_before = opens_at(windows_of(call, device), job.created_at)
        job.work = self._work(call, device, action, job)
        if failure:
            job.injected = {"code": "FAILED", "message": failure, "children": None}
        call.accept(job)
        entry = {"arn": job.id, "print": _print(document), "at": call.world.clock.now()}
        call.world.shelf("braket", "tokens").put(token, entry)
        where = f"{job.facts['bucket']}/{job.facts['directory']}"
        call.world.shelf("braket", "results").put(where, {"arn": job.id})
        return job

    def _check_bucket(self, call: Call, bucket: str) -> str | None:
        """Check the bucket: one that does not exist refuses the submission; older behaviors are available by switch."""
        if is_foreign(call, bucket):
            raise Refusal(403, f"no access to S3 bucket {bucket}", code="AccessDeniedException")
        if has_bucket(call, bucket):
            there = region_of_bucket(call, bucket)
            if there not in ("", region_of(call)):
                raise bad(f"S3 bucket {bucket} is in {there}, not in {region_of(call)}")
            return None
        choice = call.switch("missing_bucket")
        if choice == "validation":
            raise bad(f"S3 bucket {bucket} does not exist")
        if choice == "access_denied":
            raise Refusal(403, f"no access to S3 bucket {bucket}", code="AccessDeniedException")
        return f"the results could not be written: S3 bucket {bucket} does not exist"

    def _facts(self, document: dict[str, Any], task_id: str, region: str, action: Action) -> dict[str, Any]:
        return {
            "region": region,
            "deviceArn": document["deviceArn"],
            "deviceParameters": document.get("deviceParameters") or "{}",
            "shots": document["shots"],
            "shots_each": action.shots_each,
            "bucket": document["outputS3Bucket"],
            "directory": f"{document['outputS3KeyPrefix'].strip('/')}/{task_id}",
            "tags": document.get("tags") or {},
            "associations": document.get("associations") or [],
            "is_set": action.is_set,
            "place": [list(place) for place in action.place],
            "cancelling_reads": 0,
            "experimental": document.get("experimentalCapabilities"),
            "actionMetadata": {"actionType": action.kind} | _sizes(action),
        }

    def _work(self, call: Call, device: Device, action: Action, job: Job) -> Work:
        rates = device.rates if call.switch("qpu_noise") else None
        payload = {
            "executables": action.executables,
            "is_set": action.is_set,
            "shots": action.shots_each,
            "seed": (call.world.seed * 1_000_003 + job.seq * 1_000) % 2**31,
            "rates": rates,
            "limit": call.switch("max_active_qubits"),
            "simulator": device.name,
        }
        return Work(RUN, payload)

    # -- reading and changing ----------------------------------------------------------------------------------

    async def get(self, call: Call) -> Response:
        """GetQuantumTask; the queue only when asked for."""
        job = find(call, call.params["arn"])
        await call.observe([job])
        document = render.task(call, job, position=_position(call, job))
        render.see_cancelling(job)
        if call.query.get("additionalAttributeNames") != "QueueInfo":
            document.pop("queueInfo")
        return render.answer("GetQuantumTask", document)

    async def cancel(self, call: Call) -> Response:
        """CancelQuantumTask."""
        arn = call.params["arn"]
        check_request("CancelQuantumTask", call.document() | {"quantumTaskArn": arn})
        job = find(call, arn)
        await call.world.observe([job])
        if call.world.cancel(job):
            job.facts["cancelling_reads"] = call.switch("cancelling_reads")
            call.world.remember(job)
        elif job.outcome != "cancelled" and call.switch("cancel_terminal") == "conflict":
            word = render.status(call, job)
            said = f"Amazon Braket cannot cancel a quantum task in the {word} status"
            raise Refusal(409, said, code="ConflictException")
        word = "CANCELLING" if job.facts["cancelling_reads"] else "CANCELLED"
        return render.answer("CancelQuantumTask", {"quantumTaskArn": arn, "cancellationStatus": word})

    async def tag(self, call: Call) -> Response:
        """TagResource."""
        document = check_request("TagResource", call.document() | {"resourceArn": call.params["arn"]})
        job = find(call, call.params["arn"])
        job.facts["tags"] = job.facts["tags"] | document["tags"]
        call.world.remember(job)
        return JSONResponse({})

    async def untag(self, call: Call) -> Response:
        """UntagResource."""
        job = find(call, call.params["arn"])
        gone = set(call.query.getlist("tagKeys"))
        job.facts["tags"] = {name: value for name, value in job.facts["tags"].items() if name not in gone}
        call.world.remember(job)
        return JSONResponse({})

    async def list_tags(self, call: Call) -> Response:
        """ListTagsForResource."""
        return render.answer("ListTagsForResource", {"tags": find(call, call.params["arn"]).facts["tags"]})


# botocore 1.44.8 and amazon-braket-examples, 2025-11: what a prefix may not hold
_NO_PREFIX = re.compile(r"\.\.?/|[{}\[\]<>\\|^~`%#\"\x80-\xff]")
_RESERVATION = re.compile(r"arn:aws:braket:([a-z0-9-]+):\d{12}:reservation/[\w-]+")


def _check_prefix(prefix: str) -> None:
    if found := _NO_PREFIX.search(prefix):
        raise bad(f"outputS3KeyPrefix must not hold {found[0]!r}")


def _check_reservation(associations: Sequence[dict[str, Any]], device: Device) -> None:
    """Wording: integration tests of amazon-braket-sdk, 2026-08."""
    if not associations:
        return
    if not device.is_qpu:
        raise bad(f"Braket Direct is not supported for {device.name}")
    match = _RESERVATION.fullmatch(associations[0]["arn"])
    if not match or match[1] != device.region:
        raise bad("Reservation arn is invalid")


def _check_quota(call: Call, device: Device, region: str) -> None:
    """Tasks at work on a managed simulator at once, per account and region."""
    most, clock = call.switch("concurrent_tasks"), call.world.clock
    if device.is_qpu or not most or clock.pace.mode == "instant":
        return
    mine = {"deviceArn": device.arn, "region": region, "account": account_of(call)}
    unfinished = 0
    for job in call.world.jobs.newest_first("braket"):
        if job.is_terminal or any(job.facts[name] != value for name, value in mine.items()):
            continue
        if clock.phase(created_at=job.created_at, reads=job.reads, released=job.released) != "due":
            unfinished += 1
        if unfinished >= most:
            said = f"the account has {most} unfinished tasks on {device.name} in {region}"
            raise Refusal(402, said, code="ServiceQuotaExceededException")


def _sizes(action: Action) -> dict[str, int]:
    """A plain task names neither (captured answers)."""
    return {"programCount": len(action.programs), "executableCount": len(action.executables)} if action.is_set else {}


def find(call: Call, arn: str) -> Job:
    """The task with this ARN, if its region is the caller's. Raises Refusal(404), and 403 for another account's."""
    if (number := arn.split(":")[4:5]) and number[0] != account_of(call) and call.switch("foreign_task") == "denied":
        raise Refusal(403, f"no access to {arn}", code="AccessDeniedException")
    job = call.world.jobs.get(arn)
    if job is None or job.deleted or job.vendor != "braket" or job.facts["region"] != region_of(call):
        raise Refusal(404, f"no quantum task {arn}", code="ResourceNotFoundException")
    if call.world.clock.now() < job.created_at + call.switch("get_lag_s"):
        raise Refusal(404, f"no quantum task {arn}", code="ResourceNotFoundException")
    return job


def client_key(document: Any) -> str | None:
    """The caller's own key: its tag, otherwise the client token."""
    if not isinstance(document, dict):
        return None
    tags = document.get("tags")
    key = tags.get("qflows:key") if isinstance(tags, dict) else None
    key = key or document.get("clientToken")
    return key if isinstance(key, str) else None


def _print(document: dict[str, Any]) -> str:
    parameters = {name: value for name, value in document.items() if name != "clientToken"}
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()


def _position(call: Call, job: Job) -> int | None:
    if call.phase(job) != "queued":
        return None
    same = (other for other in call.world.jobs.all("braket") if other.facts["deviceArn"] == job.facts["deviceArn"])
    return 1 + sum(1 for other in same if other.seq < job.seq and not other.is_terminal)
