"""The TinyQ adapter obeys the contract of a provider."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tinyq_qflows import wire

from qflows.protocol import JobSpec, Phase, Provider
from qflows.testing import RemoteConformance, Target, bell, spec_of


class TestTinyQ(RemoteConformance):
    sampling = (Target("one"),)
    routes_submit, routes_poll, routes_result = "tinyq.submit", "tinyq.list", "tinyq.counts"
    unknown_id = "0" * 32
    # TinyQ API page, 2026-11-01
    status_words = {
        "waiting": Phase.QUEUED,
        "running": Phase.RUNNING,
        "finished": Phase.DONE,
        "failed": Phase.FAILED,
        "cancelled": Phase.CANCELLED,
    }

    def phase_of(self, word: str) -> Phase:
        return wire.observation({"status": word}).phase

    def refused_specs(self, provider: Provider) -> list[JobSpec]:
        target = self.sampling[0]
        return [
            spec_of(provider, target, bell(), shots=None),
            spec_of(provider, target, *[bell()] * 21, shots=10),
            spec_of(provider, Target("one", {"speed": "high"}), bell(), shots=10),
        ]

    @pytest.fixture
    def connected_to(self, connected_to: Callable[[str], Provider]) -> Callable[[str], Provider]:
        return connected_to

    @pytest.fixture
    def provider(self, provider: Provider) -> Provider:
        return provider
