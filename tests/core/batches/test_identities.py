"""Identities among observables: everywhere they have their value and no error, and refuse nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.settings import Settings


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path / "home", poll_min_s=0.001))
    yield made
    made.ledger.close()


def state() -> QuantumCircuit:
    theta = Parameter("t")
    made = QuantumCircuit(2)
    made.ry(theta, 0)
    made.cx(0, 1)
    return made


@pytest.mark.parametrize("observables", ["II", [("II", -1.5)], ["II", "ZZ", [("II", 2.0), ("XX", 0.5)]]])
@pytest.mark.parametrize(("device", "shots"), [("local-exact", None), ("local-aer", 100), ("local-noisy", 100)])
def test_run_gives_identities_their_value(core: Client, device: str, shots: int | None, observables: object) -> None:
    specs = core.specs((state(), [0.4]), device=device, shots=shots, observables=observables)
    jobs = core.submit(specs, device=device, scope=Scope("r", "1", "test"))
    found = core.result([job.key for job in jobs]).expectations
    first = found[0]
    assert first.std_error == 0.0
    assert first.value == (-1.5 if isinstance(observables, list) and observables[0] == ("II", -1.5) else 1.0)
    if len(found) == 3 and shots:
        assert min(one.std_error for one in found[1:]) > 0


@pytest.mark.parametrize(("device", "shots"), [("local-exact", None), ("local-aer", 100)])
def test_sweep_with_identities_is_whole(core: Client, device: str, shots: int | None) -> None:
    points, wanted = np.array([[0.1], [0.7], [1.3]]), ["ZZ", "II", [("II", 3.0)]]
    planned = core.plan_batch((state(), points), device=device, shots=shots, observables=wanted)
    batch = core.create_batch(planned, device=device, scope=Scope("r", "1", "test"), name="sweep")
    core.submit_batch(batch)
    core.wait([job.key for job in batch.sub_jobs()])
    items = batch.stored().results
    values = [items[k].expectations[0] for k in range(3)]
    assert [one.value for one in values[1:]] == [1.0, 3.0]
    assert [one.std_error for one in values[1:]] == [0.0, 0.0]
