"""IBM Quantum in the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qflows import providers
from qflows.protocol import Provider
from qflows.sandbox import Sandbox
from qflows.testing import CANARY

# the sandbox's first instance, as its environment names it
CRN = (
    "crn:v1:bluemix:public:quantum-computing:us-east:a/00000000000000000000000000000000:"
    "00000001-0000-4000-8000-000000000000::"
)


@pytest.fixture(autouse=True)
def no_ibm_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test passes counts, not what the machine has."""
    for name in ("TOKEN", "INSTANCE", "CHANNEL", "URL"):
        monkeypatch.delenv(f"QISKIT_IBM_{name}", raising=False)
    for name in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def vendor() -> str:
    return "ibm"


@pytest.fixture
def connected_to() -> Callable[[str], Provider]:
    """From a base address to a provider with the canary as its key."""

    def connect(url: str) -> Provider:
        return providers.connect("ibm", {"token": CANARY, "instance": CRN, "url": url}, timeout_s=10)

    return connect


@pytest.fixture
def provider(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
    """On devices without errors, so that distributions can be compared tightly."""
    sandbox.admin.switches("ibm", noise=False)
    return connected_to(sandbox.url)
