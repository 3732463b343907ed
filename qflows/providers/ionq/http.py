"""HTTP to IonQ with outcomes sorted by what they prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from qflows.errors import Ambiguous, CredentialsMissing, NotSent, Refused, Throttled, Unreadable
from qflows.redaction import protect

# vendors/… recipe: a job cannot exist after these; 429 and 5xx may follow an accepted POST
_REFUSED_POST = frozenset({400, 401, 403, 404, 413, 422})
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_BODY_CAP = 4_000
_SHORTEST_SECRET = 12  # shorter ones are placeholders of a test or a sandbox, and may be ordinary words
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Params = Sequence[tuple[str, str]]


class IonQHttp:
    """A thin client; retries nothing. Its repr shows the address and no secret."""

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        protect(api_key)
        parts = urlsplit(base_url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise CredentialsMissing(f"the IonQ address {base_url} is not https; an API key must not travel in clear")
        self.base_url = base_url
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._secret = api_key.encode()
        self._client = httpx.Client(
            headers={"Authorization": f"apiKey {api_key}", "User-Agent": "qflows"},
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=parts.hostname not in _LOOPBACK,  # a proxy of the environment cannot reach our loopback
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )

    def __repr__(self) -> str:
        return f"IonQHttp({self.base_url})"

    def get(self, path: str, params: Params = ()) -> Any:
        """A JSON body; every fault is safe to repeat, its type says whether it is worth while."""
        return self._read(self._client.build_request("GET", self.base_url + path, params=list(params)))

    def get_object(self, path: str, params: Params = ()) -> Mapping[str, Any]:
        """A JSON object. Raises Unreadable for any other JSON."""
        body = self.get(path, params)
        if not isinstance(body, dict):
            raise Unreadable(f"ionq answered {path} without an object", provider="ionq", body=str(body)[:_BODY_CAP])
        return body

    def get_linked(self, url: Any, default_path: str, params: Params) -> Any:
        """Follows a link from a job body. Only server-relative links are followed: vendor text is data."""
        if not isinstance(url, str) or not url.startswith("/") or url.startswith("//"):
            return self.get(default_path, params)
        return self._read(self._client.build_request("GET", self._origin + url, params=list(params)))

    def put(self, path: str) -> Any:
        """A repeatable PUT."""
        return self._read(self._client.build_request("PUT", self.base_url + path, json={}))

    def post_repeatable(self, path: str) -> Any:
        """A POST that may be sent twice without harm."""
        return self._read(self._client.build_request("POST", self.base_url + path, json={}))

    def post_once(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A POST that buys. Returns the body, which has an `id`.

        Raises Refused when nothing was accepted, NotSent when nothing was sent, Ambiguous in all other cases.
        """
        try:
            answer = self._send(self._client.build_request("POST", self.base_url + path, json=dict(body)))
        # from None: frames of the transport hold the key in their locals, and some loggers print locals
        except _NEVER_LEFT as error:
            raise NotSent(f"ionq cannot be reached: {error}", provider="ionq") from None
        except httpx.HTTPError as error:
            raise Ambiguous(
                f"ionq gave no answer ({type(error).__name__}); it may have the job", provider="ionq"
            ) from None
        if answer.status_code in _REFUSED_POST:
            raise _refusal(answer)
        parsed = _json(answer) if answer.status_code in (200, 201) else None
        if isinstance(parsed, dict) and isinstance(parsed.get("id"), str):
            return parsed
        raise Ambiguous(
            f"ionq answered {answer.status_code} to a submission without a job id; it may have the job",
            provider="ionq",
            http_status=answer.status_code,
            retry_after_s=_retry_after_s(answer),
            body=answer.text[:_BODY_CAP],
        )

    def _send(self, request: httpx.Request) -> httpx.Response:
        """One request. A key that the vendor quotes in its answer is taken out: messages end in ledgers and logs."""
        answer = self._client.send(request)
        if len(self._secret) < _SHORTEST_SECRET or self._secret not in answer.content:
            return answer
        headers = {name: value for name, value in answer.headers.items() if name == "retry-after"}
        content = answer.content.replace(self._secret, b"[API key]")
        return httpx.Response(answer.status_code, headers=headers, content=content, request=request)

    def _read(self, request: httpx.Request) -> Any:
        try:
            answer = self._send(request)
        except _NEVER_LEFT as error:
            raise NotSent(f"ionq cannot be reached: {error}", provider="ionq") from None
        except httpx.HTTPError:
            raise Ambiguous(f"ionq gave no answer to {request.method} {request.url.path}", provider="ionq") from None
        if answer.status_code == 429:
            raise Throttled(
                "ionq asks for fewer requests", provider="ionq", http_status=429, retry_after_s=_retry_after_s(answer)
            )
        if 400 <= answer.status_code < 500:
            raise _refusal(answer)
        if answer.status_code >= 300:
            raise Ambiguous(
                f"ionq answered {answer.status_code} to {request.method} {request.url.path}",
                provider="ionq",
                http_status=answer.status_code,
                retry_after_s=_retry_after_s(answer),
            )
        parsed = _json(answer)
        if parsed is None:
            raise Unreadable(
                f"ionq answered {request.url.path} with something that is not JSON",
                provider="ionq",
                http_status=answer.status_code,
                body=answer.text[:_BODY_CAP],
            )
        return parsed


def path(*parts: str) -> str:
    """A path whose parts cannot leave it: ids may come from a person, or from another vendor's answer."""
    if any(part in (".", "..", "") for part in parts):
        raise Refused(f"ionq has nothing with the id {parts[1][:80]!r}", provider="ionq")
    return "".join("/" + quote(str(part), safe="") for part in parts)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _refusal(answer: httpx.Response) -> Refused:
    """`{statusCode, error, message}` is documented; `{code, message}` and `{error: {...}}` were seen in clients."""
    body = _json(answer)
    body = body if isinstance(body, dict) else {}
    inner = body.get("error")
    code = inner.get("type") if isinstance(inner, dict) else inner or body.get("code")
    text = body.get("message") or (inner.get("message") if isinstance(inner, dict) else None) or answer.text[:200]
    hint = {401: "; check IONQ_API_KEY", 403: "; the key may not use this backend", 413: "; split the job"}
    return Refused(
        f"ionq refused ({answer.status_code}): {str(text)[:500]}{hint.get(answer.status_code, '')}",
        provider="ionq",
        http_status=answer.status_code,
        vendor_code=str(code)[:200] if code else None,
        vendor_message=str(text)[:2000],
        body=answer.text[:_BODY_CAP],
    )


def _retry_after_s(answer: httpx.Response) -> float | None:
    try:
        return max(float(answer.headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return None  # an HTTP date, or nothing: the poller's own back-off decides
