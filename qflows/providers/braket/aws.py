"""boto3 clients by region, with outcomes sorted by what they prove. botocore's own retries are off.

botocore repeats a CreateQuantumTask up to three times by default (measured, 1.44.5). The token is the same each time,
but what AWS does with an old or a known token is not documented, so nothing is repeated here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from qflows.bounded_http import MAX_BYTES, retry_after_s
from qflows.errors import Ambiguous, NotSent, ProviderError, Refused, Throttled, Unreadable
from qflows.privacy.redaction import protect, redact_bytes
from qflows.providers.braket.bounded import Exchange, Session, TooLarge

# Errors CreateQuantumTask declares (botocore 1.44.5) besides throttling and 500; 401, 404, 413: before the API itself
_REFUSED = frozenset({400, 401, 402, 403, 404, 410, 413, 424})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# GetDevice hides OpenQASM from clients that do not name BraketSchemas >= 1.8.0 (AWS developer guide, stored copy)
_USER_AGENT = "qflows BraketSchemas/1.32.1"

# Amazon Braket quotas page, per region (stored copy, 2026): (requests a second, burst). Kept a fifth below.
QUOTAS: dict[str, tuple[float, int]] = {
    "CreateQuantumTask": (20, 40),
    "SearchQuantumTasks": (5, 50),
    "GetQuantumTask": (100, 500),
    "CancelQuantumTask": (2, 20),
    "GetDevice": (5, 50),
    "SearchDevices": (5, 50),
}

# bytes of an answer; SV1 with 100,000 shots of 34 qubits is 10 MB
_MAX_BYTES = {"GetObject": 64_000_000, "GetDevice": 16_000_000}
_OBJECT_PATIENCE = 4  # an object may be large: this many times the deadline of other requests

_HINTS = {
    "AccessDeniedException": "; the credentials need braket:* on the device and s3:PutObject on the results bucket",
    "AccessDenied": "; the credentials need s3:GetObject on the results bucket",
    "ServiceQuotaExceededException": "; wait for running tasks, or ask AWS for a higher quota",
    "DeviceOfflineException": "; the device is offline now, submit again within its execution window",
    "DeviceRetiredException": "; choose another device",
    "NoSuchBucket": "; create the results bucket in the device's region or set s3_bucket",
    "403": "; the bucket belongs to another account, or the credentials lack s3:ListBucket",
    "UnrecognizedClientException": "; check the AWS access key",
    "ExpiredTokenException": "; renew the AWS session",
    "InvalidSignatureException": "; check the AWS secret access key and this machine's clock",
}


@dataclass
class Pacer:
    """A token bucket that makes its caller wait. No request is dropped."""

    rate_per_s: float
    burst: float
    _tokens: float = field(init=False)
    _at: float = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._tokens, self._at = self.burst, time.monotonic()

    def wait_s(self) -> float:
        """Take a token; return the seconds until it is available."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate_per_s) - 1
            self._at = now
            return max(0.0, -self._tokens / self.rate_per_s)


class Aws:
    """One set of AWS credentials. Its repr shows no secret. Clients are created once per region and service."""

    def __init__(self, session: Any, *, endpoint_url: str | None, timeout_s: float, keeps_quotas: bool | None) -> None:
        self._session = session  # boto3 sessions are not thread-safe: used under the lock only
        self._endpoint_url = endpoint_url
        self._timeout_s = timeout_s
        self._keeps_quotas = keeps_quotas
        self._clients: dict[tuple[str, str], Any] = {}
        self._pacers: dict[tuple[str, str], Pacer] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Aws({self._endpoint_url or 'amazonaws.com'})"

    def client(self, service: str, region: str) -> Any:
        """A client that sends every request once. Raises NotSent for plain HTTP beyond this machine."""
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._make(service, region)
            return self._clients[service, region]

    def _make(self, service: str, region: str) -> Any:
        from botocore.config import Config

        config = Config(
            user_agent_extra=_USER_AGENT,
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=min(self._timeout_s, 10.0),
            read_timeout=self._timeout_s,
            max_pool_connections=16,
            s3={"addressing_style": "path"} if self._endpoint_url else None,
        )
        client = self._session.client(service, region_name=region, endpoint_url=self._endpoint_url, config=config)
        client.meta.events.register("before-send", _protect_sent)
        parts = urlsplit(client.meta.endpoint_url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise NotSent(
                f"the AWS address {client.meta.endpoint_url} is not https; nothing was sent", provider="braket"
            )
        client._endpoint.http_session = Session(client._endpoint.http_session)
        if self._keeps_quotas is None:
            self._keeps_quotas = parts.hostname not in _LOOPBACK
        return client

    def call(self, service: str, region: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One request that may be repeated. Raises Refused, Throttled, NotSent, Ambiguous or Unreadable."""
        return self._send(service, region, operation, parameters, _sorted_read)

    def create(self, region: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """CreateQuantumTask, once. Raises Refused if nothing was accepted, NotSent if nothing was sent, otherwise
        Ambiguous, also for throttling: it is not documented that nothing was accepted then.
        """
        return self._send("braket", region, "CreateQuantumTask", parameters, _sorted_create)

    def _send(
        self,
        service: str,
        region: str,
        operation: str,
        parameters: Mapping[str, Any],
        sort: Callable[[Any, str], ProviderError],
    ) -> dict[str, Any]:
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        client = self.client(service, region)
        self._pace(region, operation)
        exchange = self._exchange(operation)
        try:
            with exchange:
                answer = getattr(client, xform_name(operation))(**parameters)
                if operation == "GetObject":  # its body is part of the exchange
                    answer["Body"] = redact_bytes(answer["Body"].read())
            if not exchange.is_late:  # a cut connection looks like the end of a body without length
                return _complete(client, operation, answer)
        except ClientError as error:
            if error.operation_name != operation:  # AssumeRole and the like: our own request was never made
                raise NotSent(
                    f"no AWS credentials: {error.operation_name} failed: {_message(error)}", provider="braket"
                ) from None
            raise sort(error, operation) from None
        except TooLarge as error:
            raise Unreadable(f"AWS answered {operation} with {error}; the rest is unread", provider="braket") from None
        except (BotoCoreError, ResponseParserError, OSError, HTTPError, *_MISFITS) as error:
            if not exchange.is_late:
                raise _unanswered(error, operation) from None
        within = f"within {exchange.timeout_s:g} s"
        raise Ambiguous(f"AWS gave no complete answer to {operation} {within}", provider="braket")

    def _exchange(self, operation: str) -> Exchange:
        patience = _OBJECT_PATIENCE if operation == "GetObject" else 1
        return Exchange(timeout_s=self._timeout_s * patience, max_bytes=_MAX_BYTES.get(operation, MAX_BYTES))

    def _pace(self, region: str, operation: str) -> None:
        if not self._keeps_quotas or operation not in QUOTAS:
            return
        rate, burst = QUOTAS[operation]
        with self._lock:
            pacer = self._pacers.setdefault((region, operation), Pacer(0.8 * rate, 0.5 * burst))
        if wait_s := pacer.wait_s():
            time.sleep(wait_s)

    def read_object(self, region: str, bucket: str, key: str) -> bytes:
        """An object from S3. Raises Refused with vendor_code NoSuchKey if it does not exist."""
        return self.call("s3", region, "GetObject", Bucket=bucket, Key=key)["Body"]


# what botocore's parsers raise on JSON that is not of the documented shape
_MISFITS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def _complete(client: Any, operation: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, if it has the members that botocore's model requires; raises LookupError otherwise.

    botocore 1.44.8 turns a body that is not JSON into an answer without members (`_parse_body_as_json`): a truncated
    list would pass for an empty one, and an empty one proves that a task does not exist.
    """
    if client.meta.service_model.service_name == "braket":
        shape = client.meta.service_model.operation_model(operation).output_shape
        missing = [name for name in (shape.required_members if shape is not None else ()) if name not in answer]
        if missing:
            raise LookupError(f"the answer is cut off or not one of Braket's: it lacks {', '.join(missing[:5])}")
    return answer


def _sorted_create(error: Any, operation: str) -> ProviderError:
    status = _status(error)
    # a mismatch of parameters means that a task with this token exists: a doubt, not a refusal
    if (
        status in _REFUSED
        and _is_aws(error)
        and not re.search(r"\btoken\b.*\bparameters\b", _message(error), re.IGNORECASE)
    ):
        return _refusal(error, operation)
    return Ambiguous(
        f"braket answered {status} {_code(error)} to a submission; it may have the task",
        **_fields(error),
    )


def _sorted_read(error: Any, operation: str) -> ProviderError:
    status, code = _status(error), _code(error)
    if code == "ServiceQuotaExceededException" and operation == "CreateQuantumTask":
        # a quota of unfinished tasks: nothing was accepted, and there is room once some have ended
        return Throttled(f"{operation}: as many tasks as the quota allows are unfinished", **_fields(error))
    if status == 429 or "Throttl" in code or code in ("TooManyRequestsException", "SlowDown"):
        return Throttled(f"{operation}: AWS asks for fewer requests", **_fields(error))
    if 400 <= status < 500 and (_is_aws(error) or operation.startswith("Head")):  # HEAD has no body
        return _refusal(error, operation)
    whose = "braket" if _is_aws(error) else "something between here and AWS"
    return Ambiguous(f"{whose} answered {status} {code} to {operation}", **_fields(error))


def _is_aws(error: Any) -> bool:
    """True for an error in a form that AWS documents; a gateway's page names no code except its status."""
    return not _code(error).isdecimal() and bool(_code(error))


def _unanswered(error: Any, operation: str) -> ProviderError:
    """No answer, or none that botocore could read; or the request was never made."""
    from botocore import exceptions as boto

    text = f"{operation}: {type(error).__name__}: {str(error)[:300]}"
    never_left = (
        boto.EndpointConnectionError,
        boto.ConnectTimeoutError,
        boto.ProxyConnectionError,
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.NoRegionError,
        boto.TokenRetrievalError,
        boto.UnauthorizedSSOTokenError,
    )
    if isinstance(error, boto.ParamValidationError):
        return Refused(f"{text}; nothing was sent", provider="braket")
    if isinstance(error, never_left):
        return NotSent(f"AWS cannot be reached: {text}", provider="braket")
    return Ambiguous(f"AWS gave no answer to {text}", provider="braket")


def _refusal(error: Any, operation: str) -> Refused:
    return Refused(
        f"braket refused {operation} ({_status(error)} {_code(error)}): {_message(error)[:500]}"
        f"{_HINTS.get(_code(error), '')}{_members(error)}",
        **_fields(error),
    )


def _members(error: Any) -> str:
    """The programs of a set that are at fault, as far as AWS reports them."""
    failures = error.response.get("programSetValidationFailures") or ()
    said = [f"program {f.get('programIndex')}: {'; '.join(f.get('errors') or ())}" for f in list(failures)[:5]]
    return f" [{' | '.join(said)[:1000]}]" if said else ""


def _fields(error: Any) -> dict[str, Any]:
    return {
        "provider": "braket",
        "http_status": _status(error),
        "vendor_code": _code(error)[:200],
        "vendor_message": _message(error)[:2000],
        "retry_after_s": retry_after_s(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})),
    }


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _message(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Message") or error.response.get("message") or "")


def _protect_sent(request: Any, **kwargs: Any) -> None:
    """Protect what signs a request: temporary keys are known only now, and a server may send them back."""
    headers = {name: _text(value) for name, value in request.headers.items()}
    protect(headers.get("X-Amz-Security-Token"))
    if found := re.search(r"Credential=([^/,\s]+)/", headers.get("Authorization", "")):
        protect(found[1])


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
