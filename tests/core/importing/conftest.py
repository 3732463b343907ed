"""Jobs that the vendors' own clients submit to one sandbox, and a ledger that knows nothing of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from buyers import CLIENTS, VENDORS, Sent, asymmetric  # noqa: E402

from qflows.core.client import Client  # noqa: E402
from qflows.sandbox import Sandbox  # noqa: E402
from qflows.settings import Settings  # noqa: E402


@pytest.fixture(scope="package")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def sandbox(all_vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Empty, without noise, its environment exported."""
    all_vendors.admin.reset()
    all_vendors.admin.switches("ibm", noise=False)
    for name, value in all_vendors.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")  # IBM's client walks the stack for every request otherwise
    monkeypatch.setenv("AMZN_BRAKET_OUT_S3_BUCKET", "amazon-braket-sandbox")
    return all_vendors


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.01))
    yield made
    made.ledger.close()


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def submit(vendor: str, sandbox: Sandbox) -> Callable[[int], list[Sent]]:
    """So many jobs by the vendor's unmodified client."""
    return lambda number: CLIENTS[vendor]([asymmetric(index) for index in range(number)])
