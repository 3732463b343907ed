"""A long list is split by IBM's limits, so that every part is one that IBM takes."""

from __future__ import annotations

import pytest

from qflows.core.batches.planning import job_limits, plan
from qflows.errors import ProgramRejected
from qflows.protocol import JobSpec, Provider
from qflows.testing import bell

BASE = JobSpec("ibm", "ibm_manila", (), None)


@pytest.mark.parametrize(("shots", "sizes"), [(100_000, [100, 100, 100, 20]), (1_000, [300, 20])])
def test_parts_stay_below_ten_million_executions_and_300_programs(
    provider: Provider, shots: int, sizes: list[int]
) -> None:
    limits = job_limits(provider, None, as_batch=None, max_circuits=None)
    planned = plan(BASE, [bell()] * 320, [shots] * 320, limits)
    assert [len(spec.programs) for _, spec in planned.specs] == sizes
    for _, spec in planned.specs:
        provider.check(spec)


def test_one_circuit_more_is_refused_by_the_adapter_itself(provider: Provider) -> None:
    with pytest.raises(ProgramRejected, match="10000000 executions"):
        provider.check(JobSpec("ibm", "ibm_manila", (bell(),) * 101, 100_000))


def test_gates_bound_a_part_too(provider: Provider) -> None:
    limits = job_limits(provider, None, as_batch=None, max_circuits=None)
    assert limits.gates is not None
    assert limits.gates * 50 <= 26_800_000
