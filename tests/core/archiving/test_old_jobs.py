"""Old jobs leave the ledger for files: no kill loses anything, nothing is bought again, results are still read."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit

from qflows.core.archiving import old_jobs
from qflows.core.archiving.old_jobs import Done, archive_old
from qflows.core.archiving.verify import verify
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ArchiveMissing, JobFailed
from qflows.ledger import Ledger, archives, measurements, raws, reads
from qflows.ledger.money_tables import charges
from qflows.ledger.tables import batch_parts, events, jobs, raw_answers, results, sessions
from qflows.ledger.verify import verify as verify_ledger
from qflows.sandbox import Sandbox
from qflows.settings import Settings

LATER = timedelta(days=1)
N = 4
SCOPE = Scope("live", "1", "f")


def circuit(n: int) -> QuantumCircuit:
    made = QuantumCircuit(2, 2, name=f"c{n}")
    made.ry(0.1 * n, 0)
    made.measure(range(2), range(2))
    return made


@pytest.fixture
def core(ledger_url: str, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, ledger_url=ledger_url, poll_min_s=0.01, settle_s=0.2))
    yield made
    made.ledger.close()


def buy(core: Client, attempt: str = "1", n: int = N, device: str = "ionq-simulator", run: str = "old") -> list[str]:
    specs = [core.specs(circuit(k), device=device, shots=50)[0] for k in range(n)]
    made = [job.key for job in core.submit(specs, device=device, scope=Scope(run, attempt, "f"))]
    core.wait(made, timeout=60)
    return made


def archive(core: Client, **options: object) -> Done:
    return archive_old(core.ledger, datetime.now(UTC) + LATER, core.settings.archive_folder(), **options)  # pyright: ignore[reportArgumentType]


def rows(core: Client) -> dict[str, int]:
    with core.ledger.read() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (jobs, results, raw_answers, events)
        }


def test_results_leave_and_are_read_back_and_nothing_is_bought_again(core: Client, sandbox: Sandbox) -> None:
    keys = buy(core)
    before = {
        key: (reads.items(core.ledger, key), reads.provenance(core.ledger, key), reads.history(core.ledger, key))
        for key in keys
    }
    answers = raws.of(core.ledger, keys)
    assert len(answers) == N
    assert all(found[0] for found in before.values())
    assert archive(core, dry_run=True).jobs == N
    assert rows(core)["results"] == N
    done = archive(core)
    assert (done.jobs, len(done.files), done.held) == (N, 1, {})
    assert rows(core) == {"jobs": N, "results": 0, "raw_answers": 0, "events": 0}
    after = {
        key: (reads.items(core.ledger, key), reads.provenance(core.ledger, key), reads.history(core.ledger, key))
        for key in keys
    }
    assert after == before
    assert raws.of(core.ledger, keys) == answers
    # the same run, started again: the same jobs, and as many at the vendor as before
    assert buy(core, attempt="2") == keys
    assert sandbox.admin.count_jobs() == N
    assert verify_ledger(core.ledger.engine).findings == []
    checked = verify(done.files[0].path, digest=done.files[0].digest)
    assert (checked.findings, checked.checked["recomputed jobs"]) == ([], N)
    # archived once is archived
    assert archive(core).jobs == 0
    # and a study holds them as if they had never left
    made = core.archive(core.settings.home / "study.zip", run=["old"])
    whole = verify(made.path)
    assert (whole.findings, made.unkept, whole.checked["recomputed jobs"]) == ([], 0, N)


def test_calibration_that_a_value_was_measured_under_is_found_for_archived_jobs(core: Client) -> None:
    keys = buy(core, n=2, device="ionq-forte-1")
    before = measurements.circumstances(core.ledger, keys)
    assert all(snapshot for _, _, snapshot in before.values())
    assert archive(core).jobs == 2
    assert measurements.circumstances(core.ledger, keys) == before


def test_missing_or_changed_file_is_named_and_a_copy_elsewhere_is_found(core: Client, tmp_path: Path) -> None:
    [key, *_] = buy(core)
    [file] = archive(core).files
    other = tmp_path / "moved"
    other.mkdir()
    moved = file.path.rename(other / file.path.name)
    with pytest.raises(ArchiveMissing, match=file.path.name):
        reads.items(core.ledger, key)
    found = Client(Settings(home=tmp_path, ledger_url=core.settings.ledger_url, archive=other))
    assert len(reads.items(found.ledger, key)) == 1
    moved.write_bytes(moved.read_bytes()[:-1] + b"!")
    with pytest.raises(ArchiveMissing, match=file.digest):
        reads.items(found.ledger, key)
    found.ledger.close()


def test_jobs_of_what_is_open_stay(core: Client, sandbox: Sandbox) -> None:
    _, charged, held = buy(core, n=3)
    batch = core.submit_list([circuit(8)], Scope("batch", "1", "f"), device="ionq-simulator", shots=50)
    batch.result(60)
    with core.new_group("open", run_key="group") as group:
        specs = core.specs(circuit(9), device="ionq-simulator", shots=50)
        [member] = core.submit(specs, device="ionq-simulator", scope=Scope("group", "1", "f", group=group.id))
        core.wait([member.key], timeout=60)
        sandbox.admin.clock("frozen")
        [live] = core.submit(
            core.specs(circuit(10), device="ionq-simulator", shots=50), device="ionq-simulator", scope=SCOPE
        )
        now = datetime.now(UTC)
        with core.ledger.write() as connection:
            part = {"batch_id": batch.id, "part": 1, "generation": 0, "indices": [[1, 2]], "job_key": live.key}
            connection.execute(sa.insert(batch_parts), part)
            charge = {"subject": charged, "budget": "b", "bucket": "", "state": "HELD", "amount": 1, "asked": 1}
            connection.execute(sa.insert(charges), charge | {"is_estimate": False, "at": now})
            connection.execute(sa.update(jobs).where(jobs.c.key == held).values(session_id="s1"))
            session = dict.fromkeys(("key", "sample", "run_key", "name", "account", "device", "device_id", "mode"), "s")
            session |= {"epoch": 0, "provider": "ionq", "options": {}, "state": "OPEN", "vendor_id": "s1", "fence": 0}
            connection.execute(sa.insert(sessions), session | {"created_at": now})
        done = archive(core)
    assert done.jobs == 1
    reasons = ("an open group", "an open session", "an unfinished batch", "an unsettled charge")
    assert done.held == dict.fromkeys(reasons, 1)
    # over now: the group by itself, the charge and the session as their owners end them
    with core.ledger.write() as connection:
        connection.execute(sa.update(charges).values(state="SPENT"))
        connection.execute(sa.update(sessions).values(state="CLOSED"))
    again = archive(core)
    assert (again.jobs, again.held) == (3, {"an unfinished batch": 1})
    assert len(reads.items(core.ledger, member.key)) == 1


def test_failed_job_stays_failed(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "ionq.submit")
    [key] = buy(core, n=1)
    before = reads.history(core.ledger, key)
    archive(core)
    assert reads.history(core.ledger, key) == before
    with pytest.raises(JobFailed):
        core.result([key])


def test_job_that_changed_meanwhile_stays_whole(core: Client) -> None:
    keys = buy(core)
    found = archives.candidates(core.ledger, datetime.now(UTC) + LATER)
    assert {one.key for one in found} == set(keys)
    with core.ledger.write() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.key == keys[0]).values(is_held=True))
    pointer = archives.Pointer("f", "d", "x")
    assert archives.move(core.ledger, found, pointer, answers={}, newest_event=0) == N - 1
    assert len(reads.items(core.ledger, keys[0])) == 1
    assert rows(core)["raw_answers"] == N  # of unknown age: not the archived ones


def killed_pass(core: Client, place: str, count: int) -> int:
    """A process that archives four jobs a file and moves two a time, and dies at that step; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0

    def dies(step: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal seen
            seen += 1
            if seen == count and place.startswith("before"):
                os.kill(os.getpid(), signal.SIGKILL)
            made = step(*args, **kwargs)
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        return wrapped

    try:
        old_jobs._JOBS, archives._AT_ONCE = 4, 2
        if place.endswith("file"):
            old_jobs._write_durably = dies(old_jobs._write_durably)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            Ledger.transact = dies(Ledger.transact)  # pyright: ignore[reportAttributeAccessIssue]
        opened = Ledger.open(core.settings.resolved_ledger_url())
        archive_old(opened, datetime.now(UTC) + LATER, core.settings.archive_folder())
    finally:
        os._exit(1)


@pytest.mark.parametrize(
    ("place", "count", "left"),
    [("before file", 2, 6), ("after file", 1, 10), ("before move", 2, 8), ("after move", 3, 4)],
)
def test_killed_pass_loses_nothing_and_is_finished_by_the_next(
    core: Client, monkeypatch: pytest.MonkeyPatch, place: str, count: int, left: int
) -> None:
    keys = buy(core, n=10)
    before = {key: reads.items(core.ledger, key) for key in keys}
    assert killed_pass(core, place, count) == -signal.SIGKILL
    assert rows(core)["results"] == left
    assert {key: reads.items(core.ledger, key) for key in keys} == before
    monkeypatch.setattr(old_jobs, "_JOBS", 4)
    assert archive(core).jobs == left
    assert rows(core)["results"] == 0
    assert {key: reads.items(core.ledger, key) for key in keys} == before
    files = list(core.settings.archive_folder().glob("jobs-*.zip"))
    assert all(verify(path).is_whole for path in files)
    assert verify_ledger(core.ledger.engine).findings == []


def test_command_says_what_it_did(core: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from qflows.cli.app import app

    [key, *_] = buy(core)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    monkeypatch.setenv("QFLOWS_LEDGER_URL", core.settings.resolved_ledger_url())

    def run(*words: str) -> str:
        return CliRunner().invoke(app, list(words), catch_exceptions=False).output

    assert "0 jobs would be archived" in run("ledger", "archive", "--older-than", "90d", "--dry-run")
    said = run("ledger", "archive", "--older-than", "0h", "--to", str(tmp_path / "there"), "--compact")
    assert f"{N} jobs archived in 1 files" in said
    shown = run("jobs", "show", key, "--json")
    assert sum(json.loads(shown)["results"][0]["counts"].values()) == 50
