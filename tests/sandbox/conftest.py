"""One sandbox for all tests of this folder, emptied before each; nothing but loopback can be reached."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from qflows.sandbox import Sandbox

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HARD_LIMIT_S = 30


class HardTimeout(BaseException):
    """Raised in the middle of anything; a BaseException, because qiskit-ionq retries GETs on every Exception."""


def _checked(call: Callable[..., Any], check: Callable[[object], None], place: int) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        check(args[place] if len(args) > place else None)
        return call(*args, **kwargs)

    return guarded


@pytest.fixture(autouse=True)
def beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse connections and name look-ups beyond loopback: a client that forgets its url must fail, not leave."""

    tried: list[str] = []

    def check(address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, bytes):
            host = host.decode()
        if isinstance(address, tuple | str | bytes) and host not in LOOPBACK and not str(host).startswith("/"):
            tried.append(str(host))
            raise PermissionError(f"{host} is not loopback: refused by the test guard")

    for owner, name, place in (
        (socket.socket, "connect", 1),
        (socket.socket, "connect_ex", 1),
        (socket, "getaddrinfo", 0),
        (socket, "gethostbyname", 0),
    ):
        monkeypatch.setattr(owner, name, _checked(getattr(owner, name), check, place))
    yield tried
    # clients swallow the error and fall back; the test must not pass because of that
    assert not tried, f"something beyond loopback was contacted: {tried}"


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[None]:
    """End a test that hangs: qiskit-ionq's GETs retry for ever."""

    def give_up(number: int, frame: object) -> None:
        raise HardTimeout(f"the test took more than {HARD_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HARD_LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    """One server process for the folder; use `sandbox`."""
    with Sandbox(vendors=("ionq",)) as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """An empty sandbox with an instant clock and default switches."""
    shared_sandbox.admin.reset()
    return shared_sandbox


@pytest.fixture
def ionq(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A bare HTTP client of the IonQ API."""
    with client_of(sandbox) as client:
        yield client


def client_of(sandbox: Sandbox) -> httpx.Client:
    """A bare, authorised client with IonQ's base url."""
    return httpx.Client(
        base_url=sandbox.urls["ionq"] + "/v0.4", headers={"Authorization": "apiKey t"}, trust_env=False, timeout=20
    )


BELL = [{"gate": "h", "targets": [0]}, {"gate": "x", "targets": [1], "controls": [0]}]


@pytest.fixture
def bell() -> dict:
    """A valid submission: a Bell pair on the ideal simulator."""
    return {
        "type": "ionq.circuit.v1",
        "backend": "simulator",
        "shots": 100,
        "name": "bell",
        "input": {"gateset": "qis", "qubits": 2, "circuit": BELL},
        "metadata": {"qflows_key": "k1"},
    }


@pytest.fixture
def pair(bell: dict) -> dict:
    """A valid multi-circuit submission: a Bell pair, and |100>."""
    circuits = [{"name": "bell", "circuit": BELL}, {"name": "x2", "circuit": [{"gate": "x", "targets": [2]}]}]
    return bell | {"type": "ionq.multi-circuit.v1", "input": {"gateset": "qis", "qubits": 3, "circuits": circuits}}
