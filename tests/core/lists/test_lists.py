"""Lists with filters, order and pages; one look at the vendors."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit
from typer.testing import CliRunner

import qflows
from qflows.cli.app import app
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus


def circuit(name: str) -> QuantumCircuit:
    made = QuantumCircuit(1, 1, name=name)
    made.x(0)
    made.measure(0, 0)
    return made


@pytest.fixture(scope="module")
def ionq() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ionq",)) as running:
        yield running


@pytest.fixture
def core(ionq: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    ionq.admin.reset()
    for name, value in ionq.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    monkeypatch.setenv("QFLOWS_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    made = Client(Settings(home=tmp_path, poll_min_s=0.01))
    yield made
    made.ledger.close()


def buy(core: Client, name: str, *, device: str = "local-aer", run: str = "a", **wishes: Any) -> Job:
    specs = core.specs(circuit(name), device=device, shots=10, name=name, **wishes)
    [job] = core.submit(specs, device=device, scope=Scope(run, "1", name))
    return job


@pytest.fixture
def six(core: Client) -> Client:
    """Three finished local jobs of run `a`, and three of run `b` that wait at IonQ, with tags."""
    for n in range(3):
        buy(core, f"local{n}", tags={"study": "h2", "n": str(n)})
    core.wait([job.key for job in core.jobs()])
    return core


def names(found: Any) -> list[str]:
    return [job.name for job in found]


def test_filters_narrow_and_alternatives_widen(six: Client, ionq: Sandbox) -> None:
    ionq.admin.clock("frozen")
    for n in range(3):
        buy(six, f"ionq{n}", device="ionq-simulator", run="b", tags={"study": "lih"})
    assert len(six.jobs()) == 6
    assert set(names(six.jobs(status="completed"))) == {"local0", "local1", "local2"}
    assert set(names(six.jobs(status="live"))) == {"ionq0", "ionq1", "ionq2"}
    assert six.jobs(status=["completed", "queued"]).total == 6
    assert names(six.jobs(device="local-aer", tag={"n": "2"})) == ["local2"]
    assert set(names(six.jobs(tag="study=lih"))) == {"ionq0", "ionq1", "ionq2"}
    assert six.jobs(tag="study").total == 6
    assert six.jobs(tag="n").total == 3
    assert six.jobs(run="b", provider="ionq", origin="bought").total == 3
    assert six.jobs(since="1h").total == 6
    assert six.jobs(until="1h").total == 0
    assert names(six.jobs(name=["local0", "ionq1"], order="name")) == ["ionq1", "local0"]


def test_pages_follow_each_other_without_overlap(six: Client) -> None:
    first = six.jobs(limit=2, order="name")
    second = six.jobs(limit=2, order="name", offset=first.next_offset)
    assert (names(first), names(second)) == (["local0", "local1"], ["local2"])
    assert (first.total, first.next_offset, second.next_offset) == (3, 2, None)
    assert names(six.jobs(order="-name", limit=1)) == ["local2"]


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"status": "compleated"}, "did you mean completed"),
        ({"device": "local-ear"}, "did you mean local-aer"),
        ({"run": "zzz"}, "there are a"),
        ({"order": "size"}, "created"),
        ({"origin": "found"}, "bought"),
        ({"batch": "nothing"}, "no batch"),
        ({"flow": "vqe"}, "filtered by"),
        ({"tags": {"n": "1"}}, "did you mean tag"),
        ({"colour": "red"}, "there are account"),
        ({"limit": "ten"}, "limit must be a whole number"),
        ({"limit": -1}, "limit must be a whole number"),
        ({"limit": 2.5}, "limit must be a whole number"),
        ({"offset": None}, "offset must be a whole number"),
        ({"offset": True}, "offset must be a whole number"),
        ({"order": 5}, "order is a column's name"),
        ({"order": "--name"}, "did you mean name"),
        ({"device": 5}, "a filter is text or a list of texts"),
        ({"status": ["completed", None]}, "a filter is text or a list of texts"),
        ({"since": "soon"}, "neither a date"),
        ({"tag": "=x"}, "write name or name=value"),
    ],
)
def test_unknown_values_are_refused_with_those_there_are(six: Client, filters: dict[str, str], told: str) -> None:
    with pytest.raises(ProgramRejected, match=told):
        six.jobs(**filters)


@pytest.mark.parametrize("tag", ['a"b', "a.b", "a[0]", "$", "a'b", "a b", "ü", "%", "a\\b"])
def test_odd_names_of_tags_are_found_and_match_nothing_else(six: Client, tag: str) -> None:
    buy(six, "odd", tags={tag: "x"})
    assert names(six.jobs(tag={tag: "x"})) == ["odd"]
    assert names(six.jobs(tag=tag)) == ["odd"]
    assert six.jobs(tag={tag: "y"}).total == 0
    assert six.jobs(tag={"n": 1}).total == 1  # pyright: ignore[reportArgumentType]


def test_rows_are_readable_and_go_elsewhere(six: Client) -> None:
    found = six.jobs(order="name")
    assert repr(found).startswith("<3 jobs\n  <Job ")
    assert "local1" in found._repr_html_()
    rows = found.to_dicts()
    assert [(row["name"], row["status"], row["shots"], row["tags"]["n"]) for row in rows] == [
        (f"local{n}", "COMPLETED", 10, str(n)) for n in range(3)
    ]
    assert all(row["finished"].tzinfo is not None for row in rows)


def test_batches_groups_and_runs_have_lists_too(six: Client) -> None:
    planned = six.plan_batch([circuit("c0"), circuit("c1")], device="local-aer", shots=10)
    batch = six.create_batch(
        planned, device="local-aer", scope=Scope("a", "1", "b"), name="sweep", tags={"study": "h2"}
    )
    six.submit_batch(batch)
    batch.wait()
    [found] = six.batches(tag="study=h2")
    assert (found.id, six.batches(name="sweep").to_dicts()[0]["circuits"]) == (batch.id, 2)
    assert six.jobs(batch=batch.id[:12]).total == len(batch.parts)
    [run] = six.runs(run="a") if six.runs().total else [None]
    assert run is None or run.jobs[JobStatus.COMPLETED] >= 3
    assert six.groups().total == 0
    assert six.sessions().total == 0
    with pytest.raises(ProgramRejected, match="no status of groups"):
        six.groups(status="opened")


def test_refresh_asks_once_for_many(core: Client, ionq: Sandbox) -> None:
    ionq.admin.clock("frozen")
    jobs = [buy(core, f"ionq{n}", device="ionq-simulator") for n in range(5)]
    before = ionq.admin.requests("ionq.list")
    looked = core.refresh([job.key for job in jobs])
    assert {job.status for job in looked.values()} == {JobStatus.QUEUED}
    assert ionq.admin.requests("ionq.list") - before == 1
    ionq.admin.clock("instant")
    # the sandbox's worker takes its time to run the circuits
    keys = [job.key for job in jobs]
    ionq.admin.wait_until(lambda: {job.status for job in core.refresh(keys).values()} == {JobStatus.COMPLETED})


def test_public_verbs_and_commands_say_the_same(six: Client, ionq: Sandbox) -> None:
    ionq.admin.clock("frozen")
    waiting = buy(six, "ionq0", device="ionq-simulator", run="b")
    assert {job.key for job in qflows.jobs()} == {job.key for job in six.jobs()}
    assert qflows.status(waiting) is JobStatus.QUEUED
    seen: list[JobStatus] = []
    ionq.admin.clock("instant")
    qflows.wait([waiting], timeout=20, on_change=lambda job: seen.append(job.status))
    assert seen[-1] is JobStatus.COMPLETED
    listed = CliRunner().invoke(app, ["jobs", "ls", "--tag", "study=h2", "--order", "name", "--json"])
    assert [row["name"] for row in json.loads(listed.stdout)] == ["local0", "local1", "local2"]
    refused = CliRunner().invoke(app, ["jobs", "ls", "--status", "compleated"])
    assert (refused.exit_code, "did you mean completed" in refused.output) == (2, True)
    looked = CliRunner().invoke(app, ["jobs", "refresh", waiting.key, "--json"])
    assert json.loads(looked.stdout)[0]["status"] == "COMPLETED"
    assert CliRunner().invoke(app, ["runs", "ls", "--json"]).exit_code == 0


def test_every_list_goes_to_pandas_and_parquet(six: Client, tmp_path: Path) -> None:
    import pandas

    with six.new_group("g", run_key="a"):
        pass
    six.submit_list([circuit("b0"), circuit("b1")], Scope("a", "1", "batch"), device="local-aer", shots=5)
    for rows in (six.jobs(), six.batches(), six.groups(), six.sessions(), six.runs()):
        frame = rows.to_pandas()
        assert (len(frame), rows.title) == (len(rows), rows.title)
        if rows:
            read = pandas.read_parquet(rows.to_parquet(tmp_path / f"{rows.title}.parquet"))
            assert list(read.columns) == list(frame.columns)
            assert len(read) == len(rows) == rows.total
    jobs = pandas.read_parquet(six.jobs(order="name").to_parquet(tmp_path / "jobs.parquet"))
    assert str(jobs["created"].dt.tz) == "UTC"
    assert jobs[jobs["name"] == "local1"]["tags"].map(json.loads).tolist() == [{"n": "1", "study": "h2"}]


def test_a_page_counts_nothing_until_it_is_asked_and_keeps_the_number_elsewhere(six: Client) -> None:
    said: list[str] = []
    sa.event.listen(six.ledger.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    page = six.jobs(limit=2)
    assert page.next_offset == 2
    assert six.jobs(limit=3).next_offset is None
    assert not [text for text in said if "count(" in text]
    there = pickle.loads(pickle.dumps(page))
    six.ledger.engine.dispose()
    assert (there.total, page.total, names(there)) == (3, 3, names(page))
    assert six.jobs(limit=3, offset=3).total == 3


@pytest.mark.parametrize("filters", [{"status": "queued"}, {"status": "live"}, {"run": "a"}, {}])
def test_a_list_reads_what_it_shows_however_much_has_ended(six: Client, filters: dict[str, Any]) -> None:
    said: list[tuple[str, Any]] = []
    sa.event.listen(six.ledger.engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
    six.jobs(**filters, limit=2)
    with six.ledger.read() as connection:
        plans = [
            (text, row[3])
            for text, values in list(said)
            if text.startswith("SELECT")
            for row in connection.exec_driver_sql(f"explain query plan {text}", values)
        ]
    assert plans
    # by the newest first as far as the page goes, or by an index that holds no more than what fits
    walks = [step for text, step in plans if step.startswith("SCAN jobs")]
    assert set(walks) <= {
        "SCAN jobs USING INDEX ix_jobs_live" if filters else "SCAN jobs USING INDEX ix_jobs_created_at"
    }
