"""One suite on many devices: planned, bought as one batch per device, awaited together, read device by device.

Free of Prefect. A device that refuses, fails or is unreachable has that in its rows; the others are unaffected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from qflows.characterization import characterize, references
from qflows.characterization.characterize import Block, Point
from qflows.characterization.references import Reference
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import Planned
from qflows.core.batches.results import owner_of_circuits
from qflows.core.choice.deciding import Asked, content_of
from qflows.core.client import Client
from qflows.core.devices import Device
from qflows.core.money import Price
from qflows.core.scope import Scope
from qflows.core.waiting import wait_lanes
from qflows.errors import LedgerError, ProgramRejected, QflowsError
from qflows.keys import digest, seed_of
from qflows.model import Counts, ItemResult, Job, uncertain
from qflows.programs import to_program
from qflows.programs.gates import STANDARD
from qflows.protocol import JobSpec
from qflows.states import LIVE


class Outcome(StrEnum):
    """Whether a row has a value."""

    MEASURED = "measured"
    SKIPPED = "skipped"  # the device cannot run these circuits; nothing was bought
    FAILED = "failed"  # bought or tried, and there are no counts


@dataclass(frozen=True, slots=True)
class Row:
    """One number of one device; values are dimensionless. See `characterize.METHODS` for the formulas.

    `std_error`: one standard deviation. `n`: qubits. `shots`: those behind the value. `passed` is None without a
    threshold or value; `chance`: that a device exactly at the threshold does as well. `at`: when the last of its jobs
    ended, UTC. `note`: why there is no value, or a caveat.
    """

    device: str
    metric: str
    family: str
    outcome: Outcome
    value: float | None
    std_error: float | None
    threshold: float | None
    passed: bool | None
    n: int
    shots: int
    is_headline: bool
    job_ids: tuple[str, ...]
    job_keys: tuple[str, ...]
    at: datetime | None
    note: str
    chance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; the time in ISO 8601."""
        return asdict(self) | {
            "job_ids": list(self.job_ids),
            "job_keys": list(self.job_keys),
            "unit": "1",
            "at": self.at.isoformat() if self.at else None,
        }


@dataclass(frozen=True)
class BenchmarkResult:
    """All devices; rows in the order devices were given, headline rows before their details."""

    run_key: str
    seed: int
    shots: int
    devices: tuple[str, ...]
    rows: tuple[Row, ...]
    batches: Mapping[str, str]  # device → batch id

    @property
    def metrics(self) -> list[str]:
        """Headline metrics in the order of the suite."""
        return list(dict.fromkeys(row.metric for row in self.rows if row.is_headline))

    def row(self, device: str, metric: str) -> Row:
        """One row. Raises KeyError naming both."""
        for row in self.rows:
            if (row.device, row.metric) == (device, metric):
                return row
        raise KeyError(f"no {metric!r} of {device!r}; choose from {', '.join(self.metrics)}")

    @property
    def failed_devices(self) -> dict[str, str]:
        """Device → the first error, for devices with a row that should have a value and has none."""
        found: dict[str, str] = {}
        for row in self.rows:
            if row.outcome is Outcome.FAILED:
                found.setdefault(row.device, row.note)
        return found

    @property
    def wrong_bit_order(self) -> dict[str, str]:
        """Device → what was read, for devices with a wrong bit order."""
        found: dict[str, str] = {}
        for row in self.rows:
            if row.family == "bit order" and row.passed is False:
                found.setdefault(row.device, f"{row.metric}: {row.note or f'P = {row.value}'}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with formulas and sources, for comparison with later nights."""
        return {
            "run_key": self.run_key,
            "seed": self.seed,
            "shots": self.shots,
            "devices": list(self.devices),
            "batches": dict(self.batches),
            "methods": {
                name: {"formula": how, "source": who}
                for name, (how, who) in characterize.METHODS.items()
                if any(row.family == name for row in self.rows)
            },
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class Suite:
    """What to measure; see `characterize.suite`. `options`: device → vendor options of its jobs."""

    shots: int = 1000
    sizes: tuple[int, ...] = (3, 5)
    mirror_circuits: int = 4
    mirror_layers: int = 8
    seed: int | None = None  # None: from the run key
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    name: str = "benchmark"  # label and tag of the jobs; stored with the values
    references: tuple[Reference, ...] = ()  # with distributions; instead of all other circuits

    def seed_in(self, run_key: str) -> int:
        """The seed of the random circuits; a run key always gives the same."""
        return self.seed if self.seed is not None else seed_of(digest("benchmark-seed/1", run_key)) % 2**32

    def blocks(self, seed: int, max_qubits: int | None) -> list[Block]:
        """The circuits. Raises ProgramRejected for numbers that do not make a suite."""
        if self.references:
            return [references.block(one) for one in self.references]
        return characterize.suite(
            seed,
            sizes=self.sizes,
            mirror_circuits=self.mirror_circuits,
            mirror_layers=self.mirror_layers,
            max_qubits=max_qubits,
        )


@dataclass
class Bench:
    """One device's part of a run: what it can run, its batch, and what went wrong."""

    device: str
    blocks: list[Block]
    skipped: dict[str, str] = field(default_factory=dict)  # metric → why
    batch: Batch | None = None
    error: str = ""

    @property
    def is_bought(self) -> bool:
        """True if there are jobs to wait for."""
        return self.batch is not None and not self.error


def prepare(core: Client, scope: Scope, devices: Sequence[str], suite: Suite) -> list[Bench]:
    """Plan the suite for every device and make its jobs durable; send nothing. A replay finds the existing ones.

    Raises ProgramRejected for an invalid suite or list of devices, LedgerError; what one device cannot do is in its
    bench.
    """
    devices = _several(devices)
    foreign = sorted(set(suite.options) - set(devices))
    if foreign:
        raise ProgramRejected(f"options are given for {', '.join(foreign)}, which is not in the list of devices")
    seed = suite.seed_in(scope.run_key)
    blocks = suite.blocks(seed, None)
    return [_prepare(core, scope, device, suite, seed, blocks) for device in dict.fromkeys(devices)]


def _several(devices: Sequence[str]) -> Sequence[str]:
    if isinstance(devices, str) or not devices:
        raise ProgramRejected("pass the devices to compare as a list with at least one device")
    return devices


def asked(core: Client, run_key: str, suite: Suite) -> Asked:
    """What the suite asks of a device, for a rule to choose by."""
    seed = suite.seed_in(run_key)
    blocks = suite.blocks(seed, None)

    def specs(target: Device) -> list[JobSpec]:
        bench, planned = _plan(core, target.profile.name, suite, seed, blocks)
        if planned is None:
            raise ProgramRejected(bench.error or "; ".join(bench.skipped.values()))
        return [spec for _, spec in planned.specs]

    settings = [suite.name, suite.shots, list(suite.sizes), suite.mirror_circuits, suite.mirror_layers, suite.seed]
    return Asked(["benchmark", *settings], specs)


def chosen(core: Client, scope: Scope, devices: Sequence[str], suite: Suite) -> list[str]:
    """The devices with each rule resolved; a replay of the run gets the same. Raises NoDeviceFits, ProgramRejected."""
    found = []
    for name in dict.fromkeys(devices):
        rule = core.rule(name)
        if rule is None:
            found.append(name)
            continue
        what = asked(core, scope.run_key, suite)
        found.append(core.chooser.choose(rule, scope.want(content_of(rule, what)), what).device)
    return list(dict.fromkeys(found))


def price(core: Client, run_key: str, devices: Sequence[str], suite: Suite) -> dict[str, Price | str]:
    """The cost of the suite on each device, or why it is unknown; buys and records nothing."""
    seed = suite.seed_in(run_key)
    blocks = suite.blocks(seed, None)
    found: dict[str, Price | str] = {}
    for name in dict.fromkeys(devices):
        rule = core.rule(name)
        device = name if rule is None else core.first_fitting(rule, asked(core, run_key, suite))
        bench, planned = _plan(core, device, suite, seed, blocks)
        if planned is None:
            found[device] = bench.error or "; ".join(bench.skipped.values())
            continue
        try:
            found[device] = core.price_of([spec for _, spec in planned.specs], device=device)
        except QflowsError as error:
            found[device] = str(error)
    return found


def _prepare(core: Client, scope: Scope, device: str, suite: Suite, seed: int, blocks: list[Block]) -> Bench:
    bench, planned = _plan(core, device, suite, seed, blocks)
    if planned is None:
        return bench
    try:
        bench.batch = core.create_batch(planned, device=device, scope=scope, name=f"{suite.name} of {device}")
    except LedgerError:
        raise
    except QflowsError as error:
        bench.error = str(error)
    return bench


def _plan(core: Client, device: str, suite: Suite, seed: int, blocks: list[Block]) -> tuple[Bench, Planned | None]:
    """What the device can run of the suite, and the jobs for it; None if there are none."""
    bench, planned = Bench(device, blocks), None
    arguments: dict[str, Any] = {
        "device": device, "shots": suite.shots, "options": suite.options.get(device), "label": suite.name,
        "tags": {"suite": suite.name},
    }  # fmt: skip
    try:
        bench.blocks = suite.blocks(seed, core.device(device).limits.max_qubits)
        for block in bench.blocks:
            try:
                core.plan_batch(block.circuits, **arguments)
            except ProgramRejected as error:
                bench.skipped[block.metric] = str(error)
        circuits = [circuit for block in _kept(bench) for circuit in block.circuits]
        if circuits:
            planned = core.plan_batch(circuits, **arguments)
    except LedgerError:
        raise
    except QflowsError as error:
        bench.error = str(error)
    return bench, planned


def _kept(bench: Bench) -> list[Block]:
    return [block for block in bench.blocks if block.metric not in bench.skipped]


def submit(core: Client, bench: Bench) -> None:
    """Send what was not sent. A vendor's refusal is in the bench, not raised. Raises LedgerError."""
    if bench.batch is None or bench.error:
        return
    try:
        core.submit_batch(bench.batch)
    except LedgerError:
        raise
    except QflowsError as error:
        bench.error = str(error)


def wait(core: Client, benches: Sequence[Bench], timeout: float | None) -> None:
    """Wait for all devices at once under one deadline; a device that is unreachable has that in its bench."""
    keys = {bench.device: _jobs(bench) for bench in benches if bench.is_bought}
    wanted = [job.key for jobs in keys.values() for job in jobs]
    troubles = wait_lanes(core.ledger, core.poller, wanted, timeout=timeout)
    for bench in benches:
        for job in keys.get(bench.device, ()):
            trouble = troubles.get(f"{job.provider} {job.key[:12]}") or troubles.get(job.provider)
            if trouble and any(not fresh.is_terminal for fresh in _jobs(bench)):
                bench.error = trouble


def _jobs(bench: Bench) -> list[Job]:
    return bench.batch.sub_jobs() if bench.batch else []


def run(core: Client, scope: Scope, devices: Sequence[str], suite: Suite, timeout: float | None) -> BenchmarkResult:
    """Run the whole suite on all devices; every device has its jobs before any is waited for.

    Run again with the same run key, it buys nothing. At the deadline, rows without counts say so; jobs keep running.
    """
    benches = prepare(core, scope, chosen(core, scope, _several(devices), suite), suite)
    for bench in benches:
        submit(core, bench)
    wait(core, benches, timeout)
    return collect(scope, benches, suite)


def collect(scope: Scope, benches: Sequence[Bench], suite: Suite) -> BenchmarkResult:
    """What the ledger holds now, as numbers."""
    return BenchmarkResult(
        run_key=scope.run_key,
        seed=suite.seed_in(scope.run_key),
        shots=suite.shots,
        devices=tuple(bench.device for bench in benches),
        rows=tuple(row for bench in benches for row in _rows(bench)),
        batches={bench.device: bench.batch.id for bench in benches if bench.batch},
    )


def _rows(bench: Bench) -> list[Row]:
    found = bench.batch.stored() if bench.batch else None
    owner = owner_of_circuits(bench.batch.parts) if bench.batch else {}
    by_key = {job.key: job for job in _jobs(bench)}
    rows: list[Row] = []
    first = 0
    for block in bench.blocks:
        if block.metric in bench.skipped:
            rows.append(_blank(bench.device, block, Outcome.SKIPPED, bench.skipped[block.metric], []))
            continue
        places = range(first, first + len(block.circuits))
        first = places.stop
        if found is None:
            rows.append(_blank(bench.device, block, Outcome.FAILED, bench.error, []))
            continue
        keys = dict.fromkeys(owner[i].job_key for i in places)
        jobs = [by_key[key] for key in keys]
        missing = [found.errors[i] for i in places if i in found.errors]
        if missing:
            # for a job under way the bench may know why it could not be waited for
            why = bench.error if bench.error and missing[0].status in LIVE else missing[0].message
            note = f"{len(missing)} of {len(places)} circuits have no counts: {why}"
            rows.append(_blank(bench.device, block, Outcome.FAILED, note, jobs))
            continue
        items = [item for i in places if (item := found.results[i]) is not None]
        rows += _measured(bench.device, block, items, jobs)
    return rows


def _blank(device: str, block: Block, outcome: Outcome, note: str, jobs: Sequence[Job]) -> Row:
    return Row(
        device, block.metric, block.family, outcome, None, None, None, None, block.n, 0, True, *_named(jobs),
        _ended(jobs), note,
    )  # fmt: skip


def _named(jobs: Sequence[Job]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Vendors' ids and our keys."""
    return tuple(job.vendor_id for job in jobs if job.vendor_id), tuple(job.key for job in jobs)


def _measured(device: str, block: Block, items: Sequence[ItemResult], jobs: Sequence[Job]) -> list[Row]:
    ids, keys = _named(jobs)
    at = _ended(jobs)
    shortened = _shortened(block, items) if block.family == "mirror" else ""
    return [
        Row(
            device, one.metric, block.family, Outcome.MEASURED, one.value, one.std_error, one.threshold,
            None if shortened else one.passed, one.n, one.shots, one.is_headline, ids, keys, at,
            "; ".join(note for note in (shortened, one.note) if note),
            None if shortened else one.chance,
        )
        for one in block.read([Counts(item.counts or {}) for item in items])
    ]  # fmt: skip


def _shortened(block: Block, items: Sequence[ItemResult]) -> str:
    """A note if a compiler removed what a mirror circuit is there to measure, as far as the vendor reports it."""
    wanted = ran = 0
    for circuit, item in zip(block.circuits, items, strict=True):
        compiled = item.metadata.get("compiled") or {}
        if "gates" in compiled:
            wanted += to_program(circuit).n_two_qubit
            ran += sum(n for name, n in compiled["gates"].items() if STANDARD.get(name, (0, 0))[0] == 2)
    return f"not judged: the compiler kept {ran} of {wanted} two-qubit gates" if ran < wanted else ""


def _ended(jobs: Sequence[Job]) -> datetime | None:
    return max((job.timeline.finished for job in jobs if job.timeline.finished), default=None)


# -- reports


def value_text(row: Row) -> str:
    """`0.9812 ± 0.0031 pass`, or the outcome if there is no value."""
    if row.value is None or row.std_error is None:
        return row.outcome.value
    verdict = {True: " pass", False: " FAIL", None: ""}[row.passed]
    return f"{uncertain(row.value, row.std_error)}{verdict}"


def table(result: BenchmarkResult) -> tuple[list[dict[str, str]], list[str]]:
    """One row per device, one column per metric (bit order: all probes in one), and a note; with the columns' order."""
    others = [metric for metric in result.metrics if not metric.startswith("bit order")]
    columns = ["device", "bit order", *others, "note"]
    lines = []
    for device in result.devices:
        rows = [row for row in result.rows if row.device == device and row.is_headline]
        line = {"device": device, "bit order": _bit_order_text([row for row in rows if row.family == "bit order"])}
        line |= {row.metric: value_text(row) for row in rows if row.family != "bit order"}
        notes = [row.note for row in rows if row.outcome is not Outcome.MEASURED or row.passed is False]
        notes += [row.note for row in rows if row.note.startswith("not judged")]
        line["note"] = "; ".join(dict.fromkeys(note for note in notes if note))
        lines.append(line)
    return lines, columns


def _bit_order_text(rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row.passed is not None]
    if not judged:
        return rows[0].outcome.value
    wrong = [row.metric.removeprefix("bit order ") for row in judged if not row.passed]
    left_out = f", {len(rows) - len(judged)} not run" if len(judged) < len(rows) else ""
    verdict = f"FAIL: {', '.join(wrong)}" if wrong else "pass"
    return f"{verdict} ({len(judged) - len(wrong)}/{len(judged)}{left_out})"


def points(result: BenchmarkResult) -> tuple[list[tuple[str, float | None]], dict[str, list[Point | None]]]:
    """What the plot shows: (metric, threshold) groups, and one point per device and group; None without a value."""
    shown: list[tuple[str, float | None]] = []
    for metric in result.metrics:
        thresholds = [row.threshold for row in result.rows if row.metric == metric and row.threshold is not None]
        shown.append((metric, thresholds[0] if thresholds else None))
    by_place = {(row.device, row.metric): row for row in result.rows}
    series: dict[str, list[Point | None]] = {}
    for device in result.devices:
        series[device] = [_point(by_place.get((device, metric))) for metric, _ in shown]
    named = [("readout 1 - error" if metric == "readout error" else metric, limit) for metric, limit in shown]
    return named, series


def _point(row: Row | None) -> Point | None:
    if row is None or row.value is None or row.std_error is None:
        return None
    value = 1 - row.value if row.family == "readout" else row.value
    return Point(value, row.std_error, is_below=row.passed is False)
