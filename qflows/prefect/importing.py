"""`qflows.import_jobs`: imports jobs that were bought elsewhere into this ledger."""

from __future__ import annotations

from collections.abc import Collection

from qflows.core.arguments import fitting
from qflows.core.durations import Moment
from qflows.core.importing import Imported
from qflows.prefect.client import client


@fitting
def import_jobs(
    source: str,
    *,
    ids: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    tag: str | None = None,
) -> Imported:
    """Imports jobs that were bought elsewhere into the ledger: counts in qflows' bit order, times, cost, circuits.

    `source`: a device, or a vendor (`ibm`, `braket`, `ionq`, `qbraid`) for all devices of its account.
    `ids`: vendor ids. Or `since` and `until`: dates ('2026-11-01', UTC), or how long ago ('7d', '12h'), narrowed by
    `tag`: a vendor tag, `name` or `name=value`; on IonQ, which has no tags, an entry of the job's metadata. Repeating
    it changes nothing. Nothing is sent, cancelled or changed at the vendor, now or later; a job that is still running
    is polled like our own. IonQ returns no circuit, and Braket returns it only with the result; a placeholder then
    shows how the qubits were read. Private IBM jobs are skipped, because their result can be read only once. Raises
    ProgramRejected for invalid input, ProviderError if the vendor cannot list its jobs.
    """
    return client().import_jobs(source, ids=ids, since=since, until=until, tag=tag)
