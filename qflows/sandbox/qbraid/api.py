"""The emulated qBraid: its identity, devices and refusals. Jobs and groups are in their own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.qbraid import accounts, catalog, render
from qflows.sandbox.qbraid.groups import Groups
from qflows.sandbox.qbraid.jobs import Jobs
from qflows.sandbox.qbraid.submission import client_key, is_closed, whole
from qflows.sandbox.qbraid.switches import SWITCHES
from qflows.sandbox.vendor import Call, Route, Vendor
from qflows.sandbox.world import World

DEVICE_PAGE, MAX_DEVICE_PAGE = 20, 100


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
        self._limit = accounts.RequestLimit()

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
        """Environment for the client. Its config file would override the key, so it is pointed at an empty one."""
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
        """Require `X-API-Key` or `X-Access-Token`, and apply the limit of requests in a rolling 15 minutes."""
        self._limit.check(call)
        accounts.authorise(call)

    def client_key(self, document: Any) -> str | None:
        """`tags.qflows_key`."""
        return client_key(document)

    # -- handlers ----------------------------------------------------------------------------------------------

    async def verify(self, call: Call) -> Response:
        """The caller. The client hashes `organizationUserId`, and asks for the balance of `organizationId`."""
        user = f"u-{accounts.account_of(call)}"
        return render.ok({"organizationId": "org-sandbox", "organizationUserId": user, "email": "sandbox"})

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
        """A page of devices; `retired=false` leaves the retired ones out."""
        hides_retired = call.query.get("retired") == "false"
        limit, page = whole(call, "limit", DEVICE_PAGE, MAX_DEVICE_PAGE), whole(call, "page", 1, 10**9)
        chosen = [d for d in catalog.DEVICES.values() if not (hides_retired and d.status == "RETIRED")]
        shown = chosen[(page - 1) * limit : page * limit]
        return render.ok([catalog.profile(device, has_access=not is_closed(call, device)) for device in shown])

    def _device(self, call: Call) -> catalog.Device:
        device = catalog.DEVICES.get(call.params["qrn"])
        if device is None:
            raise Refusal(404, f"Device not found: {call.params['qrn']}", code="NOT_FOUND")
        return device

    async def device(self, call: Call) -> Response:
        """One device."""
        device = self._device(call)
        return render.ok(catalog.profile(device, has_access=not is_closed(call, device)))

    async def calibrations(self, call: Call) -> Response:
        """Calibration data; 404 if there is none."""
        found = catalog.calibrations(self._device(call))
        if found is None:
            raise Refusal(404, "Calibration data not found", code="NOT_FOUND")
        return render.ok(found)

    async def providers(self, call: Call) -> Response:
        """The makers of devices."""
        return render.ok({"providers": catalog.providers()})
