"""The results of a batch: every circuit at its own index, errors as values, in shapes that suit notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qflows import display
from qflows.core.batches.health import PartHealth
from qflows.errors import JobFailed, QflowsError
from qflows.ledger.batches import PartRecord
from qflows.model import Cost, Counts, ItemError, ItemResult, Job, Span, calibration_of, spans_of, uncertain
from qflows.programs.grid import pairing
from qflows.states import JobStatus

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class CircuitError:
    """Why circuit `index` has no counts: the vendor's message, and the job's status."""

    index: int
    part: int
    status: JobStatus
    provider: str
    code: str | None
    message: str


def check_index(index: Any, n_circuits: int, *, first: int = 0) -> None:
    """Raise TypeError or IndexError for what is not the number of a circuit, counted from `first`."""
    if not hasattr(index, "__index__"):
        raise TypeError(f"a circuit is selected by its number, not {index!r:.60}; pass 0 to {n_circuits - 1}")
    if not first <= index < n_circuits:
        raise IndexError(f"circuit {index} is out of range; pass 0 to {n_circuits - 1}")


class BatchData:
    """The results of a batch in the shape of qBraid's `BatchResult.data`."""

    def __init__(self, results: Sequence[ItemResult | None]) -> None:
        self._results = results

    def get_counts(self) -> list[dict[str, int]]:
        """One histogram per circuit in input order; empty for a circuit without counts. Key widths differ by
        circuit."""
        return [dict(item.counts) if item and item.counts else {} for item in self._results]

    def get_probabilities(self) -> list[dict[str, float]]:
        """One distribution per circuit: exact if the device provides it, otherwise relative frequencies."""
        return [_probabilities(item) for item in self._results]


def _probabilities(item: ItemResult | None) -> dict[str, float]:
    if item is None:
        return {}
    if item.probabilities is not None:
        return item.probabilities
    return item.counts.probabilities() if item.counts else {}


@dataclass(frozen=True)
class BatchResult:
    """All circuits in input order. `results[i]` is circuit i, or None if it has no counts; see `errors[i]` then."""

    batch_id: str
    device: str
    device_id: str
    job_ids: tuple[str, ...]
    names: tuple[str, ...]
    results: tuple[ItemResult | None, ...]
    errors: Mapping[int, CircuitError]
    cost: Cost | None
    shape: tuple[int, ...] | None = None  # of a sweep's points; `results` are in its C order
    observable_shape: tuple[int, ...] | None = None
    # recorded with the counts, by job key; and by circuit, what was compiled from it, None if unknown
    provenances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compiled: tuple[Any, ...] = ()
    health: tuple[PartHealth, ...] = ()  # what reference circuits say about each part

    def __repr__(self) -> str:
        cost = f", {self.cost.amount:g} {self.cost.unit}" if self.cost else ""
        return (
            f"<BatchResult {self.batch_id[:12]} on {self.device}: {len(self.results) - len(self.errors)} of "
            f"{len(self.results)} circuits have results{cost}>"
        )

    def _repr_html_(self) -> str:
        bad = set(self.in_bad_health)
        rows = []
        for index, (name, item) in enumerate(zip(self.names, self.results, strict=True)):
            values = (item.counts or item.probabilities or {}) if item else {}
            top = sorted(values.items(), key=lambda pair: -pair[1])[:4]
            found = ", ".join(f"{key}: {value:g}" for key, value in top)
            if item and item.expectations:
                found = ", ".join(uncertain(one.value, one.std_error) for one in item.expectations)
            error = self.errors.get(index)
            rows.append(
                {
                    "circuit": index,
                    "name": name,
                    "result": found,
                    "error": error.message if error else "bad health" if index in bad else "",
                }
            )
        return display.table(rows, ("circuit", "name", "result", "error"))

    @property
    def grid(self) -> np.ndarray[Any, Any]:
        """Results as an array of the sweep's shape: `grid[1, 2].counts`. Points without a result are None."""
        import numpy as np

        made = np.empty(len(self.results), dtype=object)
        made[:] = self.results
        return made.reshape(self.shape if self.shape is not None else (len(self.results),))

    @property
    def expectation_values(self) -> np.ndarray[Any, Any]:
        """Expectation values, in the broadcast shape of points and observables; nan for a missing point."""
        return self._expectations("value")

    @property
    def standard_errors(self) -> np.ndarray[Any, Any]:
        """Standard errors of `expectation_values`, in the same shape; 0.0 for exact values."""
        return self._expectations("std_error")

    def _expectations(self, what: str) -> np.ndarray[Any, Any]:
        import numpy as np

        if self.shape is None or self.observable_shape is None:
            raise QflowsError("no observables were given; pass observables= to qflows.batch")
        pairs, needs = pairing(self.shape, self.observable_shape)
        place_of = [{wanted: place for place, wanted in enumerate(sorted(need))} for need in needs]
        made = np.full(pairs.shape[:-1], np.nan)
        for at in np.ndindex(made.shape):
            point, wanted = pairs[at].tolist()
            item = self.results[point]
            if item is not None and item.expectations is not None:
                made[at] = getattr(item.expectations[place_of[point][wanted]], what)
        return made

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """The device's calibration of the first job that has one; `calibrations` has those of all."""
        return next(iter(self.calibrations.values()), None)

    @property
    def calibrations(self) -> dict[str, Mapping[str, Any]]:
        """By job key, as in `Result.calibration`."""
        found = {key: calibration_of(about) for key, about in self.provenances.items()}
        return {key: one for key, one in found.items() if one}

    @property
    def execution_spans(self) -> tuple[Span, ...]:
        """When the device ran what, over all jobs, earliest first (IBM)."""
        spans = [span for about in self.provenances.values() for span in spans_of(about)]
        return tuple(sorted(spans, key=lambda span: span.start))

    @property
    def num_circuits(self) -> int:
        """Number of circuits in the batch."""
        return len(self.results)

    def health_of(self, index: int) -> tuple[PartHealth, ...]:
        """What reference circuits say about the job that gave circuit `index`; empty without `reference=`."""
        return tuple(one for one in self.health if index in one.circuits)

    @property
    def in_bad_health(self) -> tuple[int, ...]:
        """The circuits of parts whose reference circuits came out too badly."""
        return tuple(sorted({index for one in self.health if one.is_good is False for index in one.circuits}))

    @property
    def success(self) -> bool:
        """True if every circuit has a result."""
        return not self.errors

    @property
    def data(self) -> BatchData:
        """`data.get_counts()`: a list of histograms."""
        return BatchData(self.results)

    @property
    def details(self) -> list[dict[str, Any]]:
        """Per circuit: index, name, and the error's status, code and message if there is one."""
        rows = []
        for index, name in enumerate(self.names):
            error = self.errors.get(index)
            problem = {"status": error.status, "code": error.code, "statusMsg": error.message} if error else {}
            health = [one.to_json() for one in self.health_of(index)]
            rows.append({"index": index, "name": name, **problem, **({"health": health} if health else {})})
        return rows

    def counts(self, index: int) -> Counts:
        """Histogram of one circuit. Raises JobFailed with the vendor's reason if there is none."""
        item = self[index]
        if item.counts is None:
            raise QflowsError(f"circuit {index} ran without shots; read results[{index}].probabilities")
        return item.counts

    def __getitem__(self, index: int) -> ItemResult:
        check_index(index, len(self.results), first=-len(self.results))
        item = self.results[index]
        if item is None:
            error = self.errors[index % len(self.results)]
            raise JobFailed(f"circuit {index} has no result: {error.message}", reason=error.message)
        return item

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[ItemResult | None]:
        return iter(self.results)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per circuit and outcome, for CSV, Parquet or a data frame."""
        flat = []
        for index, (name, item) in enumerate(zip(self.names, self.results, strict=True)):
            error = self.errors.get(index)
            outcomes_: Mapping[str, float] = (item.counts or item.probabilities or {}) if item else {}
            if item is not None and item.expectations is not None:
                outcomes_ = {f"<{place}>": one.value for place, one in enumerate(item.expectations)}
            for outcome, value in outcomes_.items():
                flat.append({"index": index, "name": name, "outcome": outcome, "value": value, "error": ""})
            if not outcomes_:
                message = error.message if error else ""
                flat.append({"index": index, "name": name, "outcome": "", "value": None, "error": message})
        return flat


def owner_of_circuits(parts: Sequence[PartRecord]) -> dict[int, PartRecord]:
    """Circuit index → the part that decides it: the newest generation that holds the circuit."""
    owner: dict[int, PartRecord] = {}
    for part in sorted(parts, key=lambda part: part.generation):
        for index in part.indices:
            owner[index] = part
    return owner


def with_one_summary(items: Sequence[ItemResult], about: Mapping[str, Any]) -> list[ItemResult]:
    """Results that refer to what the submission's note says of their circuits, in place of equal copies.

    Both are stored, for each can be read without the other; of 20,000 circuits the copies are 40 MB.
    """
    sent = (about.get("submission") or {}).get("compiled")
    notes = sent if isinstance(sent, list) else []
    found: list[ItemResult] = []
    at = -1  # notes are in the order of the results, and one may be about several
    for item in items:
        own = item.metadata.get("compiled")
        fits = (place for place in (at + 1, at) if 0 <= place < len(notes) and notes[place] == own)
        if own is None or (place := next(fits, None)) is None:
            found.append(item)
            continue
        at = place
        found.append(replace(item, metadata={**item.metadata, "compiled": notes[at]}))
    return found


def by_circuit(
    pairs: Sequence[tuple[PartRecord, Job]], items: Mapping[int, Sequence[ItemResult]]
) -> dict[int, tuple[ItemResult | None, CircuitError | None]]:
    """Circuit index → (result, error); exactly one of the two is set."""
    owner = owner_of_circuits([part for part, _ in pairs])
    found: dict[int, tuple[ItemResult | None, CircuitError | None]] = {}
    for part, job in pairs:
        stored = items.get(part.part, ())
        for place, index in enumerate(part.indices):
            if owner[index].part == part.part:
                item = stored[place] if place < len(stored) else None
                found[index] = _outcome(index, part, job, item)
    return found


def _outcome(
    index: int, part: PartRecord, job: Job, item: ItemResult | None
) -> tuple[ItemResult | None, CircuitError | None]:
    if item is not None and item.error is None:
        return item, None
    error = item.error if item is not None else None
    told = error or ItemError(job.error_code, job.error_message or f"the job is {job.status.value.lower()}")
    status = JobStatus.FAILED if item is not None else job.status
    return None, CircuitError(index, part.part, status, job.provider, told.code, told.message)
