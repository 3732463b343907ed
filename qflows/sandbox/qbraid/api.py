"""The emulated qBraid: its switches, identity, devices and how it refuses. Jobs and groups are in their own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import Fault
from qflows.sandbox.qbraid import catalog, render
from qflows.sandbox.qbraid.groups import Groups
from qflows.sandbox.qbraid.jobs import Jobs
from qflows.sandbox.qbraid.submission import client_key
from qflows.sandbox.vendor import Call, Route, Switch, Vendor
from qflows.sandbox.world import World

# Each is a point that neither qBraid's documents nor its client settle, or in which they differ.
SWITCHES = (
    Switch("submit_body", "full", "201 of POST /jobs: as the client needs it, or as documented", ("full", "lean")),
    Switch("tag_match", "subset", "tags filter: pairs contained, tags equal, none", ("subset", "exact", "ignored")),
    Switch("list_order", "newest_first", "order of GET /jobs", ("newest_first", "oldest_first")),
    Switch("unknown_device_status", 404, "status code of a job for a device that does not exist"),
    Switch("offline_submit", "refuse", "job for a device that is not ONLINE", ("refuse", "accept")),
    Switch("no_batch_status", 400, "status code of a batch for a device without batchJobSupport"),
    Switch("no_result_status", 409, "status code of the result of a job that is not finished"),
    Switch("failed_result", "body", "result of a FAILED job: a body with statusMsg, or refused", ("body", "refuse")),
    Switch("batch_of_one", "plain", "result of a batch of one: plain Result, or BatchResult", ("plain", "batch")),
    Switch("mixed_batch", "COMPLETED", "status of a batch of which some circuits failed", ("COMPLETED", "FAILED")),
    Switch("result_data", "counts", "members of resultData", ("counts", "probabilities", "both")),
    Switch("bit_order", "c0_right", "order inside the keys of measurementCounts", ("c0_right", "c0_left")),
    Switch("final_costs", "given", "cost and timeStamps of FAILED and CANCELLED jobs", ("given", "null")),
    Switch("finished_as", "", "status word shown instead of COMPLETED: HOLD, UNKNOWN, or one nobody documented"),
    Switch("hold_status_group", "returned", "statusGroup that shows HOLD", ("returned", "pending", "neither")),
    Switch("cancel_shows_cancelling", True, "a cancelled job shows CANCELLING to the first read"),
    Switch("group_not_open_status", 409, "status code of a job for a group that is not OPEN"),
    Switch("ttl_on_submit", True, "a submission sees the end of a group's time to live before anybody read the group"),
    Switch("group_some_cancelled", "FAILED", "group with cancelled jobs", ("FAILED", "CANCELLED", "COMPLETED")),
    Switch("group_empty_closed", "CLOSED", "closed group without a job", ("CLOSED", "COMPLETED")),
    Switch("group_open_completes", False, "an OPEN group whose jobs are finished becomes COMPLETED or FAILED"),
    Switch("close_twice", "harmless", "closing a CLOSED group: harmless, or 409", ("harmless", "refuse")),
    Switch("group_no_jobs", "list", "jobs of an empty group: [] or null", ("list", "null")),
    Switch("validation_shape", "envelope", "body of a 422: own envelope, or FastAPI's detail", ("envelope", "detail")),
    Switch("insufficient_credits_status", 402, "status code with error code INSUFFICIENT_CREDITS"),
    Switch("credits", 1_000_000.0, "credits of the account"),
    Switch("qpu_noise", True, "QPUs err; False: exact circuits, still sampled"),
    Switch("max_active_qubits", 20, "wider circuits fail (a limit of the sandbox, not of qBraid)"),
    Switch("requests_per_s", 0.0, "rate limit over all calls, 429 above; 0: none (qBraid's is unknown)"),
)  # fmt: skip


class Qbraid(Vendor):
    """qBraid Runtime, REST v1."""

    name = "qbraid"
    switches = SWITCHES
    max_body_bytes = 20_000_000
    preload = ("qflows.sandbox.qbraid.execute",)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._groups = Groups()
        self._jobs = Jobs(self._groups)
        self._bucket: Fault | None = None

    def routes(self) -> Sequence[Route]:
        """All calls that `qbraid-core` 0.6.37 makes to the runtime service."""
        return [
            Route("verify", "GET", "/api/v1/users/verify", self.verify),
            Route("credits", "GET", "/api/v1/billing/credits/balance", self.credits),
            Route("devices", "GET", "/api/v1/devices", self.devices),
            Route("calibrations", "GET", "/api/v1/devices/{qrn}/calibrations", self.calibrations),
            Route("device", "GET", "/api/v1/devices/{qrn}", self.device),
            Route("providers", "GET", "/api/v1/providers", self.providers),
            *self._jobs.routes(),
        ]

    def env(self, url: str) -> dict[str, str]:
        """The client's config file would beat the key, so it is pointed at an empty one."""
        return {
            "QBRAID_API_URL": f"{url}/api/v1",
            "QBRAID_API_KEY": "qbr_sandbox",
            "QBRAID_CONFIG_FILE": os.devnull,
        }

    def refuse(self, refusal: Refusal) -> Response:
        """qBraid's error envelope."""
        as_detail = self.world.switches[self.name]["validation_shape"] == "detail"
        return render.error(refusal, as_detail=as_detail)

    def authorise(self, call: Call) -> None:
        """`X-API-Key` or `X-Access-Token` with anything in it, and the rate limit if one is switched on."""
        if not (call.headers.get("x-api-key", "").strip() or call.headers.get("x-access-token", "").strip()):
            raise Refusal(401, "give an API key: X-API-Key", code="UNAUTHORIZED")
        rate = float(call.switch("requests_per_s"))
        if rate <= 0:
            return
        if self._bucket is None or self._bucket.rate_per_s != rate:
            self._bucket = Fault("rate_limit", "qbraid.*", rate_per_s=rate, burst=max(1, round(rate)))
        if wait_s := self._bucket.wait_for_token(self.world.clock.now()):
            raise Refusal(429, "too many requests", headers={"Retry-After": str(max(1, round(wait_s + 0.5)))})

    def client_key(self, document: Any) -> str | None:
        """`tags.qflows_key`."""
        return client_key(document)

    # -- handlers ----------------------------------------------------------------------------------------------

    async def verify(self, call: Call) -> Response:
        """The caller. The client hashes `organizationUserId`, and asks for the balance of `organizationId`."""
        return render.ok({"organizationId": "org-sandbox", "organizationUserId": "u-sandbox", "email": "sandbox"})

    async def credits(self, call: Call) -> Response:
        """Credits left."""
        left = self._jobs.balance(call)
        return render.ok(
            {
                "qbraidCredits": left,
                "awsCredits": 0.0,
                "autoRecharge": "disabled",
                "organizationId": "org-sandbox",
                "userId": "u-sandbox",
            }
        )

    async def devices(self, call: Call) -> Response:
        """All devices; `retired=false` leaves the retired ones out."""
        hides_retired = call.query.get("retired") == "false"
        chosen = [d for d in catalog.DEVICES.values() if not (hides_retired and d.status == "RETIRED")]
        return render.ok([catalog.profile(device) for device in chosen])

    def _device(self, call: Call) -> catalog.Device:
        device = catalog.DEVICES.get(call.params["qrn"])
        if device is None:
            raise Refusal(404, "device not found", code="NOT_FOUND")
        return device

    async def device(self, call: Call) -> Response:
        """One device."""
        return render.ok(catalog.profile(self._device(call)))

    async def calibrations(self, call: Call) -> Response:
        """Calibration data, or null."""
        return render.ok(catalog.calibrations(self._device(call)))

    async def providers(self, call: Call) -> Response:
        """The makers of devices."""
        return render.ok({"providers": catalog.providers()})
