"""Primitives in users' flows: no run key to give, threads that know no flow, retries that adopt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from prefect import flow
from qiskit import QuantumCircuit
from qiskit.primitives import BackendSamplerV2

import qflows
from qflows.primitives import SamplerV2
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"


def tossed() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    circuit.measure_all()
    return circuit


def test_threads_buy_for_the_flow_of_the_construction_and_a_retry_adopts(ionq: Admin) -> None:
    seen: list[list[dict[str, int]]] = []

    @flow(retries=1)
    def threaded() -> None:
        sampler = SamplerV2(DEVICE, shots=50)
        backend = qflows.Backend(DEVICE)
        with ThreadPoolExecutor(2) as pool:
            calls = list(pool.map(lambda _: sampler.run([tossed()]), range(2)))
        found = [call.result()[0].data.meas.get_counts() for call in calls]
        found.append(BackendSamplerV2(backend=backend).run([tossed()], shots=50).result()[0].data.meas.get_counts())
        seen.append(sorted(found[:2], key=str) + found[2:])
        if len(seen) == 1:
            raise RuntimeError("dies")

    threaded()
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][1]
    assert ionq.count_jobs("ionq") == 3
