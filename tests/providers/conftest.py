"""One sandbox per vendor for the whole run, emptied before each test.

A vendor's folder says its name in a fixture `vendor` and how to connect in a fixture `provider`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# the suite is imported by the vendors' folders: `from conformance import ProviderConformance`
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("conformance", "remote_conformance")

from qflows.sandbox import Sandbox  # noqa: E402


@pytest.fixture(scope="session")
def running_sandboxes() -> Iterator[dict[str, Sandbox]]:
    """Sandboxes by vendor, started on first use, stopped at the end."""
    running: dict[str, Sandbox] = {}
    yield running
    for sandbox in running.values():
        sandbox.stop()


@pytest.fixture
def sandbox(vendor: str, running_sandboxes: dict[str, Sandbox]) -> Sandbox:
    """An empty sandbox of this folder's vendor, with an instant clock and default switches."""
    if vendor not in running_sandboxes:
        running_sandboxes[vendor] = Sandbox(vendors=(vendor,)).start()
    running_sandboxes[vendor].admin.reset()
    return running_sandboxes[vendor]


@pytest.fixture
def closed_port() -> int:
    """A loopback port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
