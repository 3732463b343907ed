"""The IonQ adapter obeys the contract of a provider, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from qflows.errors import Throttled
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ionq import http, wire
from qflows.sandbox import Sandbox
from qflows.testing import RemoteConformance, Target, bell, key_of, read_result, send_job, spec_of, wait


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

    def test_poll_that_is_throttled_says_how_long_to_wait(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, provider: Provider, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And keeps to it: what the vendor asked for holds for every request of the key."""
        clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
        monkeypatch.setattr(http, "time", clock)
        spec, key = spec_of(provider, Target("simulator"), bell(), shots=10), key_of("throttled")
        vendor_id = send_job(provider, spec, key).vendor_id
        sandbox.admin.fault("status", "ionq.list", status=429, retry_after=30)
        with pytest.raises(Throttled) as caught:
            provider.poll([vendor_id])
        assert caught.value.retry_after_s == 30
        seen = len(sandbox.admin.journal(vendor="ionq"))
        calls = (
            lambda: provider.poll([vendor_id]),
            lambda: read_result(provider, vendor_id, spec, key),
            lambda: send_job(provider, spec, key_of("another")),
        )
        for call in calls:
            clock.now += 9.0
            with pytest.raises(Throttled) as again:
                call()
            assert again.value.retry_after_s == 1030.0 - clock.now
        assert len(sandbox.admin.journal(vendor="ionq")) == seen
        clock.now = 1030.0
        assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE

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
            *(
                spec_of(provider, Target(device, {name: value}), bell(), shots=1000)
                for device, name, value in (
                    ("simulator", "memory", "no"),
                    ("simulator", "opt", "banana"),
                    ("simulator", "opt", True),
                    ("simulator", "precision", 0.001),
                    ("simulator", "noise_model", None),
                    ("simulator", "debiasing", True),
                    ("simulator", "dry_run", True),
                    ("qpu.forte-1", "debiasing", "False"),
                    ("qpu.forte-1", "debiasing", 1),
                    ("qpu.forte-1", "debias", False),
                    ("qpu.forte-1", "dry_run", "yes"),
                    ("qpu.forte-1", "sharpen", True),
                    ("qpu.forte-1", "service_version", "latest"),
                )
            ),
        ]
