"""A study over five vendors in one file: verified with nothing but the file, and one flipped bit is found in it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from typer.testing import CliRunner

from qflows.algorithms.problems import problem
from qflows.algorithms.vqe import VqeResult, solve
from qflows.cli.app import app
from qflows.core.archiving import container, crate, tables
from qflows.core.archiving import records as lines
from qflows.core.archiving import write as writing
from qflows.core.archiving.verify import Checked, verify
from qflows.core.archiving.write import manifest
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.sandbox import Sandbox
from qflows.settings import Settings

DEVICES = ("ionq-simulator", "braket-sv1", "ibm-sandbox", "qbraid-qir-sv", "local-aer")
SECRET = "a-key-that-nobody-may-see-0123456789"
Members = dict[str, bytes]


def circuit(name: str) -> QuantumCircuit:
    made = QuantumCircuit(3, 3, name=name)
    made.x(0)
    made.h(2)
    made.measure(range(3), range(3))
    return made


def sweep_circuit() -> QuantumCircuit:
    made = QuantumCircuit(2, 2, name="sweep")
    angles = ParameterVector("a", 2)
    made.ry(angles[0], 0)
    made.ry(angles[1], 1)
    made.measure(range(2), range(2))
    return made


class Study:
    """What was bought, its archive, and what was read from the ledger then."""

    def __init__(self, core: Client, folder: Path) -> None:
        self.core, self.folder, self.path = core, folder, folder / "study.zip"
        run, tags = "the-study", {"study": "h2"}
        with core.new_group("five", run_key=run, tags=tags) as group:
            scope = Scope(run, "1", "five", group=group.id)
            self.jobs = [
                core.submit(core.specs(circuit(d), device=d, shots=50, tags=tags), device=d, scope=scope)[0]
                for d in DEVICES
            ]
        self.group_id = group.id
        core.wait([job.key for job in self.jobs], timeout=120)
        points = [[0.1 * n, 0.2 * n] for n in range(6)]
        self.batch = core.submit_list(
            [(sweep_circuit(), point) for point in points],
            Scope(run, "1", "sweep"),
            device="ionq-simulator",
            shots=100,
            observables=[("ZZ", 1.0), ("ZI", 0.5)],
            tags=tags,
        )
        self.swept = self.batch.result(60)
        self.vqe: VqeResult = solve(
            core,
            Scope("the-vqe", "1", "vqe"),
            problem("h2-0.735"),
            device="local-aer",
            shots=200,
            max_evaluations=4,
            seed=1,
        )
        self.archive = core.archive(self.path, run=[run, "the-vqe"], title="Hydrogen", author="A. N. Author")
        self.members = members_of(self.path)


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ionq", "qbraid", "braket", "ibm")) as running:
        yield running


@pytest.fixture(scope="module")
def study(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (sandbox.env | {"IONQ_API_KEY": SECRET, "QFLOWS_HOME": str(folder)}).items():
            patch.setenv(name, value)
        core = Client(Settings(home=folder, poll_min_s=0.01, settle_s=0.2))
        yield Study(core, folder)
        core.ledger.close()


def rows(members: Mapping[str, bytes], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in members[name].splitlines()]


def checked(members: Members, path: Path) -> Checked:
    path.write_bytes(container.write(members))
    return verify(path)


def test_archive_is_verified_by_a_process_that_has_only_the_file(study: Study, tmp_path: Path) -> None:
    done = verify(study.path, digest=study.archive.digest)
    assert (done.findings, done.notes, done.is_whole) == ([], [], True)
    assert done.checked["recomputed jobs"] == study.archive.jobs == len(rows(study.members, "records/jobs.jsonl"))
    assert done.checked["recomputed values"] == 6 + study.vqe.n_evaluations
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "from qflows.cli import main\n"
        "sys.argv = ['qflows', 'verify', sys.argv[1], '--json']\n"
        "main()\n"
    )
    bare = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    environment = bare | {"HOME": str(tmp_path), "QFLOWS_HOME": str(tmp_path / "none")}
    told = subprocess.run(
        [sys.executable, "-c", script, str(study.path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["whole"] is True
    assert not (tmp_path / "none").exists()  # no ledger was made


def test_values_in_the_archive_are_those_of_the_ledger(study: Study) -> None:
    values = rows(study.members, "derived/values.jsonl")
    swept = [row for row in values if row["subject"] == f"batch:{study.batch.id}"]
    assert len(swept) == 6
    for row in swept:
        one = study.swept[row["place"]].expectations[row["observable"]]
        assert (row["value"], row["std_error"]) == (one.value, one.std_error)
    trace = sorted((row for row in values if row["run_key"] == "the-vqe"), key=lambda row: row["step"])
    offset = problem("h2-0.735").offset
    assert [row["subject"] for row in trace] == [step.job for step in study.vqe.trace]
    assert [row["value"] + offset for row in trace] == pytest.approx([step.energy for step in study.vqe.trace])
    counts = {row["job_key"]: row["body"]["counts"] for row in rows(study.members, "records/results.jsonl")}
    for job in study.jobs:
        assert counts[job.key] == dict(study.core.result([job.key]).counts)


def test_archive_holds_programs_answers_prices_and_history(study: Study) -> None:
    names = set(study.members)
    by_device = {row["device"]: row for row in rows(study.members, "records/jobs.jsonl")}
    assert set(DEVICES) <= set(by_device)
    for device in DEVICES:
        digest = by_device[device]["items"][0]["digest"]
        assert {f"programs/{digest}.json", f"programs/{digest}.qasm"} <= names
        if device != "local-aer":
            assert any(name.startswith(f"answers/{by_device[device]['key']}/") for name in names)
    assert study.members[f"programs/{digest}.qasm"].startswith(b"OPENQASM 3")
    [group] = rows(study.members, "records/groups.jsonl")
    assert group["id"] == study.group_id
    assert len(rows(study.members, "records/group_members.jsonl")) == 5
    assert rows(study.members, "records/batches.jsonl")[0]["id"] == study.batch.id
    assert rows(study.members, "derived/compiled.jsonl")  # IBM's circuit was compiled on this side
    assert by_device["braket-sv1"]["cost"] is not None
    assert by_device["ionq-simulator"]["provenance"]["versions"]["qflows"]
    assert not any(SECRET.encode() in text for text in study.members.values())
    assert "claim_owner" not in by_device["ionq-simulator"]


def test_equal_content_gives_equal_bytes(study: Study, tmp_path: Path) -> None:
    again = study.core.archive(
        tmp_path / "again.zip", run=["the-study", "the-vqe"], title="Hydrogen", author="A. N. Author"
    )
    assert again.digest == study.archive.digest
    with pytest.raises(ProgramRejected, match="exists"):
        study.core.archive(tmp_path / "again.zip", run="the-study")
    with pytest.raises(ProgramRejected, match="no job matches"):
        study.core.archive(tmp_path / "none.zip", tag="study=none")
    for nothing in ({}, {"run": []}, {"tag": None, "since": None}):
        with pytest.raises(ProgramRejected, match="needs a filter"):
            study.core.archive(tmp_path / "none.zip", **nothing)
    assert not (tmp_path / "none.zip").exists()
    everything = study.core.archive(tmp_path / "everything.zip", since="2000-01-01")
    assert everything.jobs >= again.jobs


def test_only_what_is_whole_is_called_a_batch_or_group(study: Study, tmp_path: Path) -> None:
    some = study.core.archive(tmp_path / "some.zip", group=study.group_id[:12])
    members = members_of(some.path)
    assert len(rows(members, "records/jobs.jsonl")) == 5
    assert rows(members, "records/groups.jsonl")
    assert rows(members, "records/batches.jsonl") == []
    assert verify(some.path).is_whole


def test_other_tools_read_it_as_an_ro_crate_with_parquet_tables(study: Study, tmp_path: Path) -> None:
    import pandas
    from rocrate.rocrate import ROCrate

    with zipfile.ZipFile(study.path) as opened:
        opened.extractall(tmp_path)
    crate = ROCrate(tmp_path)
    assert crate.name == "Hydrogen"
    assert crate.root_dataset["author"]["name"] == "A. N. Author"
    described = {entity.id for entity in crate.data_entities}
    assert {"study.json", "tables/counts.parquet", "programs/", "answers/"} <= described
    metadata = json.loads(study.members["ro-crate-metadata.json"])["@graph"]
    ids = [entity["@id"] for entity in metadata]
    assert len(ids) == len(set(ids))
    assert all(part["@id"] in ids for part in metadata[1]["hasPart"])
    counts = pandas.read_parquet(tmp_path / "tables" / "counts.parquet")
    assert counts[counts["job_key"] == study.jobs[0].key]["count"].sum() == 50
    jobs = pandas.read_parquet(tmp_path / "tables" / "jobs.parquet")
    assert str(jobs["created_at"].dt.tz) == "UTC"
    assert len(jobs) == study.archive.jobs


def one_of_each(members: Mapping[str, bytes]) -> dict[str, str]:
    """One member of every kind that is not empty: folder and ending, or the name of a record."""
    found: dict[str, str] = {}
    for name in sorted(members):
        folder, _, rest = name.partition("/")
        kind = f"{folder}/*.{rest.rpartition('.')[2]}" if folder in ("programs", "plans") else name
        kind = "answers" if folder == "answers" else kind
        if members[name]:
            found.setdefault(kind, name)
    return found


def flipped(text: bytes) -> bytes:
    at = len(text) // 2
    return text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]


def test_one_flipped_bit_in_each_kind_of_member_is_found_and_named(study: Study, tmp_path: Path) -> None:
    kinds = one_of_each(study.members)
    assert len(kinds) > 30
    altered = study.members | {name: flipped(study.members[name]) for name in kinds.values()}
    done = checked(altered, tmp_path / "altered.zip")
    named = {one.subject for one in done.findings if one.check == "manifest"}
    own = "manifest-sha256.txt"
    assert set(kinds.values()) - {own} <= named
    assert not done.is_whole
    alone = checked(study.members | {own: flipped(study.members[own])}, tmp_path / "manifest.zip")
    assert {one.check for one in alone.findings} == {"manifest"}


KINDS = (
    "programs/*.json",
    "programs/*.qasm",
    "plans/*.json",
    "answers",
    "records/jobs.jsonl",
    "records/results.jsonl",
    "records/events.jsonl",
    "records/batches.jsonl",
    "records/groups.jsonl",
    "records/answers.jsonl",
    "records/points.jsonl",
    "derived/values.jsonl",
    "derived/compiled.jsonl",
    "tables/counts.parquet",
    "tables/events.parquet",
    "study.json",
    "ro-crate-metadata.json",
)


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bit_is_found_though_the_manifest_was_rewritten(kind: str, study: Study, tmp_path: Path) -> None:
    name = one_of_each(study.members)[kind]
    altered = study.members | {name: flipped(study.members[name])}
    altered["manifest-sha256.txt"] = manifest(altered)
    done = checked(altered, tmp_path / "altered.zip")
    assert not done.is_whole
    assert not [one for one in done.findings if one.check == "manifest"]
    told = " ".join(f"{one.subject} {one.detail}" for one in done.findings)
    assert name in told or name.split("/")[1].partition(".")[0][:12] in told, told


def _forged(study: Study, name: str, change: Callable[[bytes], bytes]) -> Members:
    """A change, and every digest that speaks of it written anew: manifest, study, crate, the answer's record."""
    from qflows.core.archiving import records as lines

    made = study.members | {name: change(study.members[name])}
    assert made[name] != study.members[name]
    answers = rows(made, "records/answers.jsonl")
    for row in answers:
        for document in row["documents"]:
            text = made[lines.answer_member(row["job_key"], document[0])]
            document[1:] = [len(text), sha256(text).hexdigest()]
    made["records/answers.jsonl"] = lines.lines(answers)
    all_rows = {kind: rows(made, f"records/{kind}.jsonl") for kind in lines.TABLES}
    for kind, (schema, found) in tables.all_of(all_rows, rows(made, "derived/values.jsonl")).items():
        made[f"tables/{kind}.parquet"] = tables.to_bytes(schema, found)
    about = rows(made, "study.json")[0]
    names = ("selection", "name", "author", "license", "versions")
    made["study.json"] = lines.as_json(writing.study(all_rows, made, **{each: about[each] for each in names}))
    made["ro-crate-metadata.json"] = crate.describe(rows(made, "study.json")[0], writing.described(made))
    made["manifest-sha256.txt"] = manifest(made)
    return made


@pytest.mark.parametrize("device", DEVICES)
def test_counts_that_were_forged_with_every_digest_disagree_with_the_answer(
    device: str, study: Study, tmp_path: Path
) -> None:
    job = next(job for job in study.jobs if job.device == device)

    def change(text: bytes) -> bytes:
        found = [json.loads(line) for line in text.splitlines()]
        body = next(row["body"] for row in found if row["job_key"] == job.key)
        first, second = sorted(body["counts"])[:2]
        body["counts"] |= {first: body["counts"][first] + 1, second: body["counts"][second] - 1}
        return lines.lines(found)

    done = checked(_forged(study, "records/results.jsonl", change), tmp_path / "forged.zip")
    assert {one.check for one in done.findings} == {"counts"}
    assert done.findings[0].subject.startswith(job.key[:12])


def test_answer_that_was_forged_with_every_digest_disagrees_with_the_counts(study: Study, tmp_path: Path) -> None:
    job = study.jobs[1]  # Braket's answer lists every shot
    name = f"answers/{job.key}/results.json"
    done = checked(_forged(study, name, lambda text: text.replace(b"[[1,", b"[[0,", 1)), tmp_path / "forged.zip")
    assert any(one.subject.startswith(job.key[:12]) for one in done.findings), done.findings


def test_value_that_was_forged_with_every_digest_does_not_follow(study: Study, tmp_path: Path) -> None:
    def change(text: bytes) -> bytes:
        found = [json.loads(line) for line in text.splitlines()]
        found[-1]["value"] += 0.001
        return lines.lines(found)

    done = checked(_forged(study, "derived/values.jsonl", change), tmp_path / "forged.zip")
    assert [one.check for one in done.findings] == ["derived"]
    assert "value" in done.findings[0].detail


def test_archive_of_a_version_without_steps_is_verified(study: Study, tmp_path: Path) -> None:
    def change(text: bytes) -> bytes:
        found = [json.loads(line) for line in text.splitlines()]
        popped = [row.pop("steps") for row in found]
        assert any(popped)
        return lines.lines(found)

    done = checked(_forged(study, "records/jobs.jsonl", change), tmp_path / "older.zip")
    assert (done.findings, done.is_whole) == ([], True)


def test_damage_anywhere_in_the_file_is_no_crash(study: Study, tmp_path: Path) -> None:
    whole = study.path.read_bytes()
    place = tmp_path / "damaged.zip"
    for at in (0, 40, len(whole) // 3, len(whole) - 500, len(whole) - 10):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            done = verify(place, digest=study.archive.digest)
        except ProgramRejected:
            continue
        assert not done.is_whole
    place.write_bytes(whole[: len(whole) // 2])
    assert [one.check for one in verify(place).findings] == ["members"]


def bomb(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in members.items():
            opened.writestr(name, text)
    return made.getvalue()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\b", "c:evil", "a//b", "a/./b"])
def test_member_that_would_leave_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(bomb(**{name: b"x"}))
    with pytest.raises(ProgramRejected, match="cannot have a member named"):
        verify(tmp_path / "bad.zip")


def test_bombs_links_twins_and_locked_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(bomb(zeros=bytes(8_000_000)))
    with pytest.raises(ProgramRejected, match="would grow"):
        verify(path)
    monkeypatch.setattr(container, "LARGEST_MEMBER", 10)
    path.write_bytes(bomb(large=b"0123456789ab"))
    with pytest.raises(ProgramRejected, match="at most 10"):
        verify(path)
    monkeypatch.setattr(container, "LARGEST_WHOLE", 15)
    path.write_bytes(bomb(one=b"0123456789", two=b"0123456789"))
    with pytest.raises(ProgramRejected, match="unpacks to 20"):
        verify(path)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(link, "t")
    with pytest.raises(ProgramRejected, match="not a regular file"):
        verify(path)
    twins = bomb(a=b"1", b=b"2").replace(b"b", b"a")
    path.write_bytes(twins)
    with pytest.raises(ProgramRejected, match="two members"):
        verify(path)


def test_commands_write_and_check(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(study.folder))
    monkeypatch.delenv("QFLOWS_LEDGER_URL", raising=False)

    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == code, done.output
        return done.output

    path = tmp_path / "cli.zip"
    told = call("archive", str(path), "--tag", "study=h2", "--license", "CC-BY-4.0", "--json")
    made = json.loads(told)
    assert made["jobs"] == 5 + len(study.batch.parts)
    assert "the archive is intact" in call("verify", str(path), "--digest", made["digest"])
    assert "SHA-256 is" in call("verify", str(path), "--digest", "0" * 64, code=1)
    assert "select jobs with" in call("archive", str(tmp_path / "x.zip"), code=2)
    assert "no file" in call("verify", str(tmp_path / "none.zip"), code=2)
    altered = members_of(path)
    altered["records/results.jsonl"] = flipped(altered["records/results.jsonl"])
    path.write_bytes(container.write(altered))
    found = json.loads(call("verify", str(path), "--json", code=1))
    assert "records/results.jsonl" in {one["subject"] for one in found["findings"]}


def test_show_of_a_sweep_in_one_archive_ends_well() -> None:
    """The short form of `make archive-show`."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "archive.py"
    command = [sys.executable, str(script), "--points", "12", "--shots", "20", "--here"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "points 12" in done.stdout
    assert "whole True" in done.stdout
    assert "evaluations 8, group 5" in done.stdout
    assert "recomputed values 20" in done.stdout
