"""The IBM adapter obeys the contract of a provider, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qflows.programs.observables import observable
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ibm import wire
from qflows.sandbox import Sandbox
from qflows.testing import RemoteConformance, Target, bell, spec_of


class TestIBM(RemoteConformance):
    # five qubits on a line, and 133 on a heavy hexagon; jobs that IBM prepares, and jobs that the client does
    sampling = (
        Target("ibm_manila", max_qubits=5),
        Target("ibm_kingston"),
        Target("ibm_manila", {"primitives": "executor"}, max_qubits=5),
    )
    routes_submit, routes_poll, routes_result = "ibm.submit", "ibm.list", "ibm.results"
    unknown_id = "d0000000000000000000"
    poll_sizes = (1, 1.5)
    # IBM's OpenAPI 0.45.3, JobState
    status_words = {
        "Queued": Phase.QUEUED,
        "Running": Phase.RUNNING,
        "Completed": Phase.DONE,
        "Cancelled": Phase.CANCELLED,
        "Failed": Phase.FAILED,
        "Cancelled - Ran too long": Phase.FAILED,
    }

    def phase_of(self, word: str) -> Phase:
        return wire.phase_of(word)

    def refused_specs(self, provider: Provider) -> list[JobSpec]:
        target, zz = self.sampling[0], (observable("ZZ"),)
        one = spec_of(provider, target, bell(), shots=10)
        return [
            spec_of(provider, target, bell(), shots=None),
            spec_of(provider, target, *[bell()] * 301, shots=10),
            spec_of(provider, target, *[bell()] * 300, shots=100_000),
            JobSpec(one.provider, one.device_id, one.programs * 2, 10, observables=(zz, ())),
            JobSpec(one.provider, one.device_id, one.programs, 10, options={"resilience_level": 1}),
            JobSpec(one.provider, one.device_id, one.programs, 10, options={"optimization_level": 9}),
            JobSpec(one.provider, one.device_id, one.programs, 10, options={"memory": "yes"}),
            JobSpec(one.provider, one.device_id, one.programs, 10, options={"primitives": "both"}),
            JobSpec(one.provider, one.device_id, one.programs, 10, tags={"project": "x" * 90}),
        ]

    @pytest.fixture
    def provider(self, sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> Provider:
        sandbox.admin.switches("ibm", noise=False)
        return connected_to(sandbox.url)

    @pytest.fixture
    def connected_to(self, connected_to: Callable[[str], Provider]) -> Callable[[str], Provider]:
        return connected_to
