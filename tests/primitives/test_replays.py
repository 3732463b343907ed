"""A run that is started again: the same trace and no new job after a kill, and a word when it asks for other things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


LOOP = """
import json, os, signal, sys
import numpy as np
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp
from scipy import optimize
from qflows.algorithms import qaoa, vqe
from qflows.core.client import default_client
from qflows.core.scope import script_scope
from qflows.primitives import EstimatorV2

kind, last, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
trace = []

def note(value):
    trace.append(float(value))
    if len(trace) == last:
        print(json.dumps(trace), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

core, given = default_client(), {"device": "ionq-simulator", "shots": 100}
if kind == "primitives":
    ansatz = efficient_su2(2, reps=1)
    estimator = EstimatorV2(run_key="r", **given)

    def energy(point):
        note(estimator.run([(ansatz, SparsePauliOp(["ZI", "XX"]), point)]).result()[0].data.evs)
        return trace[-1]

    optimize.minimize(energy, np.full(8, 0.3), method="COBYLA", options={"maxiter": most})
else:
    given |= {"max_evaluations": most, "on_step": lambda step: note(step.energy)}
    if kind == "vqe":
        vqe.solve(core, script_scope("r"), vqe.to_problem([("ZI", 1.0), ("XX", 0.5)]), **given)
    else:
        qaoa.solve_qaoa(core, script_scope("r"), qaoa.maxcut([(0, 1), (1, 2), (2, 0)]), **given)
print(json.dumps(trace))
"""


# COBYLA asks once for each of its 8 parameters before it steps
@pytest.mark.slow(reason="an interpreter for every life of the loop")
@pytest.mark.parametrize(("kind", "every", "most"), [("vqe", 3, 5), ("qaoa", 3, 5), ("primitives", 6, 10)])
def test_a_loop_killed_at_every_kth_evaluation_walks_the_same_way_and_buys_nothing_twice(
    sandbox: Sandbox, core: Client, kind: str, every: int, most: int
) -> None:
    environment = os.environ | sandbox.env | {"QFLOWS_POLL_MIN_S": "0.01"}
    before: list[float] = []
    for last in [*range(every, most, every), 0]:
        command = [sys.executable, "-c", LOOP, kind, str(last), str(most)]
        found = subprocess.run(command, capture_output=True, env=environment, timeout=200)
        assert found.returncode == (-signal.SIGKILL if last else 0), found.stderr.decode()
        trace = json.loads(found.stdout)
        assert trace[: len(before)] == before
        before = trace
    assert sandbox.admin.count_jobs("ionq") == len(before) + (kind == "qaoa")  # and its sample of the end
