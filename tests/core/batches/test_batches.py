"""Batches on the emulated IonQ and on local devices: places, holes, cancels, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.core import profiles
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import JobLimits, partition
from qflows.core.batches.results import with_one_summary
from qflows.core.client import Client
from qflows.core.devices import NothingSaved
from qflows.core.profiles import DeviceProfile
from qflows.core.scope import Scope
from qflows.errors import JobFailed, ProgramRejected, WaitTimeout
from qflows.model import ItemResult
from qflows.programs import Program, to_program
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

DEVICE = "ionq-simulator"
WIDTH = 5


def numbered(n: int) -> list[QuantumCircuit]:
    """Circuits whose only outcome is their own number modulo 32."""
    made = []
    for i in range(n):
        circuit = QuantumCircuit(WIDTH, WIDTH, name=f"c{i}")
        for bit in range(WIDTH):
            if i >> bit & 1:
                circuit.x(bit)
        circuit.measure(range(WIDTH), range(WIDTH))
        made.append(circuit)
    return made


def answer(i: int) -> str:
    return f"{i % 2**WIDTH:0{WIDTH}b}"


@pytest.fixture
def core(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Client]:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, settle_s=0.2, poll_min_s=0.01))
    yield made
    made.ledger.close()


def bought(core: Client, n: int, run_key: str = "b", attempt: str = "a", **arguments: object) -> Batch:
    planned = core.plan_batch(numbered(n), device=DEVICE, shots=20, **arguments)  # pyright: ignore[reportArgumentType]
    batch = core.create_batch(planned, device=DEVICE, scope=Scope(run_key, attempt, "f"))
    core.submit_batch(batch)
    return batch


def places_are_right(results: Sequence, but: Sequence[int] = ()) -> bool:
    return all(
        (item is None) == (i in but) and (item is None or list(item.counts) == [answer(i)])
        for i, item in enumerate(results)
    )


# -- the planner


def programs(sizes: Sequence[int]) -> list[Program]:
    made = []
    for size in sizes:
        circuit = QuantumCircuit(1, 1)
        for _ in range(size):
            circuit.h(0)
        circuit.measure(0, 0)
        made.append(to_program(circuit))
    return made


@pytest.mark.parametrize(
    "limits",
    [
        JobLimits(3),
        JobLimits(100, bytes=1500),
        JobLimits(100, gates=40),
        JobLimits(100, shots=500),
        JobLimits(4, bytes=2500, gates=60, shots=350),
    ],
)
def test_parts_cover_every_circuit_once_in_order_below_every_limit(limits: JobLimits) -> None:
    listed = programs([1, 5, 2, 9, 1, 1, 7, 3, 3, 2, 8, 1])
    parts = partition(listed, [100] * len(listed), limits)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(listed)))
    for part in parts:
        chosen = listed[part.start : part.stop]
        assert len(chosen) <= limits.circuits
        assert limits.bytes is None or sum(len(p.text) * 3 for p in chosen) <= limits.bytes
        assert limits.shots is None or len(chosen) * 100 <= limits.shots


def test_a_part_holds_one_number_of_shots() -> None:
    parts = partition(programs([1] * 5), [10, 10, 20, 20, 10], JobLimits(100))
    assert [(part.start, part.stop, part.shots) for part in parts] == [(0, 2, 10), (2, 4, 20), (4, 5, 10)]


def test_a_circuit_too_large_for_any_job_is_refused_by_its_index() -> None:
    with pytest.raises(ProgramRejected, match="circuit 1 "):
        partition(programs([1, 500]), [1, 1], JobLimits(10, gates=100))


def test_a_list_above_ionq_s_gates_a_job_is_split_and_every_part_is_taken(core: Client, sandbox: Sandbox) -> None:
    planned = core.plan_batch(programs([60_000]) * 3, device=DEVICE, shots=1)
    assert [indices for indices, _ in planned.specs] == [(0, 1), (2,)]
    core.submit_batch(core.create_batch(planned, device=DEVICE, scope=Scope("gates", "a", "f")))
    assert sandbox.admin.count_jobs("ionq") == 2
    assert "ionq.submit 400" not in sandbox.admin.counts()["statuses"]


def test_gates_that_grow_beyond_a_job_when_compiled_are_refused_before_the_purchase(
    core: Client, sandbox: Sandbox
) -> None:
    circuit = QuantumCircuit(2, 2)
    for _ in range(500):
        circuit.dcx(0, 1)
        circuit.ch(0, 1)
    circuit.measure([0, 1], [0, 1])
    with pytest.raises(ProgramRejected, match="in its own gates.*max_circuits"):
        core.plan_batch([to_program(circuit)] * 100, device=DEVICE, shots=1)
    assert sandbox.admin.count_jobs("ionq") == 0


def test_measurements_and_registers_are_no_gates_to_the_planner() -> None:
    assert len(partition(programs([4, 4]), [1, 1], JobLimits(10, gates=8))) == 1


def test_a_bad_circuit_is_named_before_anything_is_bought(core: Client, sandbox: Sandbox) -> None:
    circuits = numbered(3)
    circuits[1].remove_final_measurements()
    with pytest.raises(ProgramRejected, match="circuit 1:"):
        core.plan_batch(circuits, device=DEVICE, shots=10)
    assert sandbox.admin.count_jobs("ionq") == 0


class _OneCircuitAJob(NothingSaved):
    """A saved profile that is stricter than the device."""

    def profile(self, name: str) -> DeviceProfile | None:
        known = profiles.find(name)
        return known.model_copy(update={"max_programs": 1}) if known else None


def test_as_batch_on_a_device_without_composite_jobs_is_a_value_error_naming_it(core: Client) -> None:
    core.vendors.saved = _OneCircuitAJob()
    with pytest.raises(ValueError, match="'local-aer' .*one circuit per job"):
        core.plan_batch(numbered(2), device="local-aer", shots=10, as_batch=True)


# -- results


def test_index_i_is_circuit_i_over_many_parts(core: Client, sandbox: Sandbox) -> None:
    batch = bought(core, 100, max_circuits=7)
    result = batch.result()
    assert places_are_right(result.results)
    assert result.success
    assert result.num_circuits == 100
    assert result.data.get_counts()[33] == {answer(33): 20}
    assert sandbox.admin.count_jobs("ionq") == 15
    assert batch.done
    assert batch.status is JobStatus.COMPLETED


def test_own_shots_for_every_circuit(core: Client) -> None:
    planned = core.plan_batch(numbered(4), device=DEVICE, shots=[10, 10, 30, 10])
    batch = core.create_batch(planned, device=DEVICE, scope=Scope("b", "a", "f"))
    core.submit_batch(batch)
    assert [item.counts.shots for item in batch.result().results if item and item.counts] == [10, 10, 30, 10]
    assert [part.indices for part in batch.parts] == [(0, 1), (2,), (3,)]


def test_a_batch_of_one_is_a_batch(core: Client) -> None:
    result = bought(core, 1).result()
    assert result.num_circuits == 1
    assert result.data.get_counts() == [{answer(0): 20}]


def test_single_jobs_when_composites_are_not_wanted(core: Client, sandbox: Sandbox) -> None:
    batch = bought(core, 6, as_batch=False)
    assert places_are_right(batch.result().results)
    assert sandbox.admin.count_jobs("ionq") == 6


def test_a_replay_finds_the_batch_and_buys_nothing_even_if_the_planner_splits_otherwise(
    core: Client, sandbox: Sandbox
) -> None:
    first = bought(core, 20, max_circuits=5)
    first.wait()
    again = bought(core, 20, attempt="a2", max_circuits=3)
    assert again.id == first.id
    assert places_are_right(again.result().results)
    assert len(again.parts) == 4
    assert sandbox.admin.count_jobs("ionq") == 4


def test_an_equal_batch_in_the_same_attempt_is_another_batch(core: Client, sandbox: Sandbox) -> None:
    assert bought(core, 4).id != bought(core, 4).id
    assert sandbox.admin.count_jobs("ionq") == 2


def test_a_batch_is_attached_by_its_id_from_anywhere(core: Client, tmp_path: Path) -> None:
    batch = bought(core, 9, max_circuits=4)
    batch.wait()
    other = Client(Settings(home=tmp_path, settle_s=0.2, poll_min_s=0.01))
    found = other.batch(batch.id[:12])
    assert places_are_right(found.result().results)
    assert [program.digest for program in found.programs] == [to_program(c).digest for c in numbered(9)]
    other.ledger.close()


# -- failures


def test_partial_results_keep_every_good_circuit_and_only_holes_are_bought_again(
    core: Client, sandbox: Sandbox
) -> None:
    core.submitter.workers = 1  # so that the second part is the one that fails
    sandbox.admin.fault("fail_job", "ionq.submit", skip=1, code="InternalError", message="boom", children=[0, 2])
    batch = bought(core, 30, max_circuits=10)
    result = batch.result(partial=True)
    assert places_are_right(result.results, but=[10, 12])
    assert {i: (e.code, e.message) for i, e in result.errors.items()} == {
        10: ("InternalError", "boom"),
        12: ("InternalError", "boom"),
    }
    assert batch.status is JobStatus.FAILED
    with pytest.raises(JobFailed, match="circuit 10"):
        batch.result()
    assert batch.rerun_failed() == [10, 12]
    assert batch.rerun_failed() == []
    assert places_are_right(batch.result().results)
    assert batch.status is JobStatus.COMPLETED
    jobs = sandbox.admin.jobs("ionq")
    assert sandbox.admin.count_jobs("ionq") == 4
    assert len(jobs) >= 4
    assert batch.sub_job(12).key != batch.sub_job(11).key


def test_two_re_runs_at_once_buy_each_hole_once_and_leave_no_job_outside_a_part(core: Client, sandbox: Sandbox) -> None:
    for n in range(5):
        sandbox.admin.fault("fail_job", "ionq.submit", code="InternalError", message="boom", children=[0, 2])
        batch = bought(core, 10, run_key=f"twice-{n}")
        batch.wait()
        before = sandbox.admin.count_jobs("ionq")
        handles = [core.batch(batch.id) for _ in range(4)]
        together = threading.Barrier(len(handles))

        def again(handle: Batch, together: threading.Barrier = together) -> None:
            together.wait()
            handle.rerun_failed()

        with ThreadPoolExecutor(len(handles)) as pool:
            list(pool.map(again, handles))
        assert sandbox.admin.count_jobs("ionq") == before + 1
        parts = core.batch(batch.id).parts
        assert [part.part for part in parts] == [0, 1]
        assert len({part.job_key for part in parts}) == 2
        assert places_are_right(core.batch(batch.id).result(timeout=20).results)


def test_rerun_never_touches_parts_that_are_alive_or_in_doubt(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    sandbox.admin.fault("status", "ionq.submit", skip=1, status=400)
    sandbox.admin.fault("drop_after", "ionq.submit", skip=2)
    batch = bought(core, 12, max_circuits=3)
    statuses = list(batch.status_by_part.values())
    (refused,) = [part for part in batch.parts if batch.status_by_part[part.part] is JobStatus.FAILED]
    assert statuses.count(JobStatus.IN_DOUBT) == 1
    assert batch.status is JobStatus.IN_DOUBT
    assert batch.status_counts[JobStatus.FAILED] == 1  # an error does not hide behind "queued"
    assert batch.rerun_failed() == list(refused.indices)
    sandbox.admin.clock("instant")
    assert places_are_right(batch.result().results)
    assert sandbox.admin.count_jobs("ionq") == 4


def test_a_job_the_vendor_lost_is_a_hole_that_can_be_bought_again(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    batch = bought(core, 8, max_circuits=4)
    lost = batch.parts[1]
    sandbox.admin.forget([batch.sub_job(4).vendor_id or ""])
    sandbox.admin.clock("instant")
    result = batch.result(timeout=30, partial=True)
    assert sorted(result.errors) == list(lost.indices)
    assert result.errors[4].code == "vanished"
    assert batch.rerun_failed() == [4, 5, 6, 7]
    assert places_are_right(batch.result(timeout=30).results)


def test_cancel_reaches_every_live_part_and_is_verified(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    batch = bought(core, 9, max_circuits=3)
    assert set(batch.cancel().values()) == {JobStatus.CANCELLED}
    assert batch.cancelled
    assert batch.in_final_state
    assert {job["phase"] for job in sandbox.admin.jobs("ionq")} <= {"cancelled"}


def test_a_note_about_a_circuit_is_in_memory_once() -> None:
    def notes(*depths: int) -> list[ItemResult]:
        return [ItemResult(metadata={"compiled": {"depth": depth}, "place": n}) for n, depth in enumerate(depths)]

    def shared(items: list[ItemResult], sent: list[dict[str, int]]) -> list[int | None]:
        found = with_one_summary(items, {"submission": {"compiled": sent}})
        assert found == items
        return [next((k for k, one in enumerate(sent) if one is item.compiled), None) for item in found]

    sent = [{"depth": 1}, {"depth": 1}, {"depth": 3}]
    assert shared(notes(1, 1, 3), sent) == [0, 1, 2]
    assert shared(notes(1, 1, 1, 3, 3), sent) == [0, 1, 1, 2, 2]  # circuits of one form have one note
    assert shared(notes(2, 1), sent) == [None, 0]  # another one was stored with the result: that stays
    assert with_one_summary([ItemResult()], {"submission": {"compiled": "text"}}) == [ItemResult()]
    assert with_one_summary([ItemResult()], {}) == [ItemResult()]


def test_one_deadline_for_all_parts(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    batch = bought(core, 6, max_circuits=2)
    with pytest.raises(WaitTimeout) as caught:
        batch.result(timeout=0.3)
    assert len(caught.value.pending or ()) == 3


def test_an_index_out_of_range_names_the_range(core: Client) -> None:
    batch = bought(core, 3)
    with pytest.raises(IndexError, match="0 to 2"):
        batch.sub_job(3)


def test_name_and_tags_change_in_the_ledger(core: Client) -> None:
    batch = bought(core, 2)
    batch.update(name="night", tags={"study": "b"})
    found = core.batch(batch.id)
    assert (found.name, dict(found.tags)) == ("night", {"study": "b"})


def test_the_report_names_parts_ranges_ids_and_errors(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "ionq.submit", code="InternalError", message="boom")
    batch = bought(core, 6, max_circuits=3)
    batch.wait()
    text = batch.report()
    assert "6 circuits in 2 parts" in text
    assert "0-2" in text
    assert "boom" in text
    assert all(row["vendor id"] for row in batch.report_table())


_CLIENT = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.programs import Program
    from qflows.settings import Settings
    home, n, size, die = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    core = Client(Settings(home=home, settle_s=0.2, poll_min_s=0.01))
    texts = (home / "programs.txt").read_text().splitlines()
    seen = 0
    def count(kind, key, detail):
        global seen
        seen += kind in ("queued", "completed", "claimed")
        if die and seen == die:
            os.kill(os.getpid(), signal.SIGKILL)
    core.ledger.listeners.append(count)
    programs = [Program.from_text(t) for t in texts]
    planned = core.plan_batch(programs, device="ionq-simulator", shots=20, max_circuits=size)
    batch = core.create_batch(planned, device="ionq-simulator", scope=Scope("big", str(os.getpid()), "f"))
    core.submit_batch(batch)
    while True:
        batch.wait()
        if not batch.rerun_failed():
            break
    print(batch.id)
    """
)


def test_a_long_list_survives_failed_parts_lost_jobs_and_a_client_killed_three_times(
    core: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    n, size = 2000, 100
    (tmp_path / "programs.txt").write_text("\n".join(to_program(c).text for c in numbered(n)))
    sandbox.admin.fault("fail_job", "ionq.submit", skip=2, times=3, code="InternalError", message="boom")
    sandbox.admin.fault("fail_job", "ionq.submit", skip=7, times=2, code="SystemCancel", message="x", children=[1, 5])

    def client(die: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _CLIENT, str(tmp_path), str(n), str(size), str(die)],
            env={**os.environ, **sandbox.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    for die in (8, 15, 9):
        assert client(die).returncode == -signal.SIGKILL
    done = client(0)
    assert done.returncode == 0, done.stderr[-2000:]
    batch = core.batch(done.stdout.strip().splitlines()[-1])
    assert places_are_right(batch.result().results)
    # 20 parts, 3 whole parts again, and the two pairs of holes
    assert sandbox.admin.count_jobs("ionq") == 20 + 3 + 2
    rerun = [len(part.indices) for part in batch.parts if part.generation]
    assert sorted(rerun) == [2, 2, 100, 100, 100]
