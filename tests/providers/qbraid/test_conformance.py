"""The qBraid adapter obeys the contract of a provider, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from qiskit import QuantumCircuit

from qflows.programs import to_program
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.qbraid import wire
from qflows.sandbox import Sandbox
from qflows.testing import RemoteConformance, Target, bell, spec_of

SIMULATOR = "qbraid:qbraid:sim:qir-sv"


class TestQbraid(RemoteConformance):
    sampling = (
        Target(SIMULATOR),
        Target("qbraid:equal1:sim:bell-1"),
        Target("qbraid:equal1:sim:bell-1", {"noise_model": "bell-1"}, noise=0.25),
    )
    random_shots = 2000  # as many as qir-sv takes
    routes_submit, routes_poll, routes_result = "qbraid.submit", "qbraid.list", "qbraid.results"
    routes_status = "qbraid.get"
    # JobStatus of qbraid-core 0.6.37, read 2026-11
    status_words = {
        "INITIALIZING": Phase.QUEUED,
        "VALIDATING": Phase.QUEUED,
        "QUEUED": Phase.QUEUED,
        "RUNNING": Phase.RUNNING,
        "CANCELLING": Phase.RUNNING,
        "HOLD": Phase.HELD,
        "COMPLETED": Phase.DONE,
        "FAILED": Phase.FAILED,
        "CANCELLED": Phase.CANCELLED,
        "UNKNOWN": Phase.UNKNOWN,
    }

    @pytest.fixture
    def provider(self, sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
        return connected_to(sandbox.url)

    @pytest.fixture
    def connected_to(self, connected_to: Callable[[str], Provider]) -> Callable[[str], Provider]:
        return connected_to

    def phase_of(self, word: str) -> Phase:
        return wire.observation({"jobQrn": "x", "status": word}).phase

    def refused_specs(self, provider: Provider) -> list[JobSpec]:
        mute = QuantumCircuit(1, 1)
        mute.h(0)
        waits = QuantumCircuit(1, 1)
        waits.x(0)
        waits.delay(500, 0, unit="us")
        waits.measure(0, 0)
        return [
            spec_of(provider, Target(SIMULATOR), bell(), shots=None),
            spec_of(provider, Target(SIMULATOR, {"resilience": 1}), bell(), shots=10),
            spec_of(provider, Target(SIMULATOR, {"bit_order": "sideways"}), bell(), shots=10),
            spec_of(provider, Target(SIMULATOR, {"runtime_options": "fast"}), bell(), shots=10),
            spec_of(provider, Target(SIMULATOR, {"noise_model": 3}), bell(), shots=10),
            spec_of(provider, Target("aws:iqm:qpu:garnet", {"noise_model": "ideal"}), bell(), shots=10),
            spec_of(provider, Target(SIMULATOR, {"runtime_options": {"x": float("nan")}}), bell(), shots=10),
            spec_of(provider, Target(SIMULATOR), to_program(mute), shots=10),
            spec_of(provider, Target(SIMULATOR), to_program(waits), shots=10),
        ]
