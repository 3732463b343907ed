"""Reading the vendor's answer to a finished job again. The first stored result stands; a difference becomes an
event."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qflows.core.devices import SpeaksFor
from qflows.core.fetching import spec_to_read
from qflows.core.stored import stored
from qflows.core.submit import Submitter
from qflows.core.versions import versions
from qflows.errors import ProviderError
from qflows.keys import digest
from qflows.ledger import raws, reads
from qflows.ledger.rows import body_of
from qflows.ledger.store import Ledger, utc_now
from qflows.model import ItemResult, Job, Result
from qflows.protocol import Lookup, Provider, RawAnswer

log = logging.getLogger("qflows.client")

DIFFERS = "answer-differs"
VENDOR, KEPT, LOCAL = "vendor", "kept answer", "ledger"


@dataclass(frozen=True, slots=True)
class Reread:
    """One job as its answer reads now. `source`: the vendor, the stored answer or, for a job without a vendor, the
    ledger."""

    items: tuple[ItemResult, ...]
    source: str
    differs: bool


def reread(submitter: Submitter, vendors: SpeaksFor, jobs: Sequence[Job]) -> Result:
    """The result of finished jobs from the vendor's current answer, otherwise from the stored one.

    The ledger keeps what it has: if the new reading differs, `provenance["reread"]` says so and each such job gets an
    event `answer-differs`. Raises ProviderError if the vendor cannot be asked and no answer was stored.
    """
    ledger = submitter.ledger
    found = [_again(submitter, vendors.of(job), job) for job in jobs]
    result = stored(ledger, jobs, items=tuple(item for one in found for item in one.items))
    told = {
        "at": utc_now().isoformat(),
        "source": ", ".join(dict.fromkeys(one.source for one in found)),
        "differs": any(one.differs for one in found),
    }
    return replace(result, provenance={**result.provenance, "reread": told})


def _again(submitter: Submitter, provider: Provider, job: Job) -> Reread:
    ledger = submitter.ledger
    known = reads.items(ledger, job.key)
    if provider.capabilities.lookup is Lookup.LOCAL:
        return Reread(known, LOCAL, differs=False)
    spec = spec_to_read(submitter, provider, job)
    raw, source = _answer(ledger, provider, job, spec)
    items = provider.decode(raw, spec, job.key).items
    differs = said(known) != said(items)
    if differs:
        note_difference(ledger, job, known, items, source)
    return Reread(items, source, differs)


def _answer(ledger: Ledger, provider: Provider, job: Job, spec: Any) -> tuple[RawAnswer, str]:
    try:
        return provider.fetch(str(job.vendor_id), spec), VENDOR
    except ProviderError as error:
        kept = raws.of(ledger, [job.key])
        if job.key not in kept:
            raise
        log.warning("the stored answer of job %s is used instead: %s", job.key[:12], error)
        return kept[job.key], KEPT


def said(items: Sequence[ItemResult]) -> list[Any]:
    """What an answer says of each program, without the notes beside it."""
    bodies = [body_of(item) | {"metadata": None} for item in items]
    return json.loads(json.dumps(bodies))


def note_difference(
    ledger: Ledger, job: Job, known: Sequence[ItemResult], now: Sequence[ItemResult], source: str
) -> None:
    """Record an event with both readings by digest, and the places that differ."""
    before, after = said(known), said(now)
    places = [n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]]
    detail = {
        "source": source,
        "stored": digest("reading/1", before),
        "read_now": digest("reading/1", after),
        "programs": places[:20],
        "counts": [body["counts"] for body in after][:1] if len(after) == 1 else None,
    }
    with ledger.write() as connection:
        ledger.record_event(connection, DIFFERS, job.key, **detail, versions=versions()["versions"])
    ledger.tell(DIFFERS, job.key)
    log.warning("job %s: the answer decodes to a different result; the stored one is kept", job.key[:12])
