"""A run that is started again: nothing is said when it goes on, and something when it asks for other things."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.errors import ProgramRejected
from qflows.primitives import EstimatorV2, SamplerV2, job
from qflows.sandbox import Sandbox


def turned(angle: float, **metadata: object) -> QuantumCircuit:
    circuit = QuantumCircuit(1, metadata=metadata)
    circuit.rx(angle, 0)
    circuit.measure_all()
    return circuit


def calls(client: Client, angles: list[float], shots: int = 20, **given: object) -> None:
    sampler = SamplerV2("local-aer", run_key="r", client=client, shots=shots, **given)
    for angle in angles:
        sampler.run([turned(angle)]).result()


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch, new_client: Callable[[], Client]) -> Callable[[str], Client]:
    """Another process, as far as the ledger can tell."""

    def again(name: str) -> Client:
        monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", name)
        return new_client()

    return again


def test_a_replay_that_asks_for_something_else_says_so_once_or_is_refused(
    core: Client, restarted: Callable, caplog: pytest.LogCaptureFixture, count_jobs: Callable[[], int]
) -> None:
    calls(core, [0.1, 0.2, 0.3])
    with pytest.raises(ProgramRejected, match="differs from its earlier attempt, and 2 of its"):
        calls(restarted("second"), [0.1, 0.25], on_change="raise")
    assert count_jobs() == 3
    calls(restarted("third"), [0.1, 0.25, 0.35])
    assert [record.message[:25] for record in caplog.records if "differs from its" in record.message] == [
        "run 'r' (sampler) differs"
    ]
    assert count_jobs() == 5
    caplog.clear()
    calls(restarted("fourth"), [0.2, 0.1], shots=21)  # other shots
    assert sum("differs from its earlier attempt" in record.message for record in caplog.records) == 1
    caplog.clear()
    calls(restarted("fifth"), [0.7], on_change="ignore")
    calls(restarted("sixth"), [0.7], label="another loop")
    assert not [record for record in caplog.records if "differs from its earlier attempt" in record.message]


def test_a_replay_that_goes_on_or_changes_its_order_says_nothing(
    core: Client, restarted: Callable, caplog: pytest.LogCaptureFixture, count_jobs: Callable[[], int]
) -> None:
    calls(core, [0.1, 0.2, 0.2])
    calls(core, [0.4], label="another")
    calls(restarted("second"), [0.2, 0.1, 0.2, 0.3], on_change="raise")
    assert count_jobs() == 5
    assert not [record for record in caplog.records if "differs from its earlier attempt" in record.message]


def test_qpus_refuse_by_themselves(
    core: Client, restarted: Callable, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    given: dict = {"run_key": "r", "shots": 100}
    EstimatorV2("ionq-forte-1", client=core, **given).run([(turned(0.1), "Z")])
    other = EstimatorV2("ionq-forte-1", client=restarted("second"), **given)
    with pytest.raises(ProgramRejected, match="use another run_key"):
        other.run([(turned(0.2), "Z")])
    assert sandbox.admin.count_jobs("ionq") == 1
    told = EstimatorV2("ionq-forte-1", client=restarted("third"), on_change="warn", **given)
    told.run([(turned(0.2), "Z")])
    told.backend.run(turned(0.3))
    again = EstimatorV2("ionq-forte-1", client=restarted("fourth"), on_change="warn", **given).backend
    again.run(turned(0.4))
    assert sandbox.admin.count_jobs("ionq") == 4


def test_a_job_that_is_found_again_has_the_metadata_of_its_circuits(core: Client) -> None:
    sampler = SamplerV2("local-aer", run_key="r", client=core, shots=10)
    empty = QuantumCircuit(1, 1, metadata={"n": 0})
    call = sampler.run([turned(0.1, n=1), empty, (turned(0.2, n=2), None, 5)])
    found = job(call.job_id(), client=core).result()
    assert [pub.metadata["circuit_metadata"] for pub in found] == [{"n": 1}, {}, {"n": 2}]
    estimator = EstimatorV2("local-aer", run_key="r", client=core, shots=10, mitigate="readout")
    call = estimator.run([(turned(0.1, n=1), {"I": 1.0}), (turned(0.2, n=2), ["Z", "X"])])
    found = job(call.job_id(), client=core).result()
    assert [pub.metadata["circuit_metadata"] for pub in found] == [{}, {"n": 2}]
    backend = sampler.backend
    ran = backend.run(turned(0.1, n=3))
    assert backend.retrieve_job(ran.job_id()).result().results[0].header["metadata"] == {"n": 3}
