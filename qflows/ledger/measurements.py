"""Measured values in the ledger: written once per run, device and quantity, read as series."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows import model
from qflows.keys import digest
from qflows.ledger import reads
from qflows.ledger.claims import chunks
from qflows.ledger.store import Ledger
from qflows.ledger.tables import calibrations, jobs, measurements

SCAN = 120  # how far back a series is read: four windows of drift, so that old flags are known today


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value with its standard uncertainty, in `unit` ("1": none).

    `setup`: digest of how it was measured; values of different set-ups are different quantities. `at`: when the last of
    its jobs ended, UTC. `calibration`: digest of the vendor's snapshot, None if the vendor gives none.
    """

    run_key: str
    device: str
    name: str
    family: str
    setup: str
    suite: str
    value: float
    std_error: float
    unit: str
    n_qubits: int
    shots: int
    is_headline: bool
    at: datetime
    job_keys: tuple[str, ...]
    calibration: str | None

    @property
    def series(self) -> tuple[str, str, str]:
        """Device, quantity and set-up: only equal ones may be compared."""
        return self.device, self.name, self.setup

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; the time in ISO 8601."""
        return asdict(self) | {"job_keys": list(self.job_keys), "at": self.at.isoformat()}


_FIELDS = tuple(one.name for one in fields(Measurement))
_COLUMNS = [measurements.c[name] for name in _FIELDS]


def record(ledger: Ledger, found: Sequence[Measurement], snapshots: Mapping[str, Mapping[str, Any]]) -> int:
    """Store values and the calibration snapshots they name; return how many were new.

    The first value of a run, device and quantity stays: a replay writes nothing, and cannot change an earlier reading.
    """
    named = {one.calibration for one in found if one.calibration}
    rows = [{name: getattr(one, name) for name in _FIELDS} | {"job_keys": list(one.job_keys)} for one in found]
    # in one order everywhere, so that two writers never wait for each other's rows
    rows.sort(key=lambda row: (row["run_key"], row["device"], row["name"]))

    def work(connection: sa.Connection) -> int:
        for name in sorted(named):
            connection.execute(ledger.insert(_calibration_insert), {"digest": name, "body": snapshots[name]})
        new = (connection.execute(ledger.insert(_measurement_insert), row).scalar() for row in rows)
        return sum(one is not None for one in new)

    return ledger.transact(work)


def keep_calibration(ledger: Ledger, digest: str, body: Mapping[str, Any]) -> None:
    """Store a snapshot under its digest; an existing one stays."""
    with ledger.write(flush=False) as connection:
        connection.execute(ledger.insert(_calibration_insert), {"digest": digest, "body": body})


def _measurement_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=measurements.c[name].type) for name in _FIELDS}
    made = insert(measurements).values(row).on_conflict_do_nothing()
    return made.returning(measurements.c.run_key)


def _calibration_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=calibrations.c[name].type) for name in ("digest", "body")}
    return insert(calibrations).values(row).on_conflict_do_nothing()


def _measurement(row: Any) -> Measurement:
    return Measurement(**{**row._mapping, "job_keys": tuple(row.job_keys)})


def between(ledger: Ledger, since: datetime, until: datetime) -> list[Measurement]:
    """Values of `since` <= at < `until`, oldest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(measurements.c.at >= since, measurements.c.at < until)
        .order_by(measurements.c.at, measurements.c.device, measurements.c.name)
    )
    with ledger.read() as connection:
        return [_measurement(row) for row in connection.execute(query)]


def of_run(ledger: Ledger, run_key: str) -> list[Measurement]:
    """What one run measured."""
    query = sa.select(*_COLUMNS).where(measurements.c.run_key == run_key).order_by(measurements.c.name)
    with ledger.read() as connection:
        return [_measurement(row) for row in connection.execute(query)]


def series(
    ledger: Ledger, device: str, name: str, setup: str, *, until: datetime | None = None, limit: int = SCAN
) -> list[Measurement]:
    """The newest values of one device, quantity and set-up, oldest of them first; before `until` if given."""
    newest_first = (
        sa.select(*_COLUMNS)
        .where(measurements.c.device == device, measurements.c.name == name, measurements.c.setup == setup)
        .order_by(measurements.c.at.desc(), measurements.c.run_key.desc())
        .limit(limit)
    )
    if until is not None:
        newest_first = newest_first.where(measurements.c.at < until)
    with ledger.read() as connection:
        return [_measurement(row) for row in connection.execute(newest_first)][::-1]


def newest_of_each(ledger: Ledger, *, since: datetime, until: datetime) -> list[Measurement]:
    """The newest headline value of every device, quantity and set-up, of `since` <= at < `until`."""
    place = (measurements.c.device, measurements.c.name, measurements.c.setup)
    ranked = (
        sa.select(
            *_COLUMNS, sa.func.row_number().over(partition_by=place, order_by=measurements.c.at.desc()).label("k")
        )
        .where(measurements.c.is_headline, measurements.c.at >= since, measurements.c.at < until)
        .subquery()
    )
    query = sa.select(*(ranked.c[name] for name in _FIELDS)).where(ranked.c.k == 1)
    with ledger.read() as connection:
        found = [_measurement(row) for row in connection.execute(query)]
    return sorted(found, key=lambda one: one.series)


def snapshots(ledger: Ledger, digests: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Calibration snapshots by digest."""
    with ledger.read() as connection:
        query = sa.select(calibrations.c.digest, calibrations.c.body)
        return {
            digest: body
            for part in chunks(sorted(set(digests)))
            for digest, body in connection.execute(query.where(calibrations.c.digest.in_(part)))
        }


def circumstances(ledger: Ledger, job_keys: Collection[str]) -> dict[str, tuple[str, Mapping[str, Any], Any]]:
    """For each job: the vendor's device id, the options it was bought with, and the calibration snapshot or None."""
    keys = sorted(set(job_keys))
    told = reads.provenances(ledger, keys)  # of archived jobs as well
    query = sa.select(jobs.c.key, jobs.c.device_id, jobs.c.options)
    with ledger.read() as connection:
        return {
            row.key: (row.device_id, row.options, model.calibration_of(told.get(row.key, {})))
            for part in chunks(keys)
            for row in connection.execute(query.where(jobs.c.key.in_(part)))
        }


Circumstances = Mapping[str, tuple[str, Mapping[str, Any], Any]]


def setup_of(known: Circumstances, job_keys: Collection[str], means: list[Any]) -> str:
    """A digest of how a value was measured: the circuits, the vendor's device and the options it was bought with."""
    bought = sorted({digest(known[key][0], dict(known[key][1])) for key in job_keys if key in known})
    return digest("setup/1", means, bought)


def calibration_of(
    known: Circumstances, job_keys: Collection[str], snapshots: dict[str, Mapping[str, Any]]
) -> str | None:
    """The digest of the vendor's snapshot, which is added to `snapshots`; for several jobs, of all of theirs."""
    given = [known[key][2] for key in job_keys if key in known and isinstance(known[key][2], Mapping)]
    different = {digest(one): one for one in given}
    if not different:
        return None
    if len(different) == 1:
        ((name, body),) = different.items()
    else:
        body = {f"job {place}": different[name] for place, name in enumerate(sorted(different), start=1)}
        name = digest(body)
    snapshots[name] = body
    return name
