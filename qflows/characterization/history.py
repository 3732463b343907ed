"""Stores what runs measured on devices, for comparison with later nights, with the calibration of the time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qflows.algorithms.vqe import VqeResult
from qflows.characterization import references
from qflows.characterization.benchmarks import BenchmarkResult, Row, Suite
from qflows.core.client import Client
from qflows.ledger import measurements, reads
from qflows.ledger.measurements import Measurement, calibration_of, circumstances, setup_of
from qflows.ledger.store import utc_now

NAME_CAP = 128


def keep_benchmark(core: Client, result: BenchmarkResult, suite: Suite) -> int:
    """Store every value of the result in the ledger; return how many were new.

    Repeating it writes nothing twice: the first value of a run, device and quantity stays.
    """
    rows = [row for row in result.rows if row.value is not None and _is_error_bar(row.std_error)]
    known = circumstances(core.ledger, {key for row in rows for key in row.job_keys})
    width = {row.device: row.n for row in rows if row.metric == "readout error"}
    snapshots: dict[str, Mapping[str, Any]] = {}
    found = []
    for row in rows:
        assert row.value is not None
        assert row.std_error is not None
        means = _means(row, suite, width.get(row.device, row.n))
        found.append(
            Measurement(
                run_key=result.run_key,
                device=row.device,
                name=row.metric[:NAME_CAP],
                family=row.family,
                setup=setup_of(known, row.job_keys, means),
                suite=suite.name,
                value=row.value,
                std_error=row.std_error,
                unit="1",
                n_qubits=row.n,
                shots=row.shots,
                is_headline=row.is_headline,
                at=row.at or utc_now(),
                job_keys=row.job_keys,
                calibration=calibration_of(known, row.job_keys, snapshots),
            )
        )
    return measurements.record(core.ledger, found, snapshots) if found else 0


def _means(row: Row, suite: Suite, width: int) -> list[Any]:
    """The parts of the suite that make this a different quantity: not the shots, which the uncertainty covers, nor the
    seed."""
    if row.family == "readout":
        return [row.family, width]  # neighbors that are read at the same time matter
    if row.family == "mirror":
        is_shortened = row.note.startswith("not judged")
        return [row.family, row.n, suite.mirror_circuits, suite.mirror_layers, is_shortened]
    if row.family == references.FAMILY:
        # the overlap falls short of 1 by chance, more so with fewer shots
        identity = next((one.identity for one in suite.references if one.metric == row.metric), "")
        return [row.family, identity, suite.shots]
    return [row.family, row.n]


def keep_energy(core: Client, found: VqeResult, device: str) -> int:
    """Store the energy of a loop in the ledger if it has shot noise: an exact one says nothing about a device.

    Its series is that of equal experiments: Hamiltonian, ansatz, optimizer and its limits, start, shots, the vendor's
    device and options. Values that older versions stored with fewer of these stay as they are, as separate series.
    """
    if not found.trace or not _is_error_bar(found.std_error):
        return 0
    job = reads.job(core.ledger, found.job)
    known = circumstances(core.ledger, [job.key])
    snapshots: dict[str, Mapping[str, Any]] = {}
    one = Measurement(
        run_key=found.run_key,
        device=device,
        name=f"energy {found.problem}"[:NAME_CAP],
        family="vqe",
        setup=setup_of(known, [job.key], ["vqe/2", found.setup]),
        suite="vqe",
        value=found.energy,
        std_error=found.std_error,
        unit=found.unit[:32] or "1",
        n_qubits=0,
        shots=job.shots or 0,
        is_headline=True,
        at=job.timeline.finished or utc_now(),
        job_keys=(job.key,),
        calibration=calibration_of(known, [job.key], snapshots),
    )
    return measurements.record(core.ledger, [one], snapshots)


def _is_error_bar(error: float | None) -> bool:
    return error is not None and math.isfinite(error) and error > 0
