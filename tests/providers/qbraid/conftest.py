"""qBraid in the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qflows import providers
from qflows.protocol import Provider
from qflows.sandbox import Sandbox
from qflows.testing import CANARY


@pytest.fixture
def vendor() -> str:
    return "qbraid"


@pytest.fixture(autouse=True)
def no_account_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The vendor's config file beats the environment: point it at one that does not exist."""
    for name in ("QBRAID_API_KEY", "QBRAID_ACCESS_TOKEN", "QBRAID_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QBRAID_CONFIG_FILE", str(tmp_path / "no-qbraidrc"))


@pytest.fixture
def connected_to() -> Callable[[str], Provider]:
    """From a base address to a provider with the canary as its key."""

    def connect(url: str) -> Provider:
        return providers.connect("qbraid", {"api_key": CANARY, "api_url": f"{url}/api/v1"}, timeout_s=30)

    return connect


@pytest.fixture
def provider(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
    return connected_to(sandbox.url)
