"""TinyQ on loopback, and how to connect to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qflows.protocol import Provider
from qflows.providers import connect
from qflows.sandbox import Sandbox

pytest_plugins = ["qflows.testing.fixtures"]


@pytest.fixture
def vendor() -> str:
    return "tinyq"


@pytest.fixture
def connected_to() -> Callable[[str], Provider]:
    from qflows.testing import CANARY

    return lambda url: connect("tinyq", {"key": CANARY, "url": url}, timeout_s=30)


@pytest.fixture
def provider(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
    return connected_to(sandbox.url)
