"""What handles, results and batches know beyond counts, and verbs that read the vendors once more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit
from typer.testing import CliRunner

import qflows
from qflows.cli.app import app
from qflows.core.client import default_client
from qflows.errors import ProgramRejected, UnknownJob, WaitTimeout
from qflows.ledger import raws, reads
from qflows.ledger.tables import results
from qflows.sandbox import Sandbox
from qflows.states import JobStatus

BRAKET_QPU = "braket-garnet"


def bell(n: int = 2, name: str = "bell") -> QuantumCircuit:
    made = QuantumCircuit(n, n, name=name, metadata={"series": name})
    made.h(0)
    for qubit in range(n - 1):
        made.cx(qubit, qubit + 1)
    made.measure(range(n), range(n))
    return made


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ionq", "qbraid", "braket", "ibm")) as running:
        yield running


@pytest.fixture
def desk(vendors: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    vendors.admin.reset()
    vendors.admin.clock("instant")
    own = {"QFLOWS_HOME": str(tmp_path), "QFLOWS_SETTLE_S": "0.2", "QFLOWS_POLL_MIN_S": "0.02"}
    for name, value in (vendors.env | own).items():
        monkeypatch.setenv(name, value)
    return vendors


# -- the vendor's answer once more


def test_answer_is_read_again_and_the_same(desk: Sandbox) -> None:
    job = qflows.submit(bell(), device="ionq-simulator", shots=40, run_key="r")
    first = qflows.result(job, timeout=30)
    again = qflows.result(job, refresh=True)
    assert again.counts == first.counts
    told = again.provenance["reread"]
    assert (told["source"], told["differs"]) == ("vendor", False)
    assert "answer-differs" not in [event["kind"] for event in reads.history(default_client().ledger, job.key)]


def test_answer_that_differs_is_an_event_and_what_is_stored_stays(desk: Sandbox) -> None:
    job = qflows.submit(bell(), device="ionq-simulator", shots=40, run_key="r")
    said = qflows.result(job, timeout=30).counts
    core = default_client()
    with core.ledger.write() as connection:  # as if the vendor had said something else then
        body = connection.execute(sa.select(results.c.body).where(results.c.job_key == job.key)).scalar_one()
        changed = sa.update(results).where(results.c.job_key == job.key)
        connection.execute(changed.values(body=body | {"counts": {"01": 40}}))
    kept = raws.of(core.ledger, [job.key])[job.key].documents
    again = qflows.result(job, refresh=True)
    assert again.counts == said
    assert again.provenance["reread"]["differs"] is True
    assert qflows.result(job).counts == {"01": 40}
    assert raws.of(core.ledger, [job.key])[job.key].documents == kept
    [event] = [one for one in reads.history(core.ledger, job.key) if one["kind"] == "answer-differs"]
    assert event["detail"]["source"] == "vendor"
    assert event["detail"]["stored"] != event["detail"]["read_now"]
    assert event["detail"]["counts"] == [dict(said)]


def test_kept_answer_is_read_when_the_vendor_cannot_be_asked(desk: Sandbox) -> None:
    job = qflows.submit(bell(), device="ionq-simulator", shots=40, run_key="r")
    first = qflows.result(job, timeout=30)
    desk.admin.fault("status", "ionq.get", status=500, times=50)
    desk.admin.fault("status", "ionq.probabilities", status=500, times=50)
    again = qflows.result(job, refresh=True)
    assert (again.counts, again.provenance["reread"]["source"]) == (first.counts, "kept answer")


# -- batches of jobs that are there


def test_batch_is_made_of_jobs_that_are_there(desk: Sandbox) -> None:
    one = qflows.submit(bell(2, "two"), device="ionq-simulator", shots=30, run_key="a")
    other = qflows.submit(bell(3, "three"), device="ionq-simulator", shots=30, run_key="b")
    qflows.wait([one, other], timeout=30)
    made = qflows.batch_from([one, str(qflows.attach(other.key, qflows.Job).vendor_id)], name="both")
    assert (made.name, made.n_circuits, made.done) == ("both", 2, True)
    assert [sum(counts.values()) for counts in made.result(timeout=5).data.get_counts()] == [30, 30]
    assert [len(next(iter(counts))) for counts in made.result(timeout=5).data.get_counts()] == [2, 3]
    assert made.rerun_failed() == []
    assert qflows.batch_from([one, other]).id == made.id
    assert qflows.attach(made.id, qflows.Batch).programs[1].circuit().metadata == {"series": "three"}
    assert desk.admin.count_jobs() == 2
    told = CliRunner().invoke(app, ["batches", "from", one.key, other.key, "--json"])
    assert (told.exit_code, json.loads(told.stdout)["id"]) == (0, made.id), told.output


def test_batch_of_jobs_refuses_what_is_none(desk: Sandbox) -> None:
    one = qflows.submit(bell(), device="ionq-simulator", shots=30, run_key="a")
    local = qflows.submit(bell(), device="local-aer", shots=30, run_key="a")
    for jobs, why in (([], "at least one job"), ([one, one], "twice"), ([one, local], "one device")):
        with pytest.raises(ProgramRejected, match=why):
            qflows.batch_from(jobs)
    with pytest.raises(UnknownJob):
        qflows.batch_from(["0" * 64])
    assert len(qflows.batches()) == 0


# -- what handles and results know


def test_job_gives_back_its_circuits_and_options(desk: Sandbox) -> None:
    options = {"noise_model": "aria-1"}
    job = qflows.submit(bell(), device="ionq-simulator", shots=30, run_key="a", options=options)
    [program] = job.programs
    assert program.circuit().metadata == {"series": "bell"}
    assert program.circuit().count_ops() == {"h": 1, "cx": 1, "measure": 2}
    assert job.options == options
    assert job.refresh().is_terminal


def test_calibration_is_kept_beside_counts_once_for_each_device(desk: Sandbox) -> None:
    desk.admin.switches("braket", fidelities="Garnet=0.992")
    for device in ("ionq-forte-1", BRAKET_QPU, "qbraid-garnet"):
        first, second = (qflows.run(bell(), device=device, shots=100, run_key="a", timeout=60) for _ in range(2))
        assert first.calibration is not None, device
        assert first.calibration == second.calibration
    assert desk.admin.requests("ionq.characterizations") == 1
    assert desk.admin.requests("qbraid.calibrations") == 1
    assert qflows.run(bell(), device="ionq-simulator", shots=10, run_key="a", timeout=60).calibration is None
    assert desk.admin.requests("ionq.characterizations") == 1


def test_compiled_circuit_is_shown_where_the_vendor_gives_it(desk: Sandbox) -> None:
    for device in (BRAKET_QPU, "qbraid-garnet"):
        told = qflows.run(bell(), device=device, shots=100, run_key="a", timeout=60).compiled
        assert told.startswith("OPENQASM 3"), device
    batch = qflows.batch([bell(2), bell(3)], device="ibm-sandbox", shots=20, run_key="a")
    found = batch.result(timeout=60)
    assert [len(one["layout"]) for one in found.compiled] == [2, 3]
    (told,) = found.provenances.values()
    noted = told["submission"]["compiled"]
    assert all(one is other for one, other in zip(found.compiled, noted, strict=True))  # in memory once
    assert found.calibration == batch.calibration
    assert found.calibration is not None
    assert found.calibration["device"] == "ibm_manila"


def test_times_and_errors_of_ibm_are_typed(desk: Sandbox) -> None:
    counted = qflows.run(bell(), device="ibm-sandbox", shots=20, run_key="a", timeout=60)
    [span] = counted.execution_spans
    assert span.start.tzinfo is not None
    assert 0 < span.seconds < 60
    open_ended = bell().remove_final_measurements(inplace=False)
    found = qflows.run(open_ended, device="ibm-sandbox", shots=100, observables=[("ZZ", 1.0)], run_key="a", timeout=60)
    assert found.items[0].ensemble_standard_errors == (found.expectation.std_error,)
    assert found.items[0].metadata["target_precision"] is not None


def test_versions_of_the_sender_and_the_reader_are_kept(desk: Sandbox) -> None:
    found = qflows.run(bell(), device="ionq-simulator", shots=10, run_key="a", timeout=30).versions
    for role in ("submitted", "decoded"):
        assert found[role]["qflows"] == qflows.__version__
        assert {"python", "httpx"} <= found[role].keys()


def test_circuits_of_a_composite_job_are_counted_while_it_runs(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    batch = qflows.batch([bell(name=f"c{n}") for n in range(30)], device="ionq-simulator", shots=10, run_key="a")
    [job] = batch.sub_jobs()
    before = desk.admin.requests("ionq.list")
    assert job.progress() == {JobStatus.QUEUED: 30}
    assert desk.admin.requests("ionq.list") - before == 2
    assert batch.progress() == {JobStatus.QUEUED: 30}
    desk.admin.clock("instant")
    desk.admin.release()
    assert job.progress() == {JobStatus.COMPLETED: 30}  # by the vendor; the ledger has not looked yet
    assert batch.wait(30) is JobStatus.COMPLETED
    before = desk.admin.requests("ionq.list")
    assert batch.progress() == {JobStatus.COMPLETED: 30}
    assert desk.admin.requests("ionq.list") == before
    one = qflows.submit(bell(), device="local-aer", shots=10, run_key="a")
    assert sum(one.progress().values()) == 1


# -- batch mode, devices, groups, pace


def test_time_of_the_batch_mode_is_limited_and_shown(desk: Sandbox) -> None:
    batch = qflows.batch([bell()], device="ibm-sandbox", shots=20, run_key="a", max_time="25m")
    details = batch.mode_details()
    assert details is not None
    assert (details.mode, details.max_time_s) == ("batch", 1500.0)
    assert batch.wait(60).value == "COMPLETED"
    before = desk.admin.count_jobs()
    with pytest.raises(ProgramRejected, match="no batch mode"):
        qflows.batch([bell()], device="ionq-simulator", shots=20, run_key="b", max_time="25m")
    assert desk.admin.count_jobs() == before
    plain = qflows.batch([bell()], device="ionq-simulator", shots=20, run_key="c")
    assert plain.mode_details() is None


def test_device_says_what_it_takes_and_how_busy_it_is(desk: Sandbox) -> None:
    ionq, bell_1, sv = (qflows.device(name) for name in ("ionq-forte-1", "qbraid-bell-1", "qbraid-qir-sv"))
    assert (ionq.n_qubits, ionq.takes_batches, ionq.queue_s, ionq.is_available) == (36, True, 60.0, True)
    assert ionq.price is not None
    assert ionq.two_qubit_error is not None
    assert (bell_1.takes_batches, sv.takes_batches, sv.max_programs) == (True, False, 1)
    ibm = qflows.device("ibm-sandbox")
    assert (ibm.has_batch_mode, ibm.max_programs, ibm.queue_length) == (True, 300, 0)
    assert qflows.device("local-aer").troubles == {}
    live = json.loads(CliRunner().invoke(app, ["devices", "--live", "ionq", "--json"]).stdout)
    assert {row["device"]: row["queue_s"] for row in live}["ionq:qpu.forte-1"] == 60.0
    desk.admin.fault("status", "ionq.backends", status=500, times=20)
    assert "queue" in qflows.device("ionq-forte-1").troubles
    told = CliRunner().invoke(app, ["devices", "show", "qbraid-qir-sv", "--json"])
    assert json.loads(told.stdout)["now"]["takes_batches"] is False
    listed = json.loads(CliRunner().invoke(app, ["devices", "--json"]).stdout)
    by_name = {row["device"]: row for row in listed}
    assert (by_name["qbraid-qir-sv"]["takes_batches"], by_name["ionq-simulator"]["takes_batches"]) == (False, True)
    assert by_name["ionq-forte-1"]["price"]["unit"] == "usd"


def test_group_of_one_account_is_mirrored_by_itself(desk: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def bought(*devices: str) -> qflows.Group:
        run = "-".join(devices)
        with qflows.group("g", run_key=run) as opened:
            for device in devices:
                qflows.submit(bell(), device=device, shots=10, run_key=run)
        return opened

    ours = bought("qbraid-qir-sv", "qbraid-bell-1")
    native_id = ours.details()["native_id"]
    assert qflows.attach(str(native_id), qflows.Group).id == ours.id
    assert ours.results(timeout=30).successful()
    assert desk.admin.requests("qbraid.group_create") == 1
    assert bought("ionq-simulator", "qbraid-qir-sv").details()["native_id"] is None
    assert bought("ionq-simulator").details()["native_id"] is None
    desk.admin.fault("status", "qbraid.group_create", status=400, times=9)
    assert bought("qbraid-qir-sv").results(timeout=30).successful()
    monkeypatch.setenv("QFLOWS_VENDOR_GROUPS", "false")
    assert bought("qbraid-bell-1").details()["native_id"] is None


def test_waiter_looks_no_more_often_than_told(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    job = qflows.submit(bell(), device="ionq-simulator", shots=10, run_key="a")
    with pytest.raises(WaitTimeout):
        qflows.wait(job, timeout=0.8, every=60)
    assert desk.admin.requests("ionq.list") <= 2
    with pytest.raises(ProgramRejected, match="every"):
        qflows.wait(job, every=-1)
    local = qflows.submit(bell(), device="local-aer", shots=10, run_key="a")
    assert qflows.wait(local, timeout=60, every=600)[0].is_terminal


# -- steps, and what a vendor expects


STEPS = {
    "ionq-simulator": ["submitted", "started", "completed"],
    "ibm-sandbox": ["created", "running", "finished"],
    "braket-sv1": ["createdAt", "endedAt"],
    "qbraid-qir-sv": ["endedAt"],
}


@pytest.mark.parametrize("device", STEPS)
def test_every_step_that_the_vendor_reports_has_its_time(desk: Sandbox, device: str) -> None:
    desk.admin.clock("frozen")
    job = qflows.submit(bell(), device=device, shots=20, run_key="r")
    with pytest.raises(WaitTimeout):
        qflows.wait(job, timeout=0)
    waiting = qflows.attach(job.key, qflows.Job)
    [seen] = [step for step in waiting.timeline.steps if not step.is_reported]
    assert seen.name == waiting.word
    desk.admin.clock("instant")
    qflows.wait(job, timeout=30)
    times = qflows.attach(job.key, qflows.Job).timeline
    reported = [step.name for step in times.steps if step.is_reported]
    assert [name for name in reported if name in STEPS[device]] == STEPS[device]
    assert seen in times.steps
    assert [step.at for step in times.steps] == sorted(step.at for step in times.steps)
    assert all(step.at.utcoffset() is not None for step in times.steps)
    told = CliRunner().invoke(app, ["jobs", "show", job.key])
    assert f"{seen.name} " in told.output
    assert f"{STEPS[device][-1]} " in told.output
    shown = json.loads(CliRunner().invoke(app, ["jobs", "show", job.key, "--json"]).output)
    assert [step["name"] for step in shown["times"]["steps"]] == [step.name for step in times.steps]
    [row] = qflows.jobs(limit=1).to_dicts()
    assert row["steps"][STEPS[device][-1]] == times.steps[-1].at.isoformat()


def test_start_and_end_that_the_vendor_expects_are_told_while_the_job_waits(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    before = datetime.now(UTC)
    job = qflows.submit(bell(), device="ionq-forte-1", shots=500, run_key="r")
    with pytest.raises(WaitTimeout):
        qflows.wait(job, timeout=0)
    times = qflows.attach(job.key, qflows.Job).timeline
    assert times.expected_start is not None
    assert times.expected_end is not None
    # the emulated queue is 60 s long
    assert timedelta(seconds=59) < times.expected_start - before < timedelta(seconds=120)
    assert times.expected_end > times.expected_start
    told = CliRunner().invoke(app, ["jobs", "show", job.key]).output
    assert f"start {times.expected_start:%Y-%m-%d %H:%M:%S} UTC" in told
    assert qflows.jobs(limit=1).to_dicts()[0]["expected_start"] == times.expected_start
    desk.admin.clock("instant")
    qflows.wait(job, timeout=30)
    over = qflows.attach(job.key, qflows.Job).timeline
    assert (over.expected_start, over.expected_end) == (None, None)


def test_progress_of_a_composite_job_is_shown_on_request(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    batch = qflows.batch([bell(2, f"c{n}") for n in range(5)], device="ionq-simulator", shots=20, run_key="r")
    with pytest.raises(WaitTimeout):
        batch.result(timeout=0)
    key = batch.sub_job(0).key
    told = CliRunner().invoke(app, ["jobs", "show", key, "--progress"])
    assert "5 queued" in told.output, told.output
    assert json.loads(CliRunner().invoke(app, ["jobs", "show", key, "--progress", "--json"]).output)["progress"] == {
        "QUEUED": 5
    }
