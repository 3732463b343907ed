"""The client looks through the whole call stack for every request; ours does not, and leaves the environment alone."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import pytest

from qflows.errors import Refused
from qflows.protocol import JobSpec, Provider
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, run


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each walk of the stack in this process."""
    monkeypatch.delenv("USAGE_DATA_OPT_OUT", raising=False)
    found: list[int] = []
    real = inspect.stack

    def counted(*args: Any, **options: Any) -> Any:
        found.append(1)
        return real(*args, **options)

    monkeypatch.setattr(inspect, "stack", counted)
    return found


def test_no_request_of_a_job_walks_the_stack(provider: Provider, sandbox: Sandbox, walks: list[int]) -> None:
    provider.limits("ibm_manila")
    before, environment = len(walks), dict(os.environ)
    asked = sum(sandbox.admin.counts()["requests"].values())
    run(provider, JobSpec("ibm", "ibm_manila", (bell(),), 20), key_of("walk"))
    assert sum(sandbox.admin.counts()["requests"].values()) - asked >= 4  # submit, list, metrics, results
    assert len(walks) == before
    assert dict(os.environ) == environment


def test_the_clients_own_session_does(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, walks: list[int]) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    from qiskit_ibm_runtime import QiskitRuntimeService

    service = QiskitRuntimeService()
    before = len(walks)
    service._get_api_client().jobs_get(limit=1)
    assert len(walks) == before + 1


@pytest.mark.parametrize("status", [401, 409])
def test_errors_are_still_those_of_the_client(
    sandbox: Sandbox, connected_to: Callable[[str], Provider], status: int
) -> None:
    provider: Any = connected_to(sandbox.url)
    provider.limits("ibm_manila")
    sandbox.admin.fault("status", "ibm.list", status=status, accepted=False)
    with pytest.raises(Refused) as caught:
        provider._runtime.read("a list", lambda client: client.jobs_get(limit=1))
    assert caught.value.http_status == status
