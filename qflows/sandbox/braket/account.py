"""The caller and what the account may do: regions, identities (STS), devices, spending limits."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from qflows.sandbox.braket import render
from qflows.sandbox.braket.action import bad
from qflows.sandbox.braket.capabilities import capabilities
from qflows.sandbox.braket.contract import check_request
from qflows.sandbox.braket.devices import ACCOUNT, DEVICES, TASK_FEE_USD, Device, price_list
from qflows.sandbox.braket.signature import check_signature, secrets_of
from qflows.sandbox.braket.windows import windows_of
from qflows.sandbox.errors import Refusal
from qflows.sandbox.switch import numbers_of
from qflows.sandbox.vendor import Call, Route

_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/(\w+)/aws4_request")
_STS = "https://sts.amazonaws.com/doc/2011-06-15/"
_SPENDING = "/spending-limit"


def signature_of(call: Call) -> tuple[str, str]:
    """(access key id, region) of the signature, which `check_key` verifies. Raises Refusal(403) without one."""
    match = _SCOPE.search(call.headers.get("authorization", ""))
    if not match:
        raise Refusal(403, "Missing Authentication Token", code="MissingAuthenticationTokenException")
    return match[1], match[2]


def region_of(call: Call) -> str:
    """The region the caller signed for."""
    return signature_of(call)[1]


def check_key(call: Call) -> None:
    """Accept any access key except two kinds that play failures, `invalid...` and `denied...`; with the switch
    `known_keys`, only the keys that it names."""
    key, _ = signature_of(call)
    known = [name for name in str(call.switch("known_keys")).split(",") if name]
    if key not in known if known else key.lower().startswith("invalid"):
        raise Refusal(403, "The security token included in the request is invalid.", code="UnrecognizedClientException")
    check_signature(
        call,
        secrets_of(str(call.switch("secret_keys"))),
        tolerance_s=float(call.switch("signature_age_s")),
        now=time.time(),
    )
    if key.lower().startswith("denied"):
        raise Refusal(403, "User is not authorized to perform this action", code="AccessDeniedException")


def account_of(call: Call) -> str:
    """The account number behind the caller's key: the same for all keys, or by switch a separate one for each."""
    if call.switch("accounts") == "one":
        return ACCOUNT
    digits = int(hashlib.sha256(signature_of(call)[0].encode()).hexdigest(), 16) % 10**12
    return f"{digits:012d}"


def device_status(call: Call, device: Device) -> str:
    """ONLINE, OFFLINE or RETIRED. A device outside its execution windows is ONLINE, and its tasks queue."""
    if device.retired or device.name in str(call.switch("retired")).split(","):
        return "RETIRED"
    return "OFFLINE" if device.name in str(call.switch("offline")).split(",") else "ONLINE"


def see_device(call: Call, arn: str, region: str) -> Device:
    """The device, if a task may go there from this region. Raises the refusal that the service declares."""
    device = DEVICES.get(arn)
    if device is None:
        raise bad(f"device {arn} does not exist")
    if not device.serves(region):
        raise bad(f"device {arn} is not in {region}")
    status = device_status(call, device)
    if status == "RETIRED":
        raise Refusal(410, f"{device.name} is retired", code="DeviceRetiredException")
    if status == "OFFLINE":
        raise Refusal(424, f"{device.name} is offline", code="DeviceOfflineException")
    return device


def sets_of(call: Call, device: Device) -> tuple[int, int] | None:
    """Most executables and most shots of a program set; by switch for devices whose document may say either."""
    named = device.name in str(call.switch("program_sets")).split(",")
    return device.sets or ((100, 200_000) if named else None)


class Account:
    """Handlers of devices, STS, spending limits and the price list."""

    def routes(self) -> list[Route]:
        """All routes except tasks and storage."""
        return [
            Route("device", "GET", "/device/{arn:path}", self.device),
            Route("devices", "POST", "/devices", self.devices),
            Route("create_limit", "POST", _SPENDING, self.create_limit),
            Route("search_limits", "POST", "/spending-limits", self.search_limits),
            Route("update_limit", "PATCH", _SPENDING + "/{arn:path}/update", self.update_limit),
            Route("delete_limit", "DELETE", _SPENDING + "/{arn:path}/delete", self.delete_limit),
            Route("prices", "GET", "/offers/v1.0/aws/AmazonBraket/current/index.csv", self.prices, is_open=True),
            Route("sts", "POST", "/", self.sts, is_open=True),  # its refusals are XML
        ]

    async def prices(self, call: Call) -> Response:
        """The offers file."""
        return Response(price_list(), media_type="text/csv")

    async def device(self, call: Call) -> Response:
        """GetDevice. By switch, hides OpenQASM from clients that do not name a recent schema, as the service is said to
        do."""
        device = DEVICES.get(call.params["arn"])
        if device is None or not device.serves(region_of(call)):
            raise Refusal(404, f"no device {call.params['arn']}", code="ResourceNotFoundException")
        fidelity = numbers_of(call.switch("fidelities")).get(device.name)
        text = capabilities(
            replace(device, sets=sets_of(call, device)), windows=windows_of(call, device), fidelity=fidelity
        )
        if call.switch("schemas_agent") == "needed" and "BraketSchemas/" not in call.headers.get("user-agent", ""):
            text = json.dumps(json.loads(text) | {"action": {}}, separators=(",", ":"))
        queued = sum(
            1 for job in call.world.jobs.all("braket") if job.facts["deviceArn"] == device.arn and not job.is_terminal
        )
        queued = int(numbers_of(call.switch("queue_sizes")).get(device.name, queued))
        document = _described(call, device) | {
            "deviceCapabilities": text,
            "deviceQueueInfo": [
                {"queue": "QUANTUM_TASKS_QUEUE", "queueSize": _size(queued), "queuePriority": "Normal"},
                {"queue": "QUANTUM_TASKS_QUEUE", "queueSize": "0", "queuePriority": "Priority"},
                {"queue": "JOBS_QUEUE", "queueSize": "0 (0 prioritized job(s) running)"},
            ],
        }
        return render.answer("GetDevice", document)

    async def devices(self, call: Call) -> Response:
        """SearchDevices of the caller's region; only the filter deviceArn exists."""
        document = check_request("SearchDevices", call.document())
        region = region_of(call)
        found = [device for device in DEVICES.values() if device.serves(region)]
        for entry in document["filters"]:
            if entry["name"] != "deviceArn":
                raise bad(f"filter {entry['name']} is not deviceArn")
            found = [device for device in found if device.arn in entry["values"]]
        return render.answer("SearchDevices", {"devices": [_described(call, device) for device in found]})

    async def sts(self, call: Call) -> Response:
        """GetCallerIdentity and AssumeRole."""
        try:
            check_key(call)
        except Refusal as refusal:
            said = f"<Type>Sender</Type><Code>{refusal.code}</Code><Message>{refusal.message}</Message>"
            text = f'<ErrorResponse xmlns="{_STS}"><Error>{said}</Error></ErrorResponse>'
            return Response(text, refusal.status, media_type="text/xml")
        form = {name: values[0] for name, values in parse_qs(call.body.decode(errors="replace")).items()}
        action = form.get("Action", "")
        account = account_of(call)
        who = f"<Arn>arn:aws:sts::{account}:assumed-role/sandbox/user</Arn>"
        if action == "GetCallerIdentity":
            inner = f"{who}<UserId>AIDASANDBOX</UserId><Account>{account}</Account>"
        elif action == "AssumeRole":
            expires = render.moment(call.world.clock.now() + 3600)
            keys = "<AccessKeyId>ASIASANDBOX</AccessKeyId><SecretAccessKey>sandbox</SecretAccessKey>"
            keys += f"<SessionToken>sandbox</SessionToken><Expiration>{expires}</Expiration>"
            user = f"<AssumedRoleUser>{who}<AssumedRoleId>AROASANDBOX:q</AssumedRoleId></AssumedRoleUser>"
            inner = f"<Credentials>{keys}</Credentials>{user}"
        else:
            raise bad(f"STS action {action!r} is not emulated")
        name = f"{action}Response"
        text = f'<{name} xmlns="{_STS}"><{action}Result>{inner}</{action}Result></{name}>'
        return Response(text, media_type="text/xml")

    # -- spending limits ---------------------------------------------------------------------------------------

    async def create_limit(self, call: Call) -> Response:
        """CreateSpendingLimit; a known token changes nothing, as documented."""
        document = check_request("CreateSpendingLimit", call.document())
        device = DEVICES.get(document["deviceArn"])
        if device is None or not device.is_qpu:
            raise bad("spending limits are for QPUs")
        limits = call.world.shelf("braket", "limits")
        known = next((limit for limit in limits.values() if limit["token"] == document["clientToken"]), None)
        if known is None:
            arn = f"arn:aws:braket:{region_of(call)}:{account_of(call)}:spending-limit/{uuid.uuid4()}"
            now = call.world.clock.now()
            period = document.get("timePeriod") or {"startAt": 0, "endAt": now + 10 * 365 * 86_400}
            known = {"arn": arn, "token": document["clientToken"], "device": device.arn, "period": period, "spent": 0.0}
            known |= {"limit": document["spendingLimit"], "at": now, "tags": document.get("tags") or {}}
            limits.put(arn, known)
        return render.answer("CreateSpendingLimit", {"spendingLimitArn": known["arn"]}, 201)

    async def search_limits(self, call: Call) -> Response:
        """SearchSpendingLimits."""
        document = check_request("SearchSpendingLimits", call.document())
        found = list(call.world.shelf("braket", "limits").values())
        for entry in document.get("filters") or ():
            if entry["name"] != "deviceArn":
                raise bad(f"filter {entry['name']} is not deviceArn")
            found = [limit for limit in found if limit["device"] in entry["values"]]
        return render.answer("SearchSpendingLimits", {"spendingLimits": [_limit(limit) for limit in found]})

    async def update_limit(self, call: Call) -> Response:
        """UpdateSpendingLimit."""
        arn = call.params["arn"]
        document = check_request("UpdateSpendingLimit", call.document() | {"spendingLimitArn": arn})
        limit = self._limit_of(call, arn)
        limit["limit"] = document.get("spendingLimit") or limit["limit"]
        limit["period"] = document.get("timePeriod") or limit["period"]
        call.world.shelf("braket", "limits").put(arn, limit)
        return JSONResponse({})

    async def delete_limit(self, call: Call) -> Response:
        """DeleteSpendingLimit."""
        self._limit_of(call, call.params["arn"])
        call.world.shelf("braket", "limits").drop(call.params["arn"])
        return JSONResponse({})

    def _limit_of(self, call: Call, arn: str) -> dict[str, Any]:
        limit = call.world.shelf("braket", "limits").get(arn)
        if limit is None:
            raise Refusal(404, f"no spending limit {arn}", code="ResourceNotFoundException")
        return limit


def _size(queued: int) -> str:
    return str(queued) if queued <= 4000 else ">4000"


def _described(call: Call, device: Device) -> dict[str, Any]:
    return {
        "deviceArn": device.arn,
        "deviceName": device.name,
        "providerName": device.provider,
        "deviceType": "QPU" if device.is_qpu else "SIMULATOR",
        "deviceStatus": device_status(call, device),
    }


def _limit(limit: dict[str, Any]) -> dict[str, Any]:
    return {
        "spendingLimitArn": limit["arn"],
        "deviceArn": limit["device"],
        "timePeriod": limit["period"],
        "spendingLimit": limit["limit"],
        "queuedSpend": "0",
        "totalSpend": f"{limit['spent']:.2f}",
        "createdAt": render.moment(limit["at"]),
        "updatedAt": render.moment(limit["at"]),
        "tags": limit["tags"],
    }


def check_spending(call: Call, device: Device, shots: int, *, has_reservation: bool) -> None:
    """Count a task against the device's limits. Raises Refusal(400) over budget; reserved time is not counted."""
    if not device.is_qpu or has_reservation:
        return
    price = TASK_FEE_USD + device.price * shots
    limits = call.world.shelf("braket", "limits")
    mine = [limit for limit in limits.values() if limit["device"] == device.arn]
    now = call.world.clock.now()
    for limit in mine:
        start, end = (_unix(limit["period"][name]) for name in ("startAt", "endAt"))
        if limit["spent"] + price > float(limit["limit"]) or not start <= now <= end:
            # amazon-braket-examples, 2025-11; the ARN is ours
            raise bad(
                "Attempted to spend over the spending limit or outside the spending limit time window of "
                f"{limit['arn']}: the task costs {price:.2f} USD"
            )
    for limit in mine:
        limit["spent"] += price
        limits.put(limit["arn"], limit)


def _unix(moment: Any) -> float:
    return float(moment) if isinstance(moment, int | float) else datetime.fromisoformat(str(moment)).timestamp()
