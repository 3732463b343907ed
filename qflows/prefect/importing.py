"""`qflows.import_jobs`: jobs that were bought elsewhere, in this ledger."""

from __future__ import annotations

from collections.abc import Collection

from qflows.core.importing import Imported, Moment
from qflows.prefect.client import client


def import_jobs(
    source: str,
    *,
    ids: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    tag: str | None = None,
) -> Imported:
    """Takes jobs that were bought elsewhere into the ledger: counts in our bit order, times, cost, circuits.

    `source`: a device's name, or a vendor's (`ibm`, `braket`, `ionq`, `qbraid`) for all devices of its account.
    `ids`: vendor ids. Or `since` and `until`: dates ('2026-11-01', UTC), or how long ago ('7d', '12h'), narrowed by
    `tag`: a tag of the vendor, `name` or `name=value`; on IonQ, which has none, a member of the job's metadata.
    Repeating it changes nothing. Nothing is sent, cancelled or changed at the vendor, now or later; a job that still
    runs is watched as ours are. IonQ gives no circuit back, Braket gives it with the result only; a stand-in then
    shows how the qubits were read. Private IBM jobs are left out, since their result can be read once only.
    Raises ProgramRejected for input that makes no sense, ProviderError when the vendor cannot list its jobs.
    """
    return client().import_jobs(source, ids=ids, since=since, until=until, tag=tag)
