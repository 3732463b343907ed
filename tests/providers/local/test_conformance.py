"""The local devices obey the contract of a provider."""

from __future__ import annotations

import pytest

from qflows import providers
from qflows.protocol import Provider
from qflows.testing import ProviderConformance, Target


class TestLocal(ProviderConformance):
    sampling = (
        Target("exact"),
        Target("aer"),
        Target("braket"),
        Target("noisy:manila", noise=0.25, max_qubits=5),
    )
    exact = (Target("exact"),)

    @pytest.fixture
    def provider(self) -> Provider:
        return providers.connect("local")
