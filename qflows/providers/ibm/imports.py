"""Jobs that others submitted to this IBM instance, read back: circuits, parameters and observables from their PUBs.

IBM keeps the PUBs of a job (`params`), except of private ones, whose result can be read only once; those are left to
their owner. The PUBs of one job become programs one after the other, one program for each set of parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from qflows.errors import ProgramRejected, Refused, Unreadable
from qflows.model import Counts, Expectation, ItemResult
from qflows.programs import Program, to_program
from qflows.programs.observables import Observable, observable
from qflows.programs.readout import readout
from qflows.protocol import Foreign, JobSpec, Listed
from qflows.providers.ibm import wire
from qflows.providers.ibm.listing import Listing
from qflows.providers.ibm.runtime import Runtime, job_path

_MOST_PROGRAMS = 10_000
_CLIENT = "qiskit-ibm-runtime"


class Imports:
    """The half of the provider that imports."""

    _runtime: Runtime
    _listing: Listing

    def listed(self, *, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """GET /jobs, 200 a page, oldest first."""
        for job in self._listing.everything(since=since, until=until):
            yield _listed(job)

    def foreign(self, vendor_id: str) -> Foreign:
        """GET /jobs/{id} with its params. Raises Refused for a private job, and for one without PUBs."""
        job_path(vendor_id)
        what = f"the params of {vendor_id}"
        job = self._runtime.read(what, lambda client: client.job_get(vendor_id, exclude_params=False))
        if not isinstance(job, dict):
            raise Unreadable(f"ibm: job {vendor_id} is not an object", provider="ibm", body=str(job)[:4000])
        if job.get("private"):
            raise _refused(vendor_id, "it is private: its result can be read only once, which is left to its owner")
        program = str((job.get("program") or {}).get("id", ""))
        params = job.get("params")
        pubs = params.get("pubs") if isinstance(params, dict) else None
        if program not in ("sampler", "estimator") or not isinstance(pubs, list) or not pubs:
            raise _refused(vendor_id, f"it ran {program[:40] or 'no program'!r}; sampler and estimator can be imported")
        try:
            read = [_sampled(pub) if program == "sampler" else _estimated(pub) for pub in pubs]
        except ProgramRejected as error:
            raise _refused(vendor_id, str(error)) from error
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise Unreadable(
                f"ibm: the PUBs of job {vendor_id} cannot be read: {error!r:.200}", provider="ibm"
            ) from None
        return _foreign(job, program, params or {}, read)


def _foreign(job: Mapping[str, Any], program: str, params: Mapping[str, Any], read: Sequence[_Pub]) -> Foreign:
    listed = _listed(job)
    programs = tuple(one for pub in read for one in pub.programs)
    if len(programs) > _MOST_PROGRAMS:
        raise _refused(listed.vendor_id, f"it holds {len(programs)} programs; at most {_MOST_PROGRAMS} are imported")
    shots = {pub.shots for pub in read}
    tags = {name: value for name, value in listed.tags.items() if not name.startswith(wire.MARK)}
    name = tags.pop("name", "") or programs[0].name
    imported: dict[str, Any] = {"program": program, "pubs": [list(pub.places) for pub in read]}
    if asked := wire.plain(params.get("options") or {}):
        imported["options"] = asked
    if job.get("session_id"):
        imported["session"] = job["session_id"]
    spec = JobSpec(
        provider="ibm",
        device_id=listed.device_id,
        programs=programs,
        shots=shots.pop() if len(shots) == 1 else None,
        observables=tuple(one for pub in read for one in pub.observables) if program == "estimator" else (),
        options={"imported": imported},
        name=name[:255],
        tags=tags,
        session_id=job.get("session_id"),
    )
    is_native = bool(params.get("support_qiskit", True))
    return Foreign(listed, spec, wire.observation(job), client=f"{_CLIENT}, {program}" if is_native else program)


def _listed(job: Mapping[str, Any]) -> Listed:
    labels = tuple(str(tag) for tag in job.get("tags") or ())
    keys = [label.removeprefix(wire.PREFIX) for label in labels if label.startswith(wire.PREFIX)]
    return Listed(
        str(job["id"]),
        str(job.get("backend") or ""),
        wire.moment(job.get("created")),
        keys[0] if keys else None,
        labels,
    )


def _refused(vendor_id: str, why: str) -> Refused:
    return Refused(f"ibm job {vendor_id} is not imported: {why}", provider="ibm")


class _Pub:
    """One PUB: its programs, and for each the positions of its values in the flattened result."""

    def __init__(
        self,
        programs: Sequence[Program],
        places: Sequence[list[int]],
        shots: int | None,
        observables: Sequence[tuple[Observable, ...]] = (),
    ) -> None:
        self.programs = programs
        self.places = places
        self.shots = shots
        self.observables = observables


def _sampled(pub: Sequence[Any]) -> _Pub:
    """(circuit, values, shots); one program for each set of values, in C order."""
    circuit, values, shots = (*pub, None, None)[:3]
    rows, _ = _rows(circuit, values)
    programs = [to_program((circuit, row)) if row is not None else to_program(circuit) for row in rows]
    return _Pub(programs, [[place] for place in range(len(programs))], int(shots) if shots else None)


def _estimated(pub: Sequence[Any]) -> _Pub:
    """(circuit, observables, values, precision); observables and values are broadcast against each other."""
    circuit, given, values, _ = (*pub, None, None)[:4]
    rows, row_shape = _rows(circuit, values)
    wanted, shape = _observables(given)
    whole = np.broadcast_shapes(row_shape, shape)
    of_row = np.broadcast_to(np.arange(len(rows)).reshape(row_shape), whole).ravel()
    of_observable = np.broadcast_to(np.arange(len(wanted)).reshape(shape), whole).ravel()
    programs = [to_program((circuit, row)) if row is not None else to_program(circuit) for row in rows]
    places = [[int(place) for place in np.flatnonzero(of_row == index)] for index in range(len(rows))]
    observables = [
        tuple(_on(program, wanted[of_observable[place]]) for place in mine)
        for program, mine in zip(programs, places, strict=True)
    ]
    return _Pub(programs, places, None, observables)


def _rows(circuit: Any, values: Any) -> tuple[list[Any], tuple[int, ...]]:
    """Sets of values in the order of `circuit.parameters`, and their original shape."""
    n = circuit.num_parameters
    if not n:
        shape = np.asarray(values).shape[:-1] if isinstance(values, np.ndarray) and values.size == 0 else ()
        return [None] * int(np.prod(shape, dtype=int)), shape
    array = np.asarray(values, dtype=float)
    return [row.tolist() for row in array.reshape(-1, n)], array.shape[:-1]


def _observables(given: Any) -> tuple[list[Mapping[str, float]], tuple[int, ...]]:
    if isinstance(given, Mapping):
        return [given], ()
    listed = given.tolist() if hasattr(given, "tolist") else list(given)
    if isinstance(listed, Mapping):
        return [listed], ()
    inner = [_observables(one) for one in listed]
    return [one for ones, _ in inner for one in ones], (len(inner), *inner[0][1])


def _on(program: Program, terms: Mapping[str, float]) -> Observable:
    """The observable on the program's qubits; IBM's is as wide as the device."""
    found: list[tuple[str, float]] = []
    numbers = program.labels if program.labels is not None else tuple(range(program.n_qubits))
    for label, weight in terms.items():
        kept = "".join(label[-1 - number] for number in reversed(numbers))
        idle = [q for q in range(len(label)) if label[-1 - q] != "I" and q not in numbers]
        if idle:
            raise ProgramRejected(f"observable {label[:40]} acts on qubit {idle[0]}, which the circuit does not use")
        found.append((kept, float(weight)))
    return observable(found)


# -- results -------------------------------------------------------------------------------------------------------


def items_of(pubs: Sequence[Mapping[str, Any]], spec: JobSpec) -> list[ItemResult]:
    """Items by program, from the fields of each PUB. Raises Unreadable if they do not fit the PUBs."""
    plan = spec.options["imported"]["pubs"]
    if len(plan) != len(pubs):
        raise Unreadable(f"ibm returned {len(pubs)} results where {len(plan)} PUBs were sent", provider="ibm")
    items: list[ItemResult] = []
    for places, fields in zip(plan, pubs, strict=True):
        programs = spec.programs[len(items) : len(items) + len(places)]
        reader = _expectations if spec.observables else _counts
        items += reader(programs, places, fields)
    return items


def _counts(programs: Sequence[Program], places: Sequence[Any], fields: Mapping[str, Any]) -> list[ItemResult]:
    """Each register is an array of its own name: (sets of values, shots, bytes), bit 0 in the last byte."""
    registers = {register.name: register.bits for register in programs[0].registers}
    read: dict[str, np.ndarray[Any, Any]] = {}
    for name in registers:
        found = fields.get(name)
        if found is None:
            continue
        array = np.asarray(found["array"], dtype=np.uint8)
        read[name] = array.reshape(len(places), -1, array.shape[-1])
    if not read:
        raise Unreadable(f"ibm: the sampler result lacks registers {sorted(registers)[:5]}", provider="ibm")
    metadata = wire.plain(fields["metadata"])
    items = []
    for index, program in enumerate(programs):
        layout = readout(program)
        rows = zip(*([row.tobytes() for row in array[index]] for array in read.values()), strict=True)
        counts: Counter[str] = Counter()
        for row, n in Counter(rows).items():
            memory = 0
            for name, packed in zip(read, row, strict=True):
                value = int.from_bytes(packed, "big")
                memory |= sum(1 << clbit for bit, clbit in enumerate(registers[name]) if value >> bit & 1)
            counts[layout.from_clbits(memory)] += n
        items.append(ItemResult(counts=Counts(sorted(counts.items())), metadata=dict(metadata)))
    return items


def _expectations(programs: Sequence[Program], places: Sequence[Any], fields: Mapping[str, Any]) -> list[ItemResult]:
    values, errors = (np.asarray(fields[name], dtype=float).ravel() for name in ("evs", "stds"))
    metadata = wire.plain(fields["metadata"])
    return [
        ItemResult(
            expectations=tuple(Expectation(float(values[place]), float(errors[place])) for place in mine),
            metadata=dict(metadata),
        )
        for mine in places
    ]
