"""The Braket adapter obeys the contract of a provider, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from braket_devices import CEPHEUS, FORTE, GARNET, SV1

from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.braket import wire
from qflows.testing import RemoteConformance, Target, bell, spec_of


class TestBraket(RemoteConformance):
    sampling = (Target(SV1), Target(FORTE), Target(CEPHEUS), Target(GARNET))
    routes_submit, routes_poll, routes_result = "braket.submit", "braket.search", "braket.s3_get"
    unknown_id = "arn:aws:braket:us-east-1:123456789012:quantum-task/00000000-0000-4000-8000-000000000000"
    # botocore 1.44.5, QuantumTaskStatus
    status_words = {
        "CREATED": Phase.QUEUED,
        "QUEUED": Phase.QUEUED,
        "RUNNING": Phase.RUNNING,
        "CANCELLING": Phase.RUNNING,
        "COMPLETED": Phase.DONE,
        "FAILED": Phase.FAILED,
        "CANCELLED": Phase.CANCELLED,
    }

    @pytest.fixture
    def provider(self, provider: Provider) -> Provider:
        return provider

    @pytest.fixture
    def connected_to(self, connected_to: Callable[[str], Provider]) -> Callable[[str], Provider]:
        return connected_to

    def phase_of(self, word: str) -> Phase:
        return wire.observation({"status": word}).phase

    def refused_specs(self, provider: Provider) -> list[JobSpec]:
        def on(device: str, *, shots: int | None = 10, **options: object) -> JobSpec:
            return spec_of(provider, Target(device, options), bell(), shots=shots)

        return [
            on(SV1, shots=None),
            on("sv1"),
            on(SV1, resilience=1),
            on(SV1, verbatim=True),
            on(GARNET, error_mitigation="debias", shots=5000),
            on(FORTE, error_mitigation="debias", shots=2499),
            on(FORTE, error_mitigation="sharpen", shots=5000),
        ]

    def test_composite_job_keeps_order_and_widths(self, provider: Provider, target: Target) -> None:
        self._only_with_sets(provider, target)
        super().test_composite_job_keeps_order_and_widths(provider, target)

    def test_equal_circuits_of_a_composite_are_sampled_independently(self, provider: Provider, target: Target) -> None:
        self._only_with_sets(provider, target)
        super().test_equal_circuits_of_a_composite_are_sampled_independently(provider, target)

    def _only_with_sets(self, provider: Provider, target: Target) -> None:
        if (provider.limits(target.device_id).max_programs or 1) < 2:
            pytest.skip("the device takes no program sets")
