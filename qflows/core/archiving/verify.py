"""Checks of an archive that need only the file: digests, and every number recomputed from the vendors' answers.

Jobs on local devices are run again: program and key determine their outcome.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from qflows import providers
from qflows.core.archiving import container, crate, derive, records, tables
from qflows.core.archiving.container import Container, Damaged
from qflows.core.archiving.reading import SCHEMA as OLD_JOBS
from qflows.core.archiving.scratch import scratch
from qflows.core.archiving.write import (
    MANIFEST,
    README,
    README_TEXT,
    SCHEMA,
    STUDY,
    described,
    fill,
    openqasm,
    study,
)
from qflows.core.parts import Parts
from qflows.errors import ProgramRejected, QflowsError
from qflows.keys import digest as digest_of
from qflows.ledger import reads
from qflows.ledger.rows import body_of
from qflows.ledger.store import Ledger
from qflows.ledger.tables import results
from qflows.ledger.verify import Verified
from qflows.ledger.verify import verify as verify_ledger
from qflows.protocol import RawAnswer, VendorResult

_CLOSE, _ZERO = 1e-9, 1e-12  # processors differ in the last bits
_BAD_ROWS = (QflowsError, ValueError, TypeError, KeyError, IndexError, AttributeError, exc.SQLAlchemyError)


@dataclass
class Checked(Verified):
    """What was checked and what is wrong. `notes`: what could not be checked here; `digest`: SHA-256 of the file."""

    notes: list[str] = field(default_factory=list)
    digest: str = ""
    name: str = ""

    def note(self, text: str) -> None:
        """Note something that could not be checked."""
        if text not in self.notes and len(self.notes) < 1_000:
            self.notes.append(text)


def verify(path: Path, *, digest: str | None = None) -> Checked:
    """Check an archive without opening a connection. `digest`: the published SHA-256 of the file, to compare with.

    Raises ProgramRejected if the file is not an archive or is not safe to read.
    """
    path = path.expanduser()
    if not path.is_file():
        raise ProgramRejected(f"there is no file {path}; give the path of an archive that `qflows archive` wrote")
    done = Checked(digest=container.file_digest(path))
    if digest is not None:
        done.count("digest")
        if digest.lower() != done.digest:
            done.find("digest", path.name, f"the file's SHA-256 is {done.digest}")
    members = _members(path, done)
    if members is None:
        return done
    _check_manifest(members, done)
    about, rows = _study(members, done), _rows(members, done)
    if about is None or rows is None:
        return done
    _step(done, "programs", lambda: _programs(members, about, done))
    with scratch() as parts:
        if _restored(parts.ledger, rows, members, done):
            _step(done, "records", lambda: _in_the_ledger(parts, done))
            _step(done, "counts", lambda: _recomputed(parts.ledger, rows, members, done))
            if about["schema"] == SCHEMA:
                _step(done, "derived", lambda: _derived(parts, rows, members, done))
    if about["schema"] == SCHEMA:
        _step(done, "description", lambda: _described(members, about, rows, done))
    return done


def _step(done: Checked, check: str, work: Callable[[], None]) -> None:
    """Run one check. Altered rows can make a library raise anything; that is a finding, and the other checks still
    run."""
    try:
        work()
    except Exception as error:  # noqa: BLE001
        done.find(check, "records/", f"the rows do not fit together: {_gist(error)}")


def _members(path: Path, done: Checked) -> dict[str, bytes] | None:
    try:
        with Container(path) as opened:
            found: dict[str, bytes] = {}
            for name in opened:
                done.count("members")
                try:
                    found[name] = opened.read(name)
                except Damaged as error:
                    done.find("members", name, f"it cannot be read: {error}")
            return found
    except Damaged as error:
        done.find("members", path.name, f"the file is not a complete archive: {error}")
        return None


def _check_manifest(members: Mapping[str, bytes], done: Checked) -> None:
    if MANIFEST not in members:
        done.find("manifest", MANIFEST, "it is missing")
        return
    wanted: dict[str, str] = {}
    for line in members[MANIFEST].decode("ascii", "replace").splitlines():
        hexadecimal, gap, name = line.partition("  ")
        if not gap or name in wanted:
            done.find("manifest", MANIFEST, f"not a valid line: {line[:100]}")
            continue
        wanted[name] = hexadecimal
    for name in sorted({*wanted, *members} - {MANIFEST}):
        done.count("manifest")
        if name not in members:
            done.find("manifest", name, "listed in the manifest, missing from the archive")
        elif name not in wanted:
            done.find("manifest", name, "present in the archive, missing from the manifest")
        elif sha256(members[name]).hexdigest() != wanted[name]:
            done.find("manifest", name, "its SHA-256 differs from the manifest's")


def _study(members: Mapping[str, bytes], done: Checked) -> dict[str, Any] | None:
    done.count("study")
    try:
        about = records.read_lines(members[STUDY])[0]
        if about["schema"] not in (SCHEMA, OLD_JOBS):
            raise ProgramRejected(f"the archive has schema {str(about['schema'])[:60]!r}, this qflows reads {SCHEMA}")
        done.name = str(about["name"])
        for name, wanted in about["records"].items():
            if name not in members or sha256(members[name]).hexdigest() != wanted:
                done.find("study", name, f"its SHA-256 is not that of {STUDY}")
    except ProgramRejected:
        raise
    except _BAD_ROWS as error:
        done.find("study", STUDY, f"it cannot be read: {_gist(error)}")
        return None
    return about


def _rows(members: Mapping[str, bytes], done: Checked) -> dict[str, list[records.Row]] | None:
    found: dict[str, list[records.Row]] = {}
    for kind in (*records.TABLES, "answers"):
        name = f"records/{kind}.jsonl"
        try:
            found[kind] = records.read_lines(members[name])
            done.count("records", len(found[kind]))
        except _BAD_ROWS as error:
            done.find("records", name, f"it cannot be read: {_gist(error)}")
    return found if len(found) == len(records.TABLES) + 1 else None


def _programs(members: Mapping[str, bytes], about: Mapping[str, Any], done: Checked) -> None:
    from importlib.metadata import version

    told = about.get("versions")
    same = isinstance(told, Mapping) and all(told.get(name) == version(name) for name in ("qflows", "qiskit"))
    for name in sorted(members):
        folder, _, rest = name.partition("/")
        stem, _, kind = rest.rpartition(".")
        text = members[name]
        if folder == "plans":
            done.count("programs")
            if digest_of("text/1", text.decode("utf-8", "replace")) != stem:
                done.find("programs", name, "the plan does not match its digest")
        elif folder == "programs" and kind == "json":
            done.count("programs")
            if sha256(text).hexdigest() != stem:
                done.find("programs", name, "the program does not match its digest")
        elif folder == "programs" and kind == "qasm":
            done.count("programs")
            try:
                again = openqasm(members[f"programs/{stem}.json"].decode("utf-8"))
            except _BAD_ROWS as error:
                done.find("programs", name, f"its program cannot be written as OpenQASM: {_gist(error)}")
                continue
            if again != text and same:
                done.find("programs", name, "the OpenQASM does not match its program")
            elif again != text:
                done.note("some OpenQASM texts differ from what this version of qflows or Qiskit writes")


def _restored(
    ledger: Ledger, rows: Mapping[str, list[records.Row]], members: Mapping[str, bytes], done: Checked
) -> bool:
    try:
        fill(ledger, rows, members)
    except _BAD_ROWS as error:
        done.find("records", "records/", f"the rows are not from a ledger: {_gist(error)}")
        return False
    return True


def _in_the_ledger(parts: Parts, done: Checked) -> None:
    """Keys, contents, samples and owners, checked as in a ledger."""
    found = verify_ledger(parts.ledger.engine)
    for check, number in found.checked.items():
        done.count(f"ledger {check}", number)
    for one in found.findings:
        done.find(one.check, one.subject, one.detail)


def _recomputed(
    ledger: Ledger, rows: Mapping[str, list[records.Row]], members: Mapping[str, bytes], done: Checked
) -> None:
    """Count, costs and job details, recomputed from the answer."""
    answers = {row.get("job_key"): row for row in rows["answers"]}
    expected = {name for row in rows["answers"] for name in _answer_names(row, members, done)}
    for name in sorted(members):
        if name.startswith("answers/") and name not in expected:
            done.find("answers", name, "no record of an answer refers to it")
    stored: dict[str, dict[int, Any]] = {}
    for row in rows["results"]:
        stored.setdefault(row["job_key"], {})[row["idx"]] = row["body"]
    for row in rows["jobs"]:
        key = row["key"]
        if key not in stored and row["status"] != "COMPLETED":
            continue
        again = _decoded(ledger, row, answers.get(key), members, done)
        if again is None:
            continue
        done.count("recomputed jobs")
        _compare(row, stored.get(key, {}), again, done)
        _replace(ledger, key, again)


def _answer_names(row: Mapping[str, Any], members: Mapping[str, bytes], done: Checked) -> list[str]:
    found = []
    try:
        for document, size, wanted in row["documents"]:
            name = records.answer_member(row["job_key"], document)
            found.append(name)
            done.count("answers")
            if name not in members:
                done.find("answers", name, "it is missing")
            elif len(members[name]) != size or sha256(members[name]).hexdigest() != wanted:
                done.find("answers", name, "it differs from the answer that was recorded")
    except _BAD_ROWS as error:
        done.find("answers", str(row.get("job_key"))[:12], f"its record cannot be read: {_gist(error)}")
    return found


def _decoded(
    ledger: Ledger,
    row: Mapping[str, Any],
    answer: Mapping[str, Any] | None,
    members: Mapping[str, bytes],
    done: Checked,
) -> VendorResult | None:
    key, vendor = row["key"], row["provider"]
    decode = providers.decoder(vendor)
    if decode is None:
        done.note(f"vendor {vendor} is not installed here, or its answers cannot be decoded without an account")
        return None
    if answer is None and not decode.runs_here:
        done.note(f"no answer is kept for job {key[:12]}; its counts come from the record")
        return None
    try:
        raw = records.answer_of(answer, members.__getitem__) if answer else RawAnswer({})
        return decode(raw, reads.spec_of(ledger, key), key)
    except Exception as error:  # noqa: BLE001  (a decoder's error on an altered answer is a finding about this job)
        done.find("counts", key[:12], f"its answer cannot be decoded: {_gist(error)}")
        return None


def _compare(row: Mapping[str, Any], stored: Mapping[int, Any], again: VendorResult, done: Checked) -> None:
    key = row["key"]
    if len(stored) != len(again.items):
        done.find("counts", key[:12], f"{len(stored)} results are recorded, the answer has {len(again.items)}")
    for place, item in enumerate(again.items):
        wanted = _as_json(body_of(item))
        if place in stored and (where := _differs(stored[place], wanted)):
            done.find("counts", f"{key[:12]}[{place}]", f"{where} differs from what the answer says")
    if again.cost is not None and row["cost"] is not None and row["cost_unit"] == again.cost.unit:
        done.count("recomputed costs")
        if not _same_number(float(again.cost.amount), float(row["cost"])):
            done.find("costs", key[:12], f"{row['cost']} is recorded, the answer says {again.cost.amount}")
    if again.qpu_s is not None and not _same_number(again.qpu_s, row["qpu_s"]):
        done.find("costs", key[:12], f"{row['qpu_s']} QPU seconds are recorded, the answer says {again.qpu_s}")
    told = (row["provenance"] or {}).get("vendor")
    if told is not None and (where := _differs(told, _as_json(dict(again.metadata)))):
        done.find("provenance", key[:12], f"{where} differs from what the answer says")


def _replace(ledger: Ledger, key: str, again: VendorResult) -> None:
    """Store the answer's values, so that derived numbers come from the answers and not from the recorded counts."""
    with ledger.write(flush=False) as connection:
        connection.execute(sa.delete(results).where(results.c.job_key == key))
        rows = [{"job_key": key, "idx": place, "body": body_of(item)} for place, item in enumerate(again.items)]
        connection.execute(sa.insert(results), rows)


def _derived(parts: Parts, rows: Mapping[str, list[records.Row]], members: Mapping[str, bytes], done: Checked) -> None:
    for kind, make in (("compiled", lambda: derive.compiled(parts.ledger)), ("values", lambda: derive.values(parts))):
        name = f"derived/{kind}.jsonl"
        try:
            told = records.read_lines(members[name])
        except _BAD_ROWS as error:
            done.find("derived", name, f"it cannot be read: {_gist(error)}")
            continue
        if kind == "values":
            _step(done, "tables", partial(_tables, rows, told, members, done))
        again = make()
        done.count(f"recomputed {kind}", len(again))
        if len(told) != len(again):
            done.find("derived", name, f"it has {len(told)} rows, {len(again)} follow from the answers")
        for number, (one, wanted) in enumerate(zip(told, again, strict=False)):
            if where := _differs(one, _as_json(wanted)):
                subject = f"{name}, row {number}"
                done.find("derived", subject, f"{where} differs from what follows from the answers")


def _tables(
    rows: Mapping[str, list[records.Row]], values: Sequence[records.Row], members: Mapping[str, bytes], done: Checked
) -> None:
    if not tables.is_at_hand():
        done.note("the Parquet tables were not compared with the records: pip install qflows[parquet]")
        return
    try:
        wanted = tables.all_of(rows, values)
    except _BAD_ROWS as error:
        done.find("tables", "tables/", f"the records cannot be turned into tables: {_gist(error)}")
        return
    for kind, (schema, found) in wanted.items():
        name = f"tables/{kind}.parquet"
        done.count("tables")
        if name not in members:
            done.find("tables", name, "it is missing")
        else:
            try:
                problem = tables.difference(schema, found, members[name])
            except Exception as error:  # noqa: BLE001  (values that fit no column)
                problem = f"the records cannot be turned into a table: {_gist(error)}"
            if problem:
                done.find("tables", name, f"it differs from the table of the records: {problem}")


def _described(
    members: Mapping[str, bytes], about: Mapping[str, Any], rows: Mapping[str, list[records.Row]], done: Checked
) -> None:
    done.count("description")
    try:
        again = study(
            rows,
            members,
            selection=about["selection"],
            name=about["name"],
            author=about["author"],
            license=about["license"],
            versions=about["versions"],
        )
        if records.as_json(again) != members[STUDY]:
            done.find("study", STUDY, "it does not describe these records")
        if crate.describe(about, described(members)) != members.get(crate.NAME):
            done.find("description", crate.NAME, "it does not describe these members")
    except _BAD_ROWS as error:
        done.find("description", crate.NAME, f"it cannot be rebuilt: {_gist(error)}")
    if members.get(README) != README_TEXT:
        done.note(f"{README} differs from the one that this version of qflows writes")


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _differs(told: Any, wanted: Any, where: str = "") -> str | None:
    """The first place where two JSON values differ."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        for name in sorted({*told, *wanted}):
            if name not in told or name not in wanted:
                return f"{where}.{name}".lstrip(".")
            if found := _differs(told[name], wanted[name], f"{where}.{name}"):
                return found
        return None
    if isinstance(told, list) and isinstance(wanted, list):
        if len(told) != len(wanted):
            return where.lstrip(".") or "its length"
        for place, (one, other) in enumerate(zip(told, wanted, strict=True)):
            if found := _differs(one, other, f"{where}[{place}]"):
                return found
        return None
    is_same = type(told) is type(wanted) and told == wanted
    if isinstance(told, float) or isinstance(wanted, float):
        is_same = not isinstance(told, bool) and not isinstance(wanted, bool) and _same_number(told, wanted)
    return None if is_same else where.lstrip(".") or "its value"


def _same_number(one: Any, other: Any) -> bool:
    if not isinstance(one, float | int) or not isinstance(other, float | int):
        return one == other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_ZERO)


def _gist(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
