"""The client's HTTP under our control: every request sent once, with a deadline, to an allowed host, with a bearer
token.

qiskit-ibm-runtime 0.51.0 repeats POSTs on eight 5xx codes and on TLS errors (up to six times), gives GETs no read
timeout, and sends the raw API key to the runtime host when IAM fails. A transport adapter of requests and an auth
object, both put on the client's session, prevent all of that. The session's own class walks the whole call stack for
every request, to report which library asks, which costs more than the request; ours reports qflows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

import requests
from ibm_cloud_sdk_core import ApiException
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.api.session import CLIENT_APPLICATION, QISKIT_FUNCTIONS_IDENTIFIER, RetrySession
from qiskit_ibm_runtime.exceptions import IBMError, IBMNotAuthorizedError
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError, NewConnectionError

from qflows.errors import Ambiguous, NotSent, ProviderError, Refused, Throttled, Unreadable
from qflows.privacy.redaction import protect
from qflows.providers.ibm.access import Access
from qflows.providers.ibm.exchange import OnceAdapter, ServerClock, retry_after_s
from qflows.providers.ibm.failures import WRONG_REGION

# everything the client is known to raise: its own, IBM Cloud's, transport, and JSON or members it did not expect
_MISFITS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
CLIENT_ERRORS = (IBMError, ApiException, requests.RequestException, ProviderError, *_MISFITS)

_BODY_CAP = 4_000
_FRESH_S = 60.0  # a token younger than this was not refused because of its age
# after these, with IBM's own error body, no job can exist (OpenAPI 0.45.3, create_job: 400 401 403 404 409)
_REFUSED_POST = frozenset({400, 401, 403, 404, 409, 413, 422})


class DirectSession(RetrySession):
    """The client's session without its walk of the call stack; errors are those that the client expects.

    The client's own switch for the walk is a variable of the whole process (USAGE_DATA_OPT_OUT), which is the user's to
    set; if it is set, no versions are sent either.
    """

    def request(self, method: str, url: str, bare: bool = False, **kwargs: Any) -> requests.Response:  # noqa: FBT001, FBT002
        """Like the client's own. Raises RequestsApiError, or IBMNotAuthorizedError for 401."""
        if bare:
            return super().request(method, url, bare=True, **kwargs)
        headers = {**self.headers, **(kwargs.pop("headers", None) or {}), **_who_asks(self.custom_header)}
        kwargs.setdefault("timeout", self._timeout)
        try:
            answer = requests.Session.request(self, method, self.base_url + url, headers=headers, **kwargs)
            answer.raise_for_status()
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else -1
            if status == 401:
                raise IBMNotAuthorizedError(str(error)) from error
            raise RequestsApiError(str(error), status) from error
        return answer


def _who_asks(custom_header: str | None) -> dict[str, str]:
    named = {"X-Qx-Client-Application": "/".join([CLIENT_APPLICATION, "qflows", *filter(None, [custom_header])])}
    function = os.environ.get(QISKIT_FUNCTIONS_IDENTIFIER)
    return named | ({"IBM-API-Function-Id": function} if function else {})


class TokenAuth(AuthBase):
    """A bearer token from IBM's own token manager. Never falls back to the API key."""

    def __init__(self, manager: Any, crn: str) -> None:
        self._manager = manager
        self._crn = crn
        self._lock = Lock()
        self._got_at = time.monotonic()  # the manager comes with the token of discovery
        protect(getattr(manager, "access_token", None), getattr(manager, "refresh_token", None))

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add token and instance. Raises Refused or NotSent if there is no token."""
        r.headers["Authorization"] = f"Bearer {self.token()}"
        r.headers["Service-CRN"] = self._crn
        return r

    def token(self) -> str:
        """A valid token. Raises Refused if IAM refuses the key, NotSent if IAM cannot be asked."""
        with self._lock:
            before = self._manager.access_token
            try:
                token = self._manager.get_token()
            except CLIENT_ERRORS as error:
                # otherwise all callers wait 60 s before the next try (ibm-cloud-sdk-core 3.28.0, paced_request_token)
                self._manager.request_time = 0
                raise token_error(error) from None
            if token != before:
                self._got_at = time.monotonic()
                protect(token, getattr(self._manager, "refresh_token", None))
            return token

    def renew(self) -> bool:
        """Discard a token that a server refused. False if it was too young to have expired."""
        with self._lock:
            if time.monotonic() - self._got_at < _FRESH_S:
                return False
            self._manager.expire_time = 0
            return True


def token_error(error: Exception) -> ProviderError:
    """The error for a failure to get an IAM token: no other request was sent."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 500 and status != 429:
        said = str(getattr(error, "message", ""))[:200]
        return Refused(
            f"IAM refused the IBM API key ({status}): {said}; check QISKIT_IBM_TOKEN",
            provider="ibm",
            http_status=status,
        )
    kind = type(error).__name__
    return NotSent(f"no IAM token ({status or kind}); nothing was sent to IBM Quantum", provider="ibm")


def tame(session: RetrySession, access: Access, auth: AuthBase, timeout_s: float, clock: ServerClock) -> None:
    """Put our transport on a session of the client: no repeats, deadlines, no redirects, our auth, no stack walk."""
    session.__class__ = DirectSession  # the client creates its sessions itself and holds them in several places
    adapter = OnceAdapter(access, timeout_s, clock.see)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    session.auth = auth
    session.max_redirects = 0  # a followed 307 would be a second POST
    if access.is_sandbox:
        session.trust_env = False  # no proxies of the environment


def read_error(error: Exception, what: str) -> ProviderError:
    """The error for a failed read; every one is safe to repeat, and its type says whether that may help."""
    if isinstance(error, ProviderError):
        return error
    answer = _answer(error)
    if answer is not None and answer.status_code == 429:
        return Throttled(
            "ibm asks for fewer requests", provider="ibm", http_status=429, retry_after_s=retry_after_s(answer)
        )
    if answer is not None and 400 <= answer.status_code < 500 and _own_error(answer) is not None:
        return _refusal(answer, what)
    if answer is not None and answer.status_code == 401:
        return _refusal(answer, what)
    if answer is not None and answer.status_code >= 300:  # also from a gateway, whose page is not IBM's answer
        return Ambiguous(
            f"ibm answered {answer.status_code} to {what}",
            provider="ibm",
            http_status=answer.status_code,
            retry_after_s=retry_after_s(answer),
            body=answer.text[:_BODY_CAP],
        )
    if _never_left(error):
        return NotSent(f"ibm cannot be reached for {what}", provider="ibm")
    if isinstance(error, _MISFITS):
        return Unreadable(f"ibm answered {what} with something its documentation does not describe", provider="ibm")
    return Ambiguous(f"ibm gave no answer to {what} ({_root(error)})", provider="ibm")


def post_error(error: Exception, what: str, auth: TokenAuth) -> ProviderError:
    """The error for a POST that buys: Refused and NotSent only if that is proved."""
    if isinstance(error, Unreadable):
        return Ambiguous(f"ibm answered {what} with {error}; it may have it", provider="ibm", body=error.body)
    if isinstance(error, ProviderError):
        return error
    if _never_left(error):
        return NotSent(f"ibm cannot be reached for {what}", provider="ibm")
    answer = _answer(error)
    if answer is None:
        return Ambiguous(f"ibm gave no usable answer to {what} ({_root(error)}); it may have it", provider="ibm")
    if answer.status_code in _REFUSED_POST and _own_error(answer) is not None:
        if answer.status_code != 401 or not auth.renew():
            return _refusal(answer, what)
        return Ambiguous(
            f"ibm refused an expired token for {what}; qflows gets a new one", provider="ibm", http_status=401
        )
    return Ambiguous(
        f"ibm answered {answer.status_code} to {what}; it may have it",
        provider="ibm",
        http_status=answer.status_code,
        vendor_code=_code(_own_error(answer)),
        retry_after_s=retry_after_s(answer),
        body=answer.text[:_BODY_CAP],
    )


def is_gone(error: Refused) -> bool:
    """True if IBM itself says that it has no such thing: 404 with its own error body.

    In a wrong region everything is 404, with code 1279; that says nothing about the job.
    """
    return error.http_status == 404 and bool(error.vendor_code) and error.vendor_code != WRONG_REGION


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes. The client wraps some with and some without `from`."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _answer(error: Exception) -> requests.Response | None:
    """The response behind an error of the client, if there was one."""
    for one in _chain(error):
        answer = getattr(one, "response", None)
        if isinstance(answer, requests.Response):
            return answer
    return None


def _never_left(error: Exception) -> bool:
    """True only if no connection was made: refused, unresolved, or not established in time."""
    for one in _chain(error):
        if isinstance(one, requests.exceptions.ConnectTimeout):
            return True
        if isinstance(one, requests.exceptions.ConnectionError):
            inner = one.args[0] if one.args else None
            reason = inner.reason if isinstance(inner, MaxRetryError) else inner
            return isinstance(reason, NewConnectionError | NameResolutionError | ConnectTimeoutError)
    return False


def _root(error: Exception) -> str:
    """Type name of the innermost error: names no host, no header."""
    return [type(one).__name__ for one in _chain(error)][-1]


def _own_error(answer: requests.Response) -> Mapping[str, Any] | None:
    """The error of IBM's documented body `{errors: [...]}`, or of `{error: {...}}`; None for anything else."""
    try:
        body = answer.json()
    except ValueError:
        return None
    errors = body.get("errors") if isinstance(body, dict) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return errors[0]
    single = body.get("error") if isinstance(body, dict) else None
    return single if isinstance(single, dict) else None


def _code(error: Mapping[str, Any] | None) -> str | None:
    return str(error["code"])[:50] if error and error.get("code") is not None else None


def _refusal(answer: requests.Response, what: str) -> Refused:
    own = _own_error(answer) or {}
    text = str(own.get("message") or answer.text[:200])
    if _code(own) == WRONG_REGION:
        return Refused(
            f"ibm refused {what}: this instance is in another region; set region or url of the credentials",
            provider="ibm",
            http_status=answer.status_code,
            vendor_code=WRONG_REGION,
            vendor_message=text[:2000],
            body=answer.text[:_BODY_CAP],
        )
    hint = {
        404: "; if IBM no longer serves this program, set the option primitives='executor'"
        if "submission" in what
        else "",
        401: "; check QISKIT_IBM_TOKEN",
        403: "; the API key may not use this instance or device (QISKIT_IBM_INSTANCE)",
        409: "; the session is closed, or the instance's usage limit is reached" if "submission" in what else "",
    }
    return Refused(
        f"ibm refused {what} ({answer.status_code}): {text[:500]}{hint.get(answer.status_code, '')}",
        provider="ibm",
        http_status=answer.status_code,
        vendor_code=_code(own),
        vendor_message=text[:2000],
        body=answer.text[:_BODY_CAP],
    )
