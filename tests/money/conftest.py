"""One sandbox with every vendor, for prices, budgets and bills."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qflows.sandbox import Sandbox


@pytest.fixture(scope="session")
def every_vendor() -> Iterator[Sandbox]:
    """One sandbox process for the session; use `sandbox`."""
    with Sandbox(vendors=("ibm", "braket", "ionq", "qbraid")) as running:
        yield running


@pytest.fixture
def sandbox(every_vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, emptied, and reached through the vendors' own variables."""
    every_vendor.admin.reset()
    every_vendor.admin.clock("instant")
    for name, value in every_vendor.env.items():
        monkeypatch.setenv(name, value)
    return every_vendor
