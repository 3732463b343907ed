"""Libraries that users bring, on a local simulator and on the emulated vendors, each changed by the constructor alone.

`make compat` runs this folder in an environment that has them all; elsewhere the tests of absent libraries are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.core.client import Client, default_client
from qflows.primitives import EstimatorV2, SamplerV2
from qflows.sandbox import Sandbox

VENDORS = ("ionq", "ibm", "braket", "qbraid")
EVERYWHERE = ("local-aer", "ionq-simulator", "ibm-sandbox", "braket-sv1", "qbraid-qir-sv")


@dataclass(frozen=True)
class Place:
    """A device in a ledger of its own; primitives of the run "study"."""

    device: str
    core: Client
    noisy: bool

    def sampler(self, shots: int = 2000, **given: Any) -> SamplerV2:
        return SamplerV2(self.device, shots=shots, run_key="study", client=self.core, **given)

    def estimator(self, shots: int | None = 2000, **given: Any) -> EstimatorV2:
        return EstimatorV2(self.device, shots=shots, run_key="study", client=self.core, **given)

    def count_jobs(self) -> int:
        with self.core.ledger.read() as connection:
            return int(connection.execute(sa.text("select count(*) from jobs")).scalar_one())


@pytest.fixture(scope="session")
def four_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Place]]:
    """Opens a device by name; the sandbox is started for a vendor's only."""
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    monkeypatch.setenv("QFLOWS_POLL_MIN_S", "0.01")
    opened: list[Client] = []

    def open_(device: str) -> Place:
        if not device.startswith("local-"):
            running = request.getfixturevalue("four_vendors")
            running.admin.reset()
            running.admin.clock("instant")
            for name, value in running.env.items():
                monkeypatch.setenv(name, value)
        opened.append(default_client())
        return Place(device, opened[-1], noisy=device in ("ibm-sandbox", "local-noisy"))

    yield open_
    for one in opened:
        one.ledger.close()
