"""`qflows.archive` and `qflows.verify`: a study in one file, and whether its numbers follow from its answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from qflows.core.archiving.verify import Checked
from qflows.core.archiving.verify import verify as check
from qflows.core.archiving.write import Archive
from qflows.core.importing import Moment
from qflows.core.lists import Values
from qflows.prefect.client import client


def archive(
    path: str | Path,
    *,
    tag: str | Collection[str] | Mapping[str, str | None] | None = None,
    run: Values = None,
    batch: Values = None,
    group: Values = None,
    session: Values = None,
    project: Values = None,
    since: Moment | None = None,
    until: Moment | None = None,
    title: str = "",
    author: str = "",
    license: str = "",
) -> Archive:
    """Writes the jobs that fit, with all that is known of them, into a new ZIP file: an RO-Crate 1.1.

    Filters as for `qflows.jobs`; several must all fit. In it are programs (canonical text, OpenQASM 3, compiled where
    known), the vendors' raw answers, counts, expectation values with standard errors, calibrations, quotes and charges,
    versions, history, batches and groups that are wholly inside, and digests of everything; as JSON and as Parquet.
    Secrets never enter the ledger and are in no archive. `license`: an address or a name; `author`: a name.
    The same jobs give the same bytes with the same versions of qflows, Qiskit, pyarrow and zlib.
    Raises ProgramRejected where nothing fits, the file exists, or pyarrow is missing (`pip install qflows[parquet]`).
    """
    filters = {"tag": tag, "run": run, "batch": batch, "group": group, "session": session, "project": project}
    about = {"title": title, "author": author, "license": license}
    return client().archive(Path(path), **filters, since=since, until=until, **about)


def verify(path: str | Path, *, digest: str | None = None) -> Checked:
    """Checks an archive without network, account or ledger: digests, and every number again from the raw answers.

    `digest`: the SHA-256 of the file that was published, to be compared. `.is_whole` says whether all is well,
    `.findings` names what is not, `.notes` what could not be checked here. Raises ProgramRejected for what is no
    archive, or is not safe to read.
    """
    return check(Path(path), digest=digest)
