"""The health of each part of a batch, measured by reference circuits that ran beside its own.

A part's reference is compared with `at_least`, and with the values that the same circuit had on the device in earlier
runs; one limit is shared by all comparisons of the batch, so that a device that has not changed gives a batch with a
bad part in at most 1 % of cases, however many parts it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from qflows.core.references import FAMILY, overlap
from qflows.ledger import measurements, reads
from qflows.ledger.batches import BatchRecord, PartRecord
from qflows.ledger.measurements import Measurement, calibration_of, circumstances, setup_of
from qflows.ledger.store import Ledger
from qflows.model import ItemResult, Job, uncertain
from qflows.states import JobStatus

_NAME_CAP = 128


@dataclass(frozen=True, slots=True)
class PartHealth:
    """One reference circuit beside the circuits of a part.

    `value`: the overlap of its counts with the expected distribution, 1 at best; None while it has no counts.
    `is_good`: None if nothing was compared: no counts, no `at_least`, fewer than 7 earlier values. `job_key`: the job
    that measured it, the part's own where jobs take several circuits.
    """

    part: int
    job_key: str
    circuits: tuple[int, ...]
    reference: str
    value: float | None
    std_error: float | None
    shots: int
    at_least: float | None
    is_good: bool | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"circuits": list(self.circuits)}

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.reference}: {self.why}"
        word = {True: "good", False: "BAD", None: "not judged"}[self.is_good]
        return f"{self.reference} {uncertain(self.value, self.std_error or 0.0)}, {word}"


def by_part(found: Sequence[PartHealth]) -> dict[int, str]:
    """One text for each part."""
    told: dict[int, list[str]] = {}
    for one in found:
        told.setdefault(one.part, []).append(str(one))
    return {part: "; ".join(texts) for part, texts in told.items()}


def measured(ledger: Ledger, record: BatchRecord, pairs: Sequence[tuple[PartRecord, Job]]) -> tuple[PartHealth, ...]:
    """The health of every part with circuits of its own, in order of the parts."""
    references: Sequence[Mapping[str, Any]] = record.details.get("references") or ()
    if not references:
        return ()
    items = {job.key: reads.items(ledger, job.key) for _, job in pairs if job.status is JobStatus.COMPLETED}
    known = circumstances(ledger, list(items))
    found: list[tuple[Mapping[str, Any], PartRecord, Job, Any, Any]] = []
    beside: dict[str, tuple[Job, ItemResult | None]] = {}  # the last job of its own of each reference
    for part, job in pairs:
        stored = items.get(job.key, ())
        if not part.indices:
            names = reads.program_names(ledger, job.key)
            beside |= {name: (job, stored[k] if k < len(stored) else None) for k, name in enumerate(names)}
            continue
        for place, one in enumerate(references, start=len(part.indices)):
            own = job, stored[place] if place < len(stored) else None
            source, item = beside.get(f"reference {one['name']}", own)
            counts = item.counts if item is not None and item.error is None else None
            value = overlap(one["expected"], counts) if counts else None
            setup = setup_of(known, [source.key], _means(one, source)) if value else ""
            found.append((one, part, source, value, (setup, counts.shots if counts else 0)))
    earlier = {
        (one["name"], setup): measurements.series(ledger, record.device, _metric(one), setup, until=record.created_at)
        for one, _, _, value, (setup, _) in found
        if value
    }
    judged = [_compared(record, *each, earlier, len(found)) for each in found]
    k = sum(len(comparisons) for _, comparisons in judged)
    return tuple(_verdict(*each, comparisons, k) for each, (_, comparisons) in zip(found, judged, strict=True))


def _metric(one: Mapping[str, Any]) -> str:
    return f"reference {one['name']}"[:_NAME_CAP]


def _means(one: Mapping[str, Any], job: Job) -> list[Any]:
    """As a gate notes it, so that gates and batches share a history."""
    return [FAMILY, one["identity"], job.shots]


def _measurement(
    record: BatchRecord, one: Mapping[str, Any], setup: str, value: float, error: float, shots: int, jobs: Sequence[Job]
) -> Measurement:
    ended = [job.timeline.finished or job.created_at for job in jobs]
    return Measurement(
        run_key=f"batch {record.id}"[:255],
        device=record.device,
        name=_metric(one),
        family=FAMILY,
        setup=setup,
        suite="batch",
        value=value,
        std_error=error,
        unit="1",
        n_qubits=int(one["n"]),
        shots=shots,
        is_headline=True,
        at=max(ended),
        job_keys=tuple(job.key for job in jobs),
        calibration=None,
    )


def _compared(
    record: BatchRecord,
    one: Mapping[str, Any],
    part: PartRecord,
    source: Job,
    value: tuple[float, float] | None,
    about: tuple[str, int],
    earlier: Mapping[tuple[str, str], Sequence[Measurement]],
    n_values: int,
) -> tuple[PartRecord, list[tuple[float, str]]]:
    """How many sigmas worse the value is than what it is compared with, and the words for it."""
    from qflows.core.drift import judge  # scipy is slow to load, and most batches have no references
    from qflows.core.judging import is_chance, limit, worse_by

    if value is None:
        return part, []
    setup, shots = about
    found = []
    newest = _measurement(record, one, setup, *value, shots, [source])
    before = [old for old in earlier[one["name"], setup] if old.at < newest.at]
    verdict = judge([*before, newest])[-1]
    sigmas = worse_by(verdict)
    if sigmas is not None and verdict.mean is not None:
        sigmas = min(sigmas, limit(n_values)) if is_chance(verdict, n_values) else sigmas
        found.append((sigmas, f"than {verdict.mean:.4g}, the mean of {verdict.n} earlier values"))
    if one["at_least"] is not None:
        found.append(((one["at_least"] - value[0]) / value[1], f"than at_least, {one['at_least']:.4g}"))
    return part, found


def _verdict(
    one: Mapping[str, Any],
    part: PartRecord,
    source: Job,
    value: tuple[float, float] | None,
    about: tuple[str, int],
    comparisons: Sequence[tuple[float, str]],
    k: int,
) -> PartHealth:
    is_good, why = None, "no at_least and fewer than 7 earlier values"
    if value is None:
        why = "has no counts" if source.is_terminal else "has no counts yet"
    elif comparisons:
        from qflows.core.judging import limit

        bound = limit(k)
        sigmas, than = max(comparisons)
        is_good = sigmas <= bound
        why = f"{value[0]:.4g}, worse {than}, by {sigmas:.1f} sigma (limit {bound:.2f} for {k} comparisons)"
    amount, error = value if value is not None else (None, None)
    head = (part.part, source.key, part.indices, str(one["name"]))
    return PartHealth(*head, amount, error, about[1], one["at_least"], is_good, why)


def keep(ledger: Ledger, record: BatchRecord, found: Sequence[PartHealth]) -> None:
    """Store one value for each reference, the mean over the jobs that measured it, once every one has ended.

    Bad health is an event of the part's job.
    """
    references: Sequence[Mapping[str, Any]] = record.details.get("references") or ()
    if not references or any(one.why == "has no counts yet" for one in found):
        return
    jobs = reads.by_keys(ledger, [one.job_key for one in found])
    known = circumstances(ledger, list(jobs))
    snapshots: dict[str, Mapping[str, Any]] = {}
    values = []
    for one in references:
        here = {h.job_key: h for h in found if h.reference == one["name"] and h.value is not None}
        shots = {h.shots for h in here.values()}
        if not here or len(shots) != 1:  # values with different shots fall short of 1 by different amounts
            continue
        mine = [jobs[key] for key in here]
        mean = sum(h.value or 0.0 for h in here.values()) / len(here)
        error = sum((h.std_error or 0.0) ** 2 for h in here.values()) ** 0.5 / len(here)
        setup = setup_of(known, list(here), _means(one, mine[0]))
        made = _measurement(record, one, setup, mean, error, shots.pop() * len(here), mine)
        values.append((made, calibration_of(known, list(here), snapshots)))
    new = measurements.record(ledger, [replace(made, calibration=name) for made, name in values], snapshots)
    if new:
        with ledger.write() as connection:
            for one in found:
                if one.is_good is False:
                    ledger.record_event(connection, "bad-health", one.job_key, reference=one.reference, why=one.why)
