"""`qflows.archive` and `qflows.verify`: export a study to one file, and check that its numbers follow from the raw
answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from qflows.core.archiving.verify import Checked
from qflows.core.archiving.verify import verify as check
from qflows.core.archiving.write import Archive
from qflows.core.arguments import fitting
from qflows.core.durations import Moment
from qflows.core.lists import Values
from qflows.prefect.client import client


@fitting
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
    """Writes the matching jobs, with everything known about them, to a new ZIP file in RO-Crate 1.1 format.

    Filters as for `qflows.jobs`; at least one is required, and several must all match. `since="2000-01-01"` selects
    everything. The file contains programs (canonical text, OpenQASM 3, compiled if known), the vendors' raw answers,
    counts, expectation values with standard errors, calibrations, quotes and charges, versions, history, batches and
    groups that are completely included, and digests of everything, as JSON and Parquet. Secrets never enter the ledger,
    so no archive contains any. `license`: a URL or a name; `author`: a name. The same jobs produce the same bytes with
    the same versions of qflows, Qiskit, pyarrow and zlib. Raises ProgramRejected if there is no filter, nothing
    matches, the file exists, or pyarrow is missing (`pip install qflows[parquet]`).
    """
    filters = {"tag": tag, "run": run, "batch": batch, "group": group, "session": session, "project": project}
    about = {"title": title, "author": author, "license": license}
    return client().archive(Path(path), **filters, since=since, until=until, **about)


@fitting
def verify(path: str | Path, *, digest: str | None = None) -> Checked:
    """Checks an archive without network, account or ledger: verifies digests and recomputes every number from the raw
    answers.

    `digest`: the published SHA-256 of the file, to compare with. `.is_whole` is True if everything is correct,
    `.findings` lists what is not, `.notes` what could not be checked here. Raises ProgramRejected for a file that is
    not an archive or is not safe to read.
    """
    return check(Path(path), digest=digest)
