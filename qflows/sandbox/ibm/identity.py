"""IBM Cloud services around the runtime API: IAM tokens, the search for instances, and the catalog of plans."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ibm import catalog
from qflows.sandbox.vendor import Call, Route

GRANT = "urn:ibm:params:oauth:grant-type:apikey"
NOBODY = "0" * 32  # the account of all callers, unless keys have separate accounts
REFUSED_KEYS = "bad"  # API keys with this prefix are unknown to IAM


class Identity:
    """Handlers of IAM, global search and global catalog, and the check of bearer tokens.

    Tokens expire by real time unless the switch `token_clock` says otherwise: the client keeps them by its own clock.
    """

    def routes(self) -> list[Route]:
        """The three services, below their own prefixes; they check authorization themselves."""
        return [
            Route("token", "POST", "/iam/identity/token", self.token, is_open=True),
            Route("search", "POST", "/search/v3/resources/search", self.search, is_open=True),
            Route("plan", "GET", "/catalog/api/v1/{plan_id}", self.plan, is_open=True),
        ]

    def env(self, url: str) -> dict[str, str]:
        """The variables that ibm-cloud-sdk-core and the client read to replace IBM's addresses."""
        return {
            "IAM_URL": f"{url}/iam",
            "GLOBAL_SEARCH_URL": f"{url}/search",
            "GLOBAL_CATALOG_URL": f"{url}/catalog/api/v1",
        }

    async def token(self, call: Call) -> Response:
        """Exchange an API key for a bearer token."""
        form = parse_qs(call.body.decode(errors="replace"))
        key = (form.get("apikey") or [""])[0]
        if (form.get("grant_type") or [""])[0] != GRANT or not _is_known(call, key):
            body = {"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}
            return JSONResponse(body, 400)
        now, lifetime_s = int(_now(call)), int(call.switch("token_lifetime_s"))
        account = hashlib.sha256(key.encode()).hexdigest()[:32] if call.switch("accounts_per_key") else NOBODY
        user = f"IBMid-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
        claims = {"iam_id": user, "account": {"bss": account}, "iat": now, "exp": now + lifetime_s}
        access = _jwt(claims)
        return JSONResponse(
            {
                "access_token": access,
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": lifetime_s,
                "expiration": now + lifetime_s,
                "scope": "ibm openid",
            }
        )

    async def search(self, call: Call) -> Response:
        """Instances of quantum computing, in pages if small ones are requested."""
        check_bearer(call)
        mine = catalog.instances_of(account_of(call))
        body = call.document()
        limit = call.query.get("limit", "100")
        size = int(limit) if limit.isdecimal() and int(limit) > 0 else 100
        start = int((body.get("search_cursor") if isinstance(body, dict) else None) or 0)
        items = [
            {
                "crn": found.crn,
                "name": found.name,
                "service_plan_unique_id": found.plan_id,
                "tags": list(found.tags),
                # the client ignores instances without allocations
                "doc": {"extensions": [{"key": "qubits", "value": "156"}]},
            }
            for found in mine[start : start + size]
        ]
        answer: dict[str, Any] = {"items": items, "limit": size}
        if start + size < len(mine):
            answer["search_cursor"] = str(start + size)
        return JSONResponse(answer)

    async def plan(self, call: Call) -> Response:
        """A plan of the catalog."""
        check_bearer(call)
        found = next((each for each in catalog.INSTANCES if each.plan_id == call.params["plan_id"]), None)
        if found is None:
            raise Refusal(404, "no such catalog entry")
        return JSONResponse(
            {
                "id": found.plan_id,
                "overview_ui": {"en": {"display_name": found.plan}},
                "metadata": {"pricing": {"type": found.pricing}},
            }
        )


def _is_known(call: Call, key: str) -> bool:
    known = [name for name in str(call.switch("known_keys")).split(",") if name]
    return bool(key) and (key in known if known else not key.startswith(REFUSED_KEYS))


def _now(call: Call) -> float:
    return time.time() if call.switch("token_clock") == "real" else call.world.clock.now()


def account_of(call: Call) -> str:
    """The account of the key behind a request's token."""
    return str(_claims(call).get("account", {}).get("bss", NOBODY))


def user_of(call: Call) -> str:
    """The identity behind a request's token."""
    return str(_claims(call).get("iam_id", "IBMid-sandbox"))


def _claims(call: Call) -> dict[str, Any]:
    part = call.headers.get("authorization", "").split(".")
    return json.loads(base64.urlsafe_b64decode(part[1] + "=" * (-len(part[1]) % 4))) if len(part) == 3 else {}


def check_bearer(call: Call) -> None:
    """Raise Refusal(401) unless the request carries an unexpired token of ours. A raw API key is not one."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(401, "give a bearer token", code=catalog.INVALID_CREDENTIALS)
    try:
        part = token.split(".")[1]
        payload = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        expires = float(payload["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        raise Refusal(401, "the token cannot be read", code=catalog.INVALID_CREDENTIALS) from None
    if expires < _now(call):
        raise Refusal(401, "the token has expired", code=catalog.INVALID_CREDENTIALS)


def _jwt(payload: dict[str, Any]) -> str:
    """An unsigned look-alike: the client decodes it without checking the signature."""
    parts = ({"alg": "RS256", "typ": "JWT"}, payload)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"sandbox").rstrip(b"=").decode()])
