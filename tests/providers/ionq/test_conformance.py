"""The IonQ adapter obeys the contract of a provider, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance import bell, spec_of
from probes import Target
from remote_conformance import RemoteConformance

from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ionq import wire
from qflows.sandbox import Sandbox


class TestIonQ(RemoteConformance):
    sampling = (
        Target("simulator"),
        Target("simulator", {"noise_model": "aria-1"}, noise=0.15),
        Target("qpu.forte-1", noise=0.1),
    )
    routes_submit, routes_poll, routes_result = "ionq.submit", "ionq.list", "ionq.results"
    # IonQ API v0.4 description, 2026-09-02, "Job status"; `running` is v0.3's word for `started`
    status_words = {
        "submitted": Phase.QUEUED,
        "ready": Phase.QUEUED,
        "started": Phase.RUNNING,
        "running": Phase.RUNNING,
        "completed": Phase.DONE,
        "canceled": Phase.CANCELLED,
        "failed": Phase.FAILED,
    }

    @pytest.fixture
    def provider(self, sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
        return connected_to(sandbox.url)

    @pytest.fixture
    def connected_to(self, connected_to: Callable[[str], Provider]) -> Callable[[str], Provider]:
        return connected_to

    def phase_of(self, word: str) -> Phase:
        return wire.observation({"id": "x", "status": word}).phase

    def refused_specs(self, provider: Provider) -> list[JobSpec]:
        simulator, qpu = Target("simulator"), Target("qpu.forte-1")
        return [
            spec_of(provider, simulator, bell(), shots=None),
            spec_of(provider, Target("simulator", {"noise_model": "sycamore"}), bell(), shots=10),
            spec_of(provider, Target(qpu.device_id, {"noise_model": "aria-1"}), bell(), shots=10),
            spec_of(provider, Target(qpu.device_id, {"debiasing": True}), bell(), shots=499),
            spec_of(provider, Target("simulator", {"resilience": 1}), bell(), shots=10),
        ]
