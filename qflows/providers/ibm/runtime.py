"""The real client, created on first use and kept under control: one service object, and a pool of its REST clients.

A service object switches its active instance implicitly and must not be shared between threads; so it is used only for
discovery and device descriptions, under a lock. Requests about jobs and sessions go through REST clients of the one
instance, each used by one thread at a time, all with one token.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from qflows.errors import NotSent, ProgramRejected, ProviderError, Refused
from qflows.programs.loading import load_qiskit
from qflows.providers.ibm.access import SERVICE_VARIABLES, Access, is_loopback

if TYPE_CHECKING:
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService
    from qiskit_ibm_runtime.api.client import RuntimeClient

    from qflows.providers.ibm.exchange import ServerClock
    from qflows.providers.ibm.http import TokenAuth

T = TypeVar("T")
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")  # OpenAPI 0.45.3, parameter `id`
_DESCRIPTION_S = 900.0  # devices are calibrated during the day; an older description is read again
_environment = threading.RLock()


class Runtime:
    """The client of one instance. Thread-safe."""

    def __init__(self, access: Access, *, timeout_s: float) -> None:
        self.access = access
        self.timeout_s = timeout_s
        self._lock = threading.RLock()
        self._service: QiskitRuntimeService | None = None
        self._auth: TokenAuth | None = None
        self._idle: LifoQueue[RuntimeClient] = LifoQueue()
        self._clock: ServerClock | None = None
        self._backends: dict[tuple[str, bool], tuple[float, Any]] = {}

    def __repr__(self) -> str:
        return f"Runtime({self.access.base_url or 'IBM Quantum'})"

    def read(self, what: str, ask: Callable[[RuntimeClient], T]) -> T:
        """Read through a REST client. An expired token is renewed once; all errors are typed."""
        service = self._connected()
        from qflows.providers.ibm.http import CLIENT_ERRORS, read_error

        for is_last in (False, True):
            try:
                with self._client(service) as client:
                    return ask(client)
            except CLIENT_ERRORS as error:
                verdict = read_error(error, what)
                if is_last or verdict.http_status != 401 or not self._token().renew():
                    raise verdict from None
        raise AssertionError("unreachable")

    def document(self, what: str, path: str, **query: str) -> bytes | None:
        """The body of a GET, unchanged; None for 204. All errors are typed."""
        answer = self.read(what, lambda client: client._session.get(path, params=query or None))
        return None if answer.status_code == 204 else answer.content

    def post_once(self, what: str, ask: Callable[[RuntimeClient], T]) -> T:
        """Send a POST that buys, once. Raises Refused, NotSent or Ambiguous by what is proved."""
        service = self._connected()
        from qflows.providers.ibm.http import CLIENT_ERRORS, post_error

        with self._client(service) as client:
            try:
                return ask(client)
            except CLIENT_ERRORS as error:
                raise post_error(error, what, self._token()) from None

    def backend(self, name: str, *, fractional: bool = False) -> Any:
        """The device with its calibrated target, as the client describes it; cached. Raises Refused if there is
        none."""
        service = self._connected()
        from qiskit.providers.exceptions import QiskitBackendNotFoundError
        from qiskit_ibm_runtime.exceptions import IBMInputValueError

        from qflows.providers.ibm.http import CLIENT_ERRORS

        with self._lock:
            read_at, found = self._backends.get((name, fractional), (0.0, None))
            if found is None or time.monotonic() - read_at > _DESCRIPTION_S:
                try:
                    is_old = found is not None
                    found = cast("IBMBackend", service.backend(name, use_fractional_gates=fractional))
                    if is_old:
                        found.refresh()  # the service caches configurations permanently
                    assert found.target is not None  # fetches the calibration
                except QiskitBackendNotFoundError:
                    raise Refused(f"ibm has no device {name!r} in this instance", provider="ibm") from None
                except IBMInputValueError:
                    raise ProgramRejected(f"{name} has no fractional gates; leave out use_fractional_gates") from None
                except CLIENT_ERRORS as error:
                    raise _description_error(error, name) from None
                self._backends[name, fractional] = (time.monotonic(), found)
            return found

    def known(self, name: str) -> Any | None:
        """The device as it was last described, without a request; None if it was not, or too long ago."""
        read_at, found = self._backends.get((name, False), (0.0, None))
        return found if time.monotonic() - read_at < 2 * _DESCRIPTION_S else None

    @property
    def skew_s(self) -> float:
        """Seconds that IBM's clock is ahead of ours, by its last answer; 0.0 before the first."""
        return self._clock.skew_s if self._clock is not None else 0.0

    @property
    def crn(self) -> str:
        """The instance in use."""
        return str(self._connected().active_instance())

    def _token(self) -> TokenAuth:
        assert self._auth is not None
        return self._auth

    @contextmanager
    def _client(self, service: QiskitRuntimeService) -> Iterator[RuntimeClient]:
        try:
            client = self._idle.get_nowait()
        except Empty:
            client = self._new_client(service)
        try:
            yield client
        finally:
            self._idle.put(client)

    def _new_client(self, service: QiskitRuntimeService) -> RuntimeClient:
        from qiskit_ibm_runtime.api.client import RuntimeClient

        from qflows.providers.ibm.http import tame

        client = RuntimeClient(service._client_params)
        assert self._clock is not None
        tame(client._session, self.access, self._token(), self.timeout_s, self._clock)
        return client

    def _connected(self) -> QiskitRuntimeService:
        """The service, created by the first caller. Raises Refused or NotSent: nothing that buys has been sent."""
        with self._lock:
            if self._service is None:
                load_qiskit()  # the discovery thread, which would load it, ends
                service = self._within_deadline()
                self._adopt(service)
                self._service = service
            return self._service

    def _within_deadline(self) -> QiskitRuntimeService:
        """Run discovery in its own thread: the client gives it no read timeout (0.51.0, `GET /backends`)."""
        made: list[QiskitRuntimeService] = []
        failed: list[Exception] = []

        def work() -> None:
            try:
                made.append(self._discover())
            except Exception as error:  # noqa: BLE001  (thread boundary: passed on to the caller below)
                failed.append(error)

        thread = threading.Thread(target=work, name="qflows-ibm-discovery", daemon=True)
        thread.start()
        # importing the client alone takes seconds on a cold disk
        thread.join(3 * self.timeout_s + 30.0)
        if made:
            return made[0]
        raise _discovery_error(failed[0]) if failed else NotSent("ibm discovery gave no answer", provider="ibm")

    def _discover(self) -> QiskitRuntimeService:
        from qiskit_ibm_runtime import QiskitRuntimeService

        from qflows.providers.ibm.exchange import bounded_sessions

        access = self.access
        with environment(access), bounded_sessions(access, self.timeout_s):
            self._check_token()
            logger = logging.getLogger("qiskit_ibm_runtime")
            before = logger.level
            logger.setLevel(logging.ERROR)  # it logs which account it uses on every start
            try:
                made = QiskitRuntimeService(
                    channel=access.channel,  # pyright: ignore[reportArgumentType]
                    token=access.token,
                    instance=access.instance or "auto",
                    region=access.region,
                    **self._address(),
                )
            finally:
                logger.setLevel(before)
            if access.instance is None:
                self._require_one(made)
        return made

    def _address(self) -> dict[str, Any]:
        base = self.access.base_url
        return {} if base is None else {"url": base, "url_resolver": lambda url, instance, private, channel: base}

    def _check_token(self) -> None:
        """Ask IAM first: a bad key must end as one refusal, not as an account without devices."""
        from ibm_cloud_sdk_core import IAMTokenManager

        from qflows.providers.ibm.http import CLIENT_ERRORS, token_error

        url = os.environ.get("IAM_URL") or "https://iam.cloud.ibm.com"
        manager = IAMTokenManager(self.access.token, url=url)
        self._bound(manager)
        try:
            manager.get_token()
        except CLIENT_ERRORS as error:
            raise token_error(error) from None

    def _bound(self, manager: Any) -> None:
        from qflows.providers.ibm.exchange import bound_tokens

        bound_tokens(manager, self.access, self.timeout_s)

    def _require_one(self, service: QiskitRuntimeService) -> None:
        known = [one for one in service.instances() if not self.access.region or self.access.region in str(one["crn"])]
        if len(known) > 1:
            names = ", ".join(f"{one['name']} ({one['plan']})" for one in known)
            raise Refused(f"the IBM account has several instances: {names}; set QISKIT_IBM_INSTANCE", provider="ibm")
        if not known:
            raise Refused("the IBM account has no instance with devices", provider="ibm")
        service._active_api_client = service._api_clients[known[0]["crn"]]

    def _adopt(self, service: QiskitRuntimeService) -> None:
        """Take over the client's own sessions, with one token shared between all of them."""
        from qflows.providers.ibm.exchange import ServerClock
        from qflows.providers.ibm.http import TokenAuth, tame

        self._clock = ServerClock()
        crn = str(service.active_instance())
        inner = service._get_api_client()._session
        manager: Any = getattr(inner.auth, "tm")  # noqa: B009  (CloudAuth of the client, typed wider by requests)
        if self.access.is_sandbox and not is_loopback(str(manager.url)):
            raise NotSent("a sandbox is configured, but the client would ask IBM's IAM for tokens", provider="ibm")
        self._bound(manager)
        self._auth = TokenAuth(manager, crn)
        for client in service._get_api_clients().values():
            tame(client._session, self.access, self._auth, self.timeout_s, self._clock)


@contextmanager
def environment(access: Access) -> Iterator[None]:
    """The variables that direct IBM's SDKs to a sandbox, while a client is created; nothing for IBM itself.

    They are read only when a client is created, so one process can talk to both a sandbox and IBM.
    """
    wanted: dict[str, str] = dict(access.services)
    if access.is_sandbox:
        wanted["NO_PROXY"] = "127.0.0.1,localhost,::1"
    with _environment:
        before = {name: os.environ.get(name) for name in (*SERVICE_VARIABLES, "NO_PROXY")}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name in wanted:
                value = before[name]
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _description_error(error: Exception, name: str) -> ProviderError:
    """The error for a failure to read a device: nothing has been sent, so there is no doubt."""
    from qflows.providers.ibm.http import read_error

    verdict = read_error(error, f"the description of {name}")
    if isinstance(verdict, Refused | NotSent):
        return verdict
    return NotSent(
        f"{verdict}; nothing was sent",
        provider="ibm",
        http_status=verdict.http_status,
        retry_after_s=verdict.retry_after_s,
        body=verdict.body,
    )


def job_path(vendor_id: str, rest: str = "") -> str:
    """Path of a job. Raises Refused for a text that cannot be an IBM id: an empty one would list all jobs."""
    if not JOB_ID.fullmatch(vendor_id):
        raise Refused(f"{vendor_id[:40]!r} is not the id of an IBM job", provider="ibm")
    return f"/jobs/{vendor_id}{rest}"


def _discovery_error(error: Exception) -> ProviderError:
    from qflows.providers.ibm.http import token_error

    if isinstance(error, ProviderError):
        return error
    kind = type(error).__name__
    if kind in ("IBMInputValueError", "InvalidAccountError", "ImportError", "ModuleNotFoundError"):
        cause = error.__cause__
        if isinstance(cause, ProviderError):
            return cause
        if cause is not None:
            return token_error(cause) if isinstance(cause, Exception) else NotSent(str(cause)[:300], provider="ibm")
        return Refused(f"ibm: {str(error)[:500]}; check QISKIT_IBM_INSTANCE", provider="ibm")
    return NotSent(f"ibm discovery failed ({kind}): {str(error)[:300]}", provider="ibm")
