"""The conformance suite of `qflows.testing` against the real vendors, on the cheapest device of each.

Skipped without credentials and a budget; see conftest.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from qflows.testing import ProviderConformance


class Live(ProviderConformance):
    """The contract of a provider, at the vendor itself."""

    vendor: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    """Of every job."""
    random_shots = 2000

    @pytest.fixture
    def provider(self, guarded: Any) -> Any:
        return guarded

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """None: the device is found when the vendor is asked."""

    def test_every_device_tried_here_is_known_to_the_provider(self, provider: Any, target: Any) -> None:
        super().test_every_device_tried_here_is_known_to_the_provider(provider)


class TestIonQ(Live):
    vendor = "ionq"


class TestBraket(Live):
    vendor = "braket"


class TestIBM(Live):
    vendor = "ibm"
    options: ClassVar[dict[str, Any]] = {"max_execution_time": 10}  # else each job could cost 600 s


class TestQbraid(Live):
    vendor = "qbraid"
