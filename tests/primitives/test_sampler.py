"""The sampler: Qiskit's containers from every device, bought once."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Parameter
from qiskit.exceptions import QiskitError
from qiskit.primitives import BitArray, StatevectorSampler
from qiskit.providers import JobStatus
from qiskit.transpiler import CouplingMap

from qflows.core.client import Client
from qflows.errors import JobFailed, ProgramRejected, RunKeyMissing, WaitTimeout
from qflows.primitives import SamplerV2, job
from qflows.sandbox import Sandbox


def two_registers() -> QuantumCircuit:
    """Register a reads 011, register b reads 01 0000 0010 in ten bits."""
    qubits, a, b = QuantumRegister(13), ClassicalRegister(3, "a"), ClassicalRegister(10, "b")
    circuit = QuantumCircuit(qubits, a, b, metadata={"n": 1})
    circuit.x([0, 1, 4, 11])
    circuit.measure(qubits[:3], a)
    circuit.measure(qubits[3:], b)
    return circuit


def turned() -> QuantumCircuit:
    """Qubit 0 turned by x, qubit 1 by y; both measured."""
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("x"), 0)
    circuit.ry(Parameter("y"), 1)
    circuit.measure_all()
    return circuit


def tossed() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("device", ["local-aer", "local-exact"])
def test_registers_have_their_names_widths_and_bit_order(core: Client, device: str) -> None:
    found = SamplerV2(device, run_key="r", client=core).run([two_registers()], shots=5).result()[0]
    assert list(found.data) == ["a", "b"]
    assert found.data.a.get_counts() == {"011": 5}
    assert found.data.b.get_counts() == {"0100000010": 5}
    assert found.data.b.array.shape == (5, 2)
    assert found.metadata == {"shots": 5, "circuit_metadata": {"n": 1}}


def test_results_are_those_of_qiskit_s_own_sampler(core: Client) -> None:
    values = np.array([[[0.0, 0.0]], [[np.pi, 0.0]], [[0.0, np.pi]]])
    pubs = [(turned(), values), (two_registers(), None, 7), (turned(), {("y", "x"): [np.pi, 0]})]
    ours = SamplerV2("local-aer", run_key="r", client=core).run(pubs, shots=20).result()
    theirs = StatevectorSampler(seed=1).run(pubs, shots=20).result()
    assert ours.metadata == theirs.metadata
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.metadata == other.metadata
        assert mine.data.shape == other.data.shape
        for name in other.data:
            assert isinstance(mine.data[name], BitArray)
            assert mine.data[name] == other.data[name]


def test_pubs_of_equal_shots_share_a_job(core: Client, count_jobs: Callable[[], int]) -> None:
    call = SamplerV2("local-aer", run_key="r", client=core).run([(tossed(), None, n) for n in (100, 200, 100)])
    assert [pub.data.meas.num_shots for pub in call.result()] == [100, 200, 100]
    assert count_jobs() == 2 == len(call.vendor_ids)


def test_equal_pubs_are_different_samples(core: Client) -> None:
    sampler = SamplerV2("local-aer", run_key="r", client=core, shots=64)
    found = [*sampler.run([tossed(), tossed()]).result(), *sampler.run([tossed()]).result()]
    assert len({pub.data.meas.array.tobytes() for pub in found}) == 3


def test_a_second_attempt_adopts(
    core: Client, new_client: Callable[[], Client], count_jobs: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def calls(client: Client) -> list[bytes]:
        sampler = SamplerV2("local-aer", run_key="r", client=client, shots=64)
        return [sampler.run([tossed()]).result()[0].data.meas.array.tobytes() for _ in range(3)]

    first = calls(core)
    monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", "another process")
    assert calls(new_client()) == first
    assert count_jobs() == 3
    SamplerV2("local-aer", run_key="other", client=core, shots=64).run([tossed()]).result()
    assert count_jobs() == 4


def test_names_and_metadata_are_no_part_of_what_is_bought(
    core: Client, count_jobs: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt in ("first", "second"):
        monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", attempt)
        circuit = tossed()
        circuit.name, circuit.metadata = attempt, {"attempt": attempt}
        sampler = SamplerV2("local-aer", run_key="r", client=core, shots=9)
        assert sampler.run([circuit]).result()[0].metadata["circuit_metadata"] == {"attempt": attempt}
        found = sampler.backend.run(circuit).result()
        assert found.results[0].header["metadata"] == {"attempt": attempt}
        assert found.results[0].header["name"] == attempt
    assert count_jobs() == 2


def test_a_job_pickles_without_waiting_and_is_found_by_its_id(core: Client) -> None:
    call = SamplerV2("local-aer", run_key="r", client=core).run([two_registers()], shots=5)
    assert call.status() in {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.DONE}
    copied, again = pickle.loads(pickle.dumps(call)), job(call.job_id(), client=core)
    mine = call.result(timeout=30)
    for other in (copied, again, copy.deepcopy(call)):
        assert other.job_id() == call.job_id()
        assert other.result()[0].data.b == mine[0].data.b
        assert other.result()[0].metadata["shots"] == 5
        assert other.done()
        assert other.in_final_state()
        assert not other.cancelled()
    assert copied.result()[0].metadata == mine[0].metadata


def test_its_backend_is_the_same_device_in_the_same_run(core: Client) -> None:
    backend = SamplerV2("local-aer", run_key="r", client=core).backend
    assert (backend.device, backend.run_key) == ("local-aer", "r")
    assert backend.run(two_registers(), shots=3).result().get_counts() == {"0100000010 011": 3}


def test_a_sampler_pickles(core: Client) -> None:
    copied = pickle.loads(pickle.dumps(SamplerV2("local-aer", run_key="r", client=core, shots=9)))
    assert copied.run([two_registers()]).result()[0].data.a.get_counts() == {"011": 9}


def test_circuits_that_measure_nothing_read_zeros_and_cost_nothing(core: Client, count_jobs: Callable[[], int]) -> None:
    sampler = SamplerV2("local-aer", run_key="r", client=core)
    empty = QuantumCircuit(QuantumRegister(1), ClassicalRegister(9, "c"), ClassicalRegister(0, "none"))
    found = sampler.run([(turned(), np.zeros((0, 2))), empty], shots=3).result()
    assert found[0].data.meas.shape == (0,)
    assert found[1].data.c.get_counts() == {"0" * 9: 3}
    assert found[1].data.none.num_bits == 0
    with pytest.warns(UserWarning, match="no output classical registers"):
        assert list(sampler.run([QuantumCircuit(1)]).result()[0].data) == []
    assert len(sampler.run([]).result()) == 0
    assert count_jobs() == 0


def test_empty_registers_between_others_shift_nothing(core: Client) -> None:
    circuit = QuantumCircuit(
        QuantumRegister(2), ClassicalRegister(1, "a"), ClassicalRegister(0, "none"), ClassicalRegister(1, "b")
    )
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    data = SamplerV2("local-aer", run_key="r", client=core).run([circuit], shots=2).result()[0].data
    assert (data.a.get_counts(), data.b.get_counts()) == ({"0": 2}, {"1": 2})


def test_a_bit_that_is_written_twice_reads_the_later_measurement_everywhere(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, core: Client
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    circuit = QuantumCircuit(2, 1)
    circuit.x(1)
    circuit.measure([0, 1], [0, 0])
    found = SamplerV2("ionq-simulator", run_key="r", client=core, shots=7).run([circuit]).result()[0].data.c
    assert found.get_counts() == {"1": 7}
    circuit.x(0)  # after its measurement: that one decides what happens now, and stays
    circuit.measure(0, 0)
    with pytest.raises(QiskitError, match="mid-circuit"):
        SamplerV2("ionq-simulator", run_key="r", client=core, shots=7).run([circuit])


def test_a_rejection_is_a_qiskit_error_before_anything_is_bought(core: Client, count_jobs: Callable[[], int]) -> None:
    sampler = SamplerV2("local-aer", run_key="r", client=core)
    for kind in (QiskitError, ProgramRejected, ValueError):
        with pytest.raises(kind, match="at most 10000000 shots"):
            sampler.run([tossed()], shots=10**9)
    with pytest.raises(QiskitError, match="no option 'shot'"):
        SamplerV2("local-aer", run_key="r", client=core, options={"shot": 3}).run([tossed()])
    assert count_jobs() == 0


def test_failures_and_cancels_at_the_vendor_are_qiskit_errors_too(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, core: Client
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    sampler = SamplerV2("ionq-simulator", run_key="r", client=core)
    sandbox.admin.fault("fail_job", "ionq.submit", code="InternalError", message="boom")
    failed = sampler.run([tossed()])
    for kind in (QiskitError, JobFailed):
        with pytest.raises(kind, match="boom"):
            failed.result()
    assert failed.status() is JobStatus.ERROR
    sandbox.admin.clock("frozen")
    waiting = sampler.run([tossed()])
    with pytest.raises(WaitTimeout):
        waiting.result(timeout=0.05)
    assert not waiting.in_final_state()
    waiting.cancel()
    assert waiting.cancelled()
    with pytest.raises(QiskitError):
        waiting.result()
    assert sandbox.admin.count_jobs("ionq") == 2


ELSEWHERE = """
import pickle, sys
from qiskit.circuit import QuantumCircuit
from qflows.primitives import SamplerV2
circuit = QuantumCircuit(1)
circuit.h(0)
circuit.measure_all()
for call in (SamplerV2("local-aer", run_key="r", shots=64).run([circuit]), pickle.load(sys.stdin.buffer)):
    print(call.result()[0].data.meas.array.tobytes().hex())
"""


def test_another_process_adopts_and_reads_a_pickled_job(core: Client, count_jobs: Callable[[], int]) -> None:
    call = SamplerV2("local-aer", run_key="r", client=core, shots=64).run([tossed()])
    mine = call.result()[0].data.meas.array.tobytes().hex()
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=pickle.dumps(call), capture_output=True, timeout=120)
    assert done.stdout.decode().split() == [mine, mine], done.stderr.decode()
    assert count_jobs() == 1


def test_outside_a_flow_a_run_key_must_be_given(core: Client) -> None:
    with pytest.raises(RunKeyMissing):
        SamplerV2("local-aer", client=core)


@pytest.mark.parametrize("device", ["local-aer", "local-exact", "ionq-simulator"])
def test_circuit_placed_for_another_device_runs_where_qubits_are_alike(
    core: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.measure_all()
    placed = transpile(circuit, coupling_map=CouplingMap.from_line(7), initial_layout=[5, 2], basis_gates=["x", "cx"])
    assert placed.layout is not None
    found = SamplerV2(device, shots=30, run_key="r", client=core).run([placed]).result()[0]
    assert found.data.meas.get_counts() == {"01": 30}
    if device == "ionq-simulator":
        noisy = SamplerV2(device, run_key="r", client=core, options={"noise_model": "aria-1"})
        with pytest.raises(QiskitError, match="IonQ places qubits itself"):
            noisy.run([placed])


def test_shots_from_counts_alone_are_in_no_telling_order(core: Client) -> None:
    sampler = SamplerV2("local-aer", run_key="r", client=core, options={"memory": False})
    bits = sampler.run([tossed()], shots=1000).result()[0].data.meas
    halves = [int(bits.slice_shots(range(start, start + 500)).bitcount().sum()) for start in (0, 500)]
    assert abs(halves[0] - halves[1]) < 5 * np.sqrt(1000) / 2
    assert SamplerV2("local-aer", run_key="r", client=core).options == {}


def test_the_emulated_ionq_gives_the_same_and_sells_one_job(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, core: Client
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    call = SamplerV2("ionq-simulator", run_key="r", client=core).run([two_registers(), (turned(), [np.pi, 0])], shots=8)
    found = call.result()
    assert found[0].data.a.get_counts() == {"011": 8}
    assert found[0].data.b.get_counts() == {"0100000010": 8}
    assert found[1].data.meas.get_counts() == {"01": 8}
    assert sandbox.admin.count_jobs("ionq") == 1 == len(call.vendor_ids)
