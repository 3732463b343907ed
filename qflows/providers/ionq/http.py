"""HTTP to IonQ with outcomes sorted by what they prove. No implicit repeats."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any
from urllib.parse import quote

from qflows.bounded_http import BODY_EXCERPT, MAX_BYTES, Answer, BoundedHttp
from qflows.errors import Ambiguous, ProviderError, Refused, Throttled, Unreadable

# no job can exist after these, even from a gateway; 429 and 5xx may follow an accepted POST
_REFUSED_POST = frozenset({400, 401, 403, 404, 413, 422})
# only with these and the vendor's own JSON is an answer a refusal; a gateway's page is not
_VERDICTS = frozenset({401, 403})
_LONGEST_ID = 128  # ids are UUIDs

LIST_BYTES = 32_000_000  # 25 jobs, each with metadata of 40 kB and compiled variants
RESULT_BYTES = 64_000_000  # 10**6 outcomes are 30 MB
BULK_BYTES = 256_000_000  # 5,000 circuits, or 10**6 shots of named registers

Params = Sequence[tuple[str, str]]


class IonQHttp:
    """A thin client for one API key. Its repr shows the address and no secret.

    During a pause that IonQ asked for, every request of this client is refused here, as Throttled.
    """

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self.bounded = BoundedHttp(
            name="ionq",
            base_url=base_url,
            headers={"Authorization": f"apiKey {api_key}"},
            secrets=[api_key],
            timeout_s=timeout_s,
        )
        self.base_url = base_url
        self._lock = Lock()
        self._not_before = 0.0  # monotonic

    def __repr__(self) -> str:
        return f"IonQHttp({self.base_url})"

    def get(self, path: str, params: Params = ()) -> Any:
        """A JSON body; every fault is safe to repeat, and its type says whether repeating can help."""
        return self.page(path, params)[0]

    def page(self, path: str, params: Params = ()) -> tuple[Any, float | None]:
        """A JSON body, and by how many seconds the vendor's clock is ahead of ours."""
        answer = self.read("GET", path, params, max_bytes=LIST_BYTES)
        return _parsed(answer, path), answer.skew_s

    def get_object(self, path: str, params: Params = ()) -> Mapping[str, Any]:
        """A JSON object. Raises Unreadable for any other JSON."""
        body = self.get(path, params)
        if not isinstance(body, dict):
            raise Unreadable(f"ionq answered {path} without an object", provider="ionq", body=str(body)[:BODY_EXCERPT])
        return body

    def document(self, path: str, params: Params = (), *, url: Any = None, max_bytes: int = MAX_BYTES) -> bytes:
        """A JSON body, unchanged. `url` is a link from a job body: only server-relative links are followed, because
        vendor text is data; without one, `path` is read."""
        if isinstance(url, str) and url.startswith("/") and not url.startswith("//"):
            path = self.bounded.origin + url
        answer = self.read("GET", path, params, max_bytes=max_bytes)
        # decoded in full by `decode`; here only pages and texts are detected, because parsing 30 MB twice is slow
        if answer.content.lstrip()[:1] not in (b"{", b"["):
            raise _not_json(answer, path)
        return answer.content

    def exists(self, path: str) -> bool:
        """False only on IonQ's documented answer `{"statusCode": 404, ...}`, which no gateway's page gives."""
        try:
            self.read("GET", path, max_bytes=LIST_BYTES)
        except Refused as error:
            if error.http_status == 404 and _says_404(error.body):
                return False
            raise
        return True

    def put(self, path: str) -> Any:
        """A repeatable PUT."""
        return _parsed(self.read("PUT", path, json_body={}), path)

    def post_repeatable(self, path: str) -> Any:
        """A POST that may be sent twice without harm."""
        return _parsed(self.read("POST", path, json_body={}), path)

    def post_once(self, path: str, content: bytes) -> Mapping[str, Any]:
        """A POST that buys; `content` is JSON. Returns the body, which has an `id`.

        Raises Refused if nothing was accepted, NotSent if nothing was sent, Ambiguous in all other cases.
        """
        self._wait_is_over()
        headers = {"Content-Type": "application/json"}
        try:
            answer = self.bounded.exchange("POST", path, content=content, headers=headers)
        except Unreadable as error:  # too large to read: it is unknown whether it was accepted
            raise Ambiguous(f"{error}; it may have the job", provider="ionq", http_status=error.http_status) from None
        self._note_pause(answer)
        if answer.status in _REFUSED_POST:
            raise _refusal(answer)
        parsed = answer.json() if answer.status in (200, 201) else None
        vendor_id = parsed.get("id") if isinstance(parsed, dict) else None
        if isinstance(parsed, dict) and isinstance(vendor_id, str) and 0 < len(vendor_id) <= _LONGEST_ID:
            return parsed
        said = _message(answer)
        raise Ambiguous(
            f"ionq answered {answer.status} to a submission without a job id; it may have the job",
            provider="ionq",
            http_status=answer.status,
            vendor_message=said,
            retry_after_s=answer.retry_after_s,
            body=answer.text,
        )

    def read(
        self, method: str, path: str, params: Params = (), *, json_body: Any = None, max_bytes: int = MAX_BYTES
    ) -> Answer:
        """One repeatable request, answered 2xx. Raises Throttled, Refused, Ambiguous, NotSent or Unreadable
        otherwise."""
        self._wait_is_over()
        answer = self.bounded.exchange(method, path, params=params, json_body=json_body, max_bytes=max_bytes)
        self._note_pause(answer)
        if not answer.is_success:
            raise _fault(answer, f"{method} {path[:200]}")
        return answer

    def end_pause(self) -> None:
        """Allow requests again, whatever pause was asked for."""
        with self._lock:
            self._not_before = 0.0

    def _wait_is_over(self) -> None:
        left = self._not_before - time.monotonic()
        if left > 0:
            raise Throttled(
                f"ionq asked for fewer requests; the next one is sent in {left:.0f} s",
                provider="ionq",
                http_status=429,
                retry_after_s=left,
            )

    def _note_pause(self, answer: Answer) -> None:
        pause = answer.retry_after_s if answer.status == 429 else None
        if pause:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + pause)


def path(*parts: str) -> str:
    """A path that its parts cannot leave: ids may come from a person, or from another vendor's answer."""
    for part in map(str, parts):
        if part in (".", "..", "") or len(part) > _LONGEST_ID:
            shown = f"{part[:40]!r}{' and more' * (len(part) > 40)}"
            raise Refused(f"{shown} is not an IonQ id; those are UUIDs", provider="ionq")
    return "".join("/" + quote(str(part), safe="") for part in parts)


def is_id(text: str) -> bool:
    """Whether IonQ may have issued this id: it fits into an address."""
    return 0 < len(text) <= _LONGEST_ID and text.isprintable()


def _says_404(body: str | None) -> bool:
    try:
        parsed = json.loads(body or "")
    except ValueError:
        return False
    return isinstance(parsed, dict) and parsed.get("statusCode") == 404


def _parsed(answer: Answer, path: str) -> Any:
    parsed = answer.json()
    if parsed is None and answer.content.strip() != b"null":
        raise _not_json(answer, path)
    return parsed


def _not_json(answer: Answer, path: str) -> Unreadable:
    return Unreadable(
        f"ionq answered {path[:200]} with something that is not JSON",
        provider="ionq",
        http_status=answer.status,
        body=answer.text,
    )


def _fault(answer: Answer, where: str) -> ProviderError:
    status = answer.status
    if status == 429:
        return Throttled(
            "ionq asks for fewer requests", provider="ionq", http_status=429, retry_after_s=answer.retry_after_s
        )
    is_own_word = isinstance(answer.json(), dict)
    if 400 <= status < 500 and status != 408 and (is_own_word or status in _VERDICTS):
        return _refusal(answer)
    return Ambiguous(
        f"ionq answered {status} to {where}{'' if is_own_word else ' with a page that does not come from the API'}",
        provider="ionq",
        http_status=status,
        vendor_message=_message(answer),
        retry_after_s=answer.retry_after_s,
        body=answer.text,
    )


def _error_parts(answer: Answer) -> tuple[str | None, str | None]:
    """Code and text: `{statusCode, error, message}` is documented; `{code, message}` and `{error: {...}}` were seen."""
    body = answer.json()
    body = body if isinstance(body, dict) else {}
    inner = body.get("error")
    code = inner.get("type") if isinstance(inner, dict) else inner or body.get("code")
    text = body.get("message") or (inner.get("message") if isinstance(inner, dict) else None)
    return (str(code)[:200] if code else None), (str(text)[:2000] if text else None)


def _message(answer: Answer) -> str | None:
    return _error_parts(answer)[1]


def _refusal(answer: Answer) -> Refused:
    code, text = _error_parts(answer)
    shown = text or answer.text[:200]
    hint = {401: "; check IONQ_API_KEY", 403: "; the key may not use this backend", 413: "; split the job"}
    return Refused(
        f"ionq refused ({answer.status}): {shown[:500]}{hint.get(answer.status, '')}",
        provider="ionq",
        http_status=answer.status,
        vendor_code=code,
        vendor_message=shown[:2000],
        body=answer.text,
    )
