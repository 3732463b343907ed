"""Users name TinyQ's device like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from qiskit import QuantumCircuit

import qflows
from qflows.prefect.blocks.collection import BLOCK_TYPES
from qflows.sandbox import Sandbox


def test_circuit_runs_on_the_device_of_the_packages_profile(
    sandbox: Sandbox, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    found = [qflows.run(circuit, device="tinyq-one", shots=50, run_key="a", timeout=60) for _ in range(2)]
    assert [dict(one.counts) for one in found] == [{"01": 50}] * 2
    assert sandbox.admin.count_jobs("tinyq") == 2
    assert (home / "ledger.db").exists() or list(home.rglob("*.db"))


def test_credentials_are_a_prefect_block() -> None:
    assert BLOCK_TYPES["qflows-tinyq-credentials"].__name__ == "TinyQCredentials"
