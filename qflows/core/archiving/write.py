"""Writing an archive: ledger rows, programs, answers and derived numbers of some jobs, with digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from qflows.core.archiving import container, crate, derive, records, tables
from qflows.core.archiving.reading import with_archived
from qflows.core.parts import Parts
from qflows.errors import ProgramRejected
from qflows.ledger import raws
from qflows.ledger.claims import chunks
from qflows.ledger.store import Ledger
from qflows.ledger.tables import programs, raw_answers
from qflows.privacy.redaction import redact_bytes
from qflows.programs import Program
from qflows.programs.features import Feature
from qflows.programs.to_openqasm import STDGATES, to_openqasm

SCHEMA = "qflows.archive/1"
STUDY, MANIFEST, README = "study.json", "manifest-sha256.txt", "README.txt"
_SEEN = 30
_DIALECT = replace(STDGATES, takes=frozenset({*Feature} - {Feature.VERBATIM, Feature.NATIVE, Feature.PHYSICAL}))
README_TEXT = b"""A study made with qflows, as an RO-Crate (ro-crate-metadata.json says what is what).

programs/   canonical text (.json; its SHA-256 is the file name) and OpenQASM 3 (.qasm) of every program
plans/      how counts become expectation values
answers/    what the vendors answered, byte for byte, by job key
records/    rows of the ledger, JSON lines: jobs, results, batches, groups, sessions, events, quotes, charges, ...
derived/    expectation values with standard errors, and compiled circuits where they are known
tables/     the same rows as Parquet files; counts.parquet has one row an outcome

In a counts key the rightmost character is classical bit 0; registers are separated by a space, the first rightmost.
Times are UTC. Charges are whole millionths of a budget's currency; quotes are in the vendor's unit.
Check it without network or account:  pip install qflows[parquet]; qflows verify STUDY.zip
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """A written archive. `digest`: SHA-256 of the file, to be published with it. `live`: jobs that had not ended, so
    their results are missing; `unkept`: finished jobs whose vendor answer the ledger does not keep, so they can be read
    but not recomputed."""

    path: Path
    size: int
    digest: str
    jobs: int
    members: int
    live: int
    unkept: int


def write(
    parts: Parts,
    path: Path,
    keys: Sequence[str],
    *,
    selection: Mapping[str, Any],
    name: str,
    author: str = "",
    license: str = "",
) -> Archive:
    """Write the archive of these jobs to a new file. Raises ProgramRejected if the file exists, for no jobs, and
    without pyarrow."""
    path = path.expanduser()
    _check_target(path, keys)
    ledger = parts.ledger
    rows = records.gather(ledger, keys)
    moved, told = with_archived(ledger, rows)
    answers, about = _answers(ledger, keys)
    answers |= moved
    about = sorted([*about, *told], key=lambda row: row["job_key"])
    members: dict[str, bytes] = {README: README_TEXT}
    members |= program_members(ledger, rows["jobs"]) | answers
    for kind in records.TABLES:
        members[f"records/{kind}.jsonl"] = redact_bytes(records.lines(rows[kind]))
    members["records/answers.jsonl"] = records.lines(about)
    rows = {kind: records.read_lines(members[f"records/{kind}.jsonl"]) for kind in records.TABLES}
    derived = _derived(rows, members)
    members |= {f"derived/{kind}.jsonl": records.lines(found) for kind, found in derived.items()}
    for kind, (schema, found) in tables.all_of(rows, derived["values"]).items():
        members[f"tables/{kind}.parquet"] = tables.to_bytes(schema, found)
    members[STUDY] = records.as_json(
        study(
            rows, members, selection=selection, name=name, author=author, license=license, versions=package_versions()
        )
    )
    members[crate.NAME] = crate.describe(_read_study(members[STUDY]), described(members))
    members[MANIFEST] = manifest(members)
    body = container.write(members)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(body)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    kept = {row["job_key"] for row in about}
    over = [row for row in rows["jobs"] if row["status"] == "COMPLETED"]
    n_live = sum(row["status"] not in ("COMPLETED", "FAILED", "CANCELLED") for row in rows["jobs"])
    n_unkept = sum(row["key"] not in kept and row["provider"] != "local" for row in over)
    return Archive(path, len(body), sha256(body).hexdigest(), len(rows["jobs"]), len(members), n_live, n_unkept)


def _check_target(path: Path, keys: Sequence[str]) -> None:
    if path.exists():
        raise ProgramRejected(f"{path} already exists; choose another name, or move the file")
    if not path.parent.is_dir():
        raise ProgramRejected(f"there is no folder {path.parent}; make it, or give a path in another one")
    if not keys:
        raise ProgramRejected("no job matches; run `qflows jobs ls` with the same filters to see what the ledger has")
    if not tables.is_at_hand():
        raise ProgramRejected("an archive contains Parquet tables; pip install qflows[parquet]")


def _derived(rows: Mapping[str, list[records.Row]], members: Mapping[str, bytes]) -> dict[str, list[records.Row]]:
    """Derive numbers from the archive's own contents, not the whole ledger, so that they need nothing outside it."""
    from qflows.core.archiving.scratch import scratch

    with scratch() as parts:
        fill(parts.ledger, rows, members)
        return {"values": derive.values(parts), "compiled": derive.compiled(parts.ledger)}


def fill(ledger: Ledger, rows: Mapping[str, list[records.Row]], members: Mapping[str, bytes]) -> None:
    """Insert programs, plans and records into an empty ledger."""
    texts = [
        {"digest": name.rpartition("/")[2].removesuffix(".json"), "text": members[name].decode("utf-8")}
        for name in sorted(members)
        if name.startswith(("programs/", "plans/")) and name.endswith(".json")
    ]
    if texts:
        with ledger.write(flush=False) as connection:
            connection.execute(sa.insert(programs), texts)
    for kind in records.TABLES:
        records.restore(ledger, kind, rows[kind])


def program_members(ledger: Ledger, jobs: Sequence[records.Row], *, qasm: bool = True) -> dict[str, bytes]:
    """Programs and plans of these jobs by member name; `qasm`: as OpenQASM, too."""
    wanted = {item["digest"] for row in jobs for item in row["items"]}
    plans = {row["estimate"] for row in jobs if row["estimate"]}
    found: dict[str, bytes] = {}
    with ledger.read() as connection:
        for part in chunks(sorted(wanted | plans)):
            query = sa.select(programs.c.digest, programs.c.text).where(programs.c.digest.in_(part))
            for digest, text in connection.execute(query):
                if digest in plans:
                    found[f"plans/{digest}.json"] = text.encode()
                    continue
                found[f"programs/{digest}.json"] = text.encode()
                if qasm and (written := openqasm(text)) is not None:
                    found[f"programs/{digest}.qasm"] = written
    return found


def openqasm(text: str) -> bytes | None:
    """OpenQASM 3 of a canonical text; None if it has native gates or a stand-in, which OpenQASM cannot express."""
    try:
        return to_openqasm(Program.from_text(text), _DIALECT, mid_circuit=True).encode()
    except ProgramRejected:
        return None


def _answers(ledger: Ledger, keys: Sequence[str]) -> tuple[dict[str, bytes], list[records.Row]]:
    members: dict[str, bytes] = {}
    about: list[records.Row] = []
    with ledger.read() as connection:
        for part in chunks(sorted(keys)):
            query = sa.select(raw_answers).where(raw_answers.c.job_key.in_(part)).order_by(raw_answers.c.job_key)
            for row in connection.execute(query):
                documents = raws.unpack(row.codec, row.body).documents
                about.append(records.answer_row(row, documents))
                members |= {records.answer_member(row.job_key, name): text for name, text in documents.items()}
    return members, about


def study(
    rows: Mapping[str, list[records.Row]],
    members: Mapping[str, bytes],
    *,
    selection: Mapping[str, Any],
    name: str,
    author: str,
    license: str,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The archive's contents, and the digests of its records."""
    own = rows["jobs"]
    vendors = sorted({f"{row['provider']}:{row['device_id']}" for row in own})
    statuses = Counter(row["status"] for row in own)
    moments = [row[at] for row in own for at in ("created_at", "finished_at") if row[at]]
    more = f" and {len(vendors) - _SEEN} more" if len(vendors) > _SEEN else ""
    listed = ("records/", "derived/")
    return {
        "schema": SCHEMA,
        "name": name,
        "author": author,
        "license": license,
        "description": f"{len(own):,} quantum jobs on {', '.join(vendors[:_SEEN])}{more}, with programs, raw answers, "
        "counts, values, calibrations, prices and history",
        "date": max(moments),
        "selection": dict(selection),
        "jobs": dict(sorted(statuses.items())),
        "versions": dict(sorted(versions.items())),
        "folders": sorted({f"{each.partition('/')[0]}/" for each in members if "/" in each}),
        "records": {each: sha256(members[each]).hexdigest() for each in sorted(members) if each.startswith(listed)},
    }


def _read_study(text: bytes) -> dict[str, Any]:
    return records.read_lines(text)[0]


def described(members: Mapping[str, bytes]) -> dict[str, tuple[int, str]]:
    """Size and digest of every member listed in the crate and the manifest."""
    left_out = (crate.NAME, MANIFEST)
    return {name: (len(text), sha256(text).hexdigest()) for name, text in members.items() if name not in left_out}


def manifest(members: Mapping[str, bytes]) -> bytes:
    """Lines of digest and name, in the format of `sha256sum -c`."""
    names = sorted(name for name in members if name != MANIFEST)
    return "".join(f"{sha256(members[name]).hexdigest()}  {name}\n" for name in names).encode("ascii")


def package_versions() -> dict[str, str]:
    """Versions of the packages that archives depend on."""
    found = {}
    for package in ("qflows", "qiskit", "numpy", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
