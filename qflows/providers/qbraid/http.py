"""HTTP to qBraid with outcomes sorted by what they prove.

Envelope: `{"success": true, "data": ...}`; errors `{"success": false, "message", "error": {"message", "code"}}`, or
FastAPI's `{"detail": ...}` (what `qbraid-core` 0.6.37 parses, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from qflows.bounded_http import MAX_BYTES, Answer, BoundedHttp, Params
from qflows.errors import Ambiguous, ProviderError, Refused, Throttled, Unreadable, VendorGroupClosed
from qflows.providers.qbraid.pacing import Pacing, Purpose

# no job can exist after these, even from a gateway: a gateway that sends them has not passed the request on, and one
# that did would show the vendor's answer or a 5xx; 402, 408, 409, 429 and 5xx may follow an accepted POST
_REFUSED_POST = frozenset({400, 401, 403, 404, 405, 411, 413, 414, 415, 422, 431})
_REFUSED_BY_QBRAID = frozenset({402, 409})  # only in the vendor's own words
_PATIENCE = frozenset({429, 503})
LARGE = 8 * MAX_BYTES
"""Size cap of lists and results, bytes."""
_BODY_CAP = 4_000
_HINTS = {
    401: "; check QBRAID_API_KEY, and `api-key` in the qbraidrc file, which comes first",
    403: "; the account may not use this device",
    404: "; check the device's or job's QRN",
    413: "; split the job",
}
_GROUP_CLOSED = "GROUP_NOT_OPEN"
_CODE_HINTS = {
    _GROUP_CLOSED: "; the group was closed or its time to live has passed: open a new one",
    "INSUFFICIENT_CREDITS": "; add credits to the account, or lower the shots",
    "BATCH_NOT_SUPPORTED": "; submit the circuits one by one",
    "INVALID_API_KEY_FORMAT": "; the key is mistyped or cut off: check QBRAID_API_KEY and the qbraidrc file",
}


class QbraidHttp:
    """A thin client; retries nothing. Its repr shows the address and no secret."""

    def __init__(
        self, *, base_url: str, headers: Mapping[str, str], timeout_s: float, pacing: Pacing | None = None
    ) -> None:
        self._http = BoundedHttp(
            name="qbraid",
            base_url=base_url,
            headers={**headers, "X-Domain": "qbraid"},
            secrets=list(headers.values()),
            timeout_s=timeout_s,
        )
        self.base_url = base_url
        self.pacing = pacing or Pacing()
        self.skew_s = 0.0  # how far the vendor's clock is ahead of ours, by its latest answer

    def __repr__(self) -> str:
        return f"QbraidHttp({self.base_url})"

    def get(self, path: str, params: Params = (), *, purpose: Purpose = Purpose.WORK, max_bytes: int = LARGE) -> Any:
        """The `data` of an answer; every fault is safe to repeat, and its type says whether that is worth trying."""
        return self.get_envelope(path, params, purpose=purpose, max_bytes=max_bytes)["data"]

    def get_envelope(
        self, path: str, params: Params = (), *, purpose: Purpose = Purpose.WORK, max_bytes: int = LARGE
    ) -> Mapping[str, Any]:
        """The whole answer, for lists that give the next page in `pagination`."""
        return envelope(self.get_answer(path, params, purpose=purpose, max_bytes=max_bytes), f"GET {path}")

    def get_answer(
        self, path: str, params: Params = (), *, purpose: Purpose = Purpose.WORK, max_bytes: int = LARGE
    ) -> Answer:
        """A successful answer, unchanged. Faults as for `get`."""
        return self._read("GET", path, params, purpose, max_bytes)

    def post_repeatable(self, path: str) -> Any:
        """A POST that may be sent twice without harm: cancel, close."""
        return envelope(self._read("POST", path, (), Purpose.CANCEL, MAX_BYTES), f"POST {path}")["data"]

    def post_once(self, path: str, body: Mapping[str, Any], id_member: str) -> Mapping[str, Any]:
        """Send a POST that creates. Returns `data`, in which `id_member` is text and everything else may be missing.

        Raises Refused if nothing was accepted, NotSent if nothing was sent, Ambiguous in all other cases, including a
        201 that says `success: false`.
        """
        try:
            answer = self._exchange("POST", path, (), Purpose.WORK, MAX_BYTES, dict(body))
        except Unreadable as error:
            raise Ambiguous(f"{error}; it may have accepted", provider="qbraid") from None
        data = _member(answer.json(), "data")
        if answer.is_success and isinstance(data, dict) and isinstance(data.get(id_member), str) and data[id_member]:
            return data
        refusal = _refusal(answer)
        is_own_word = answer.status in _REFUSED_BY_QBRAID and refusal.vendor_code is not None
        if answer.status in _REFUSED_POST or is_own_word:
            raise refusal
        raise Ambiguous(
            f"qbraid answered {answer.status} without a {id_member}; it may have accepted",
            provider="qbraid",
            http_status=answer.status,
            vendor_code=refusal.vendor_code,
            retry_after_s=self._patience_s(answer),
            body=answer.text[:_BODY_CAP],
        )

    def _read(self, method: str, path: str, params: Params, purpose: Purpose, max_bytes: int) -> Answer:
        answer = self._exchange(method, path, params, purpose, max_bytes)
        if not answer.is_success:
            raise self._fault(answer, f"{method} {path[:200]}")
        return answer

    def _exchange(
        self, method: str, path: str, params: Params, purpose: Purpose, max_bytes: int, body: Any = None
    ) -> Answer:
        self.pacing.take(purpose)
        answer = self._http.exchange(method, path, params=params, json_body=body, max_bytes=max_bytes)
        if answer.skew_s is not None:
            self.skew_s = answer.skew_s
        if answer.status not in _PATIENCE:
            self.pacing.answered()
        return answer

    def _patience_s(self, answer: Answer) -> float | None:
        asks = answer.status == 429 or (answer.status in _PATIENCE and "retry-after" in answer.headers)
        return self.pacing.refused(answer.headers) if asks else None

    def _fault(self, answer: Answer, where: str) -> ProviderError:
        status = answer.status
        if status == 429:
            return Throttled(
                "qbraid asks for fewer requests",
                provider="qbraid",
                http_status=429,
                retry_after_s=self._patience_s(answer),
            )
        if 400 <= status < 500 and status != 408:
            return _refusal(answer)
        return Ambiguous(
            f"qbraid answered {status} to {where}",
            provider="qbraid",
            http_status=status,
            retry_after_s=self._patience_s(answer),
            body=answer.text[:_BODY_CAP],
        )


def envelope(answer: Answer, where: str) -> Mapping[str, Any]:
    """The envelope of a success. Raises Unreadable for anything else, including a gateway's page."""
    parsed = answer.json()
    if not isinstance(parsed, dict) or "data" not in parsed:
        raise Unreadable(
            f"qbraid answered {where[:200]} with something that is not its envelope",
            provider="qbraid",
            http_status=answer.status,
            body=answer.text[:_BODY_CAP],
        )
    return parsed


def is_absent(error: Refused) -> bool:
    """True for qBraid's own "not found": 404 with its code (recorded 2026-09-22).

    The page of a gateway, a proxy or another service at the address does not count.
    """
    return error.http_status == 404 and error.vendor_code == "NOT_FOUND"


def path_of(*parts: str) -> str:
    """A path from parts that are external text: QRNs are opaque, so a slash in one must not become a path."""
    try:
        if any(part in (".", "..", "") or len(part) > 1_000 for part in parts):
            raise ValueError
        return "".join("/" + quote(part, safe=":@") for part in parts)
    except ValueError:  # including a UnicodeEncodeError
        raise Refused(f"qbraid has nothing with the id {max(parts, key=len)[:80]!a}", provider="qbraid") from None


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _refusal(answer: Answer) -> Refused:
    body = answer.json()
    inner = _member(body, "error")
    code = _member(inner, "code")
    text = _member(body, "message") or _member(inner, "message") or _detail(_member(body, "detail"))
    numbers = ", ".join(
        f"{name} {str(inner[name])[:40]}"
        for name in ("needed", "minRequired", "balance")
        if isinstance(inner, dict) and name in inner
    )
    who = "qbraid" if isinstance(body, dict) else "something in front of qbraid, not qbraid itself,"
    hint = (_CODE_HINTS.get(str(code)) if code else None) or _HINTS.get(answer.status, "")
    kind = VendorGroupClosed if code == _GROUP_CLOSED else Refused
    return kind(
        f"{who} refused ({answer.status}): {str(text or answer.text[:200])[:500]}"
        f"{f' ({numbers})' if numbers else ''}{hint}",
        provider="qbraid",
        http_status=answer.status,
        vendor_code=str(code)[:200] if code else None,
        vendor_message=str(text or answer.text)[:2000],
        body=answer.text[:_BODY_CAP],
    )


def _detail(detail: Any) -> str | None:
    if isinstance(detail, str):
        return detail
    if not isinstance(detail, list):
        return None
    entries = [entry for entry in detail if isinstance(entry, dict)]
    return "; ".join(f"{'.'.join(map(str, e.get('loc') or ()))}: {e.get('msg')}" for e in entries) or None
