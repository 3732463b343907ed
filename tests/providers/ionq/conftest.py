"""IonQ in the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qflows import providers
from qflows.protocol import Provider
from qflows.sandbox import Sandbox
from qflows.testing import CANARY


@pytest.fixture
def vendor() -> str:
    return "ionq"


@pytest.fixture
def connected_to() -> Callable[[str], Provider]:
    """From a base address to a provider with the canary as its key."""

    def connect(url: str) -> Provider:
        return providers.connect("ionq", {"api_key": CANARY, "api_url": f"{url}/v0.4"}, timeout_s=30)

    return connect


@pytest.fixture
def provider(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
    return connected_to(sandbox.url)
