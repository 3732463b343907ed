"""HTTP to qBraid with outcomes sorted by what they prove.

Envelope: `{"success": true, "data": ...}`; errors `{"success": false, "message", "error": {"message", "code"}}`, or
FastAPI's `{"detail": ...}` (what `qbraid-core` 0.6.37 parses, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from qflows.errors import Ambiguous, CredentialsMissing, NotSent, ProviderError, Refused, Throttled, Unreadable

# a job cannot exist after these; 402, 408, 429 and 5xx may follow an accepted POST
_REFUSED_POST = frozenset({400, 401, 403, 404, 409, 422})
# error codes that say by themselves that nothing was accepted, whatever 4xx status they come with
_REFUSED_CODES = frozenset({"INSUFFICIENT_CREDITS"})
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_BODY_CAP = 4_000
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HINTS = {
    401: "; check QBRAID_API_KEY, and `api-key` in the qbraidrc file, which comes first",
    403: "; the account may not use this device",
    404: "; check the device's or job's QRN",
}
_CODE_HINTS = {
    "GROUP_NOT_OPEN": "; the group was closed or its time to live is over: open a new one",
    "INSUFFICIENT_CREDITS": "; add credits to the account, or lower the shots",
    "BATCH_NOT_SUPPORTED": "; submit the circuits one by one",
}

Params = Sequence[tuple[str, str]]


class QbraidHttp:
    """A thin client; retries nothing. Its repr shows the address and no secret."""

    def __init__(self, *, base_url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise CredentialsMissing(f"the qBraid address {base_url} is not https; an API key must not travel in clear")
        self.base_url = base_url
        self._client = httpx.Client(
            headers={**headers, "X-Domain": "qbraid", "User-Agent": "qflows"},
            timeout=timeout_s,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )

    def __repr__(self) -> str:
        return f"QbraidHttp({self.base_url})"

    def get(self, path: str, params: Params = ()) -> Any:
        """The `data` of an answer; every fault is safe to repeat, its type says whether it is worth while."""
        return self.get_envelope(path, params)["data"]

    def get_envelope(self, path: str, params: Params = ()) -> Mapping[str, Any]:
        """The whole answer, for lists that say in `pagination` how they go on."""
        return self._read(self._client.build_request("GET", self.base_url + path, params=list(params)))

    def post_repeatable(self, path: str) -> Any:
        """A POST that may be sent twice without harm: cancel, close."""
        return self._read(self._client.build_request("POST", self.base_url + path))["data"]

    def post_once(self, path: str, body: Mapping[str, Any], id_member: str) -> Mapping[str, Any]:
        """A POST that creates. Returns `data`, in which `id_member` is text and all else may be missing.

        Raises Refused when nothing was accepted, NotSent when nothing was sent, Ambiguous in all other cases.
        """
        try:
            answer = self._client.post(self.base_url + path, json=dict(body))
        except _NEVER_LEFT as error:
            raise NotSent(f"qbraid cannot be reached: {error}", provider="qbraid") from error
        except httpx.HTTPError as error:
            raise Ambiguous(
                f"qbraid gave no answer ({type(error).__name__}); it may have accepted", provider="qbraid"
            ) from error
        parsed = _json(answer)
        data = parsed.get("data") if isinstance(parsed, dict) else None
        if answer.is_success and isinstance(data, dict) and isinstance(data.get(id_member), str):
            return data
        refusal = _refusal(answer)
        is_definite = 400 <= answer.status_code < 500 and refusal.vendor_code in _REFUSED_CODES
        if answer.status_code in _REFUSED_POST or is_definite:
            raise refusal
        raise Ambiguous(
            f"qbraid answered {answer.status_code} without a {id_member}; it may have accepted",
            provider="qbraid",
            http_status=answer.status_code,
            vendor_code=refusal.vendor_code,
            retry_after_s=_retry_after_s(answer),
            body=answer.text[:_BODY_CAP],
        )

    def _read(self, request: httpx.Request) -> Mapping[str, Any]:
        where = f"{request.method} {request.url.path}"
        try:
            answer = self._client.send(request)
        except _NEVER_LEFT as error:
            raise NotSent(f"qbraid cannot be reached: {error}", provider="qbraid") from error
        except httpx.HTTPError as error:
            raise Ambiguous(f"qbraid gave no answer to {where}", provider="qbraid") from error
        if not answer.is_success:
            raise _fault(answer, where)
        parsed = _json(answer)
        if not isinstance(parsed, dict) or "data" not in parsed:
            raise Unreadable(
                f"qbraid answered {where} with something that is not its envelope",
                provider="qbraid",
                http_status=answer.status_code,
                body=answer.text[:_BODY_CAP],
            )
        return parsed


def path_of(*parts: str) -> str:
    """A path whose parts are text from elsewhere: QRNs are opaque, so a slash in one must not become a path."""
    return "".join("/" + quote(part, safe=":@") for part in parts)


def _fault(answer: httpx.Response, where: str) -> ProviderError:
    status = answer.status_code
    if status == 429:
        return Throttled(
            "qbraid asks for fewer requests", provider="qbraid", http_status=429, retry_after_s=_retry_after_s(answer)
        )
    if 400 <= status < 500 and status != 408:
        return _refusal(answer)
    return Ambiguous(
        f"qbraid answered {status} to {where}",
        provider="qbraid",
        http_status=status,
        retry_after_s=_retry_after_s(answer),
    )


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _refusal(answer: httpx.Response) -> Refused:
    body = _json(answer)
    body = body if isinstance(body, dict) else {}
    inner = body.get("error")
    inner = inner if isinstance(inner, dict) else {}
    code = inner.get("code")
    text = body.get("message") or inner.get("message") or _detail(body.get("detail")) or answer.text[:200]
    numbers = ", ".join(f"{name} {inner[name]}" for name in ("needed", "minRequired", "balance") if name in inner)
    hint = _CODE_HINTS.get(str(code)) or _HINTS.get(answer.status_code, "")
    return Refused(
        f"qbraid refused ({answer.status_code}): {str(text)[:500]}{f' ({numbers[:200]})' if numbers else ''}{hint}",
        provider="qbraid",
        http_status=answer.status_code,
        vendor_code=str(code)[:200] if code else None,
        vendor_message=str(text)[:2000],
        body=answer.text[:_BODY_CAP],
    )


def _detail(detail: Any) -> str | None:
    if isinstance(detail, str):
        return detail
    if not isinstance(detail, list):
        return None
    entries = [entry for entry in detail if isinstance(entry, dict)]
    return "; ".join(f"{'.'.join(map(str, e.get('loc') or ()))}: {e.get('msg')}" for e in entries) or None


def _retry_after_s(answer: httpx.Response) -> float | None:
    try:
        return max(float(answer.headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return None  # an HTTP date, or nothing: the poller's own back-off decides
