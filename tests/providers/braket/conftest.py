"""The vendor of this folder, and how the adapter reaches its emulator."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from braket_devices import BUCKET

from qflows.providers import connect
from qflows.providers.braket.adapter import BraketProvider
from qflows.sandbox import Sandbox
from qflows.testing import CANARY


@pytest.fixture
def vendor() -> str:
    """The emulator of this folder."""
    return "braket"


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 would look for credentials on the network of a cloud machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def connected_to() -> Callable[[str], BraketProvider]:
    """Connects to an address with a secret that no error may show."""

    def to(address: str) -> BraketProvider:
        given = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": CANARY, "region": "us-east-1"}
        provider = connect("braket", given | {"endpoint_url": address, "s3_bucket": BUCKET}, timeout_s=10.0)
        assert isinstance(provider, BraketProvider)
        return provider

    return to


@pytest.fixture
def provider(sandbox: Sandbox, connected_to: Callable[[str], BraketProvider]) -> BraketProvider:
    """The adapter on the emulator, whose QPUs make no errors here, and whose simulators take any number of tasks."""
    sandbox.admin.switches("braket", qpu_noise=False, concurrent_tasks=0)
    return connected_to(sandbox.url)
