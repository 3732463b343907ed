"""What the benchmark, the probe and the VQE leave in the ledger for later nights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from qflows.algorithms.vqe import solve, to_problem
from qflows.characterization import benchmarks, history
from qflows.characterization.benchmarks import BenchmarkResult, Suite
from qflows.core.client import Client
from qflows.core.devices import Vendors
from qflows.core.profiles import DeviceProfile
from qflows.core.scope import Scope, script_scope
from qflows.ledger import measurements, reads
from qflows.ledger.measurements import Measurement
from qflows.protocol import JobSpec, RawAnswer, VendorResult
from qflows.providers.local.adapter import LocalProvider
from qflows.settings import Settings

SMALL = Suite(shots=100, sizes=(3,), mirror_circuits=2)


@dataclass
class Calibrated(LocalProvider):
    """A vendor that tells its calibration with every result."""

    readout: float = 0.01
    asked: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "calibrated"

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        found = super().decode(raw, spec, key)
        return replace(found, metadata={"target": {"qubits": {"0": {"readout_error": self.readout}}}})


class DeskVendors(Vendors):
    """Knows `calibrated` beside the shipped devices."""

    vendor: Calibrated

    def profile(self, name: str) -> DeviceProfile | None:
        if name.startswith("calibrated"):
            return DeviceProfile(name=name, provider="calibrated", device="aer", max_programs=100)
        return super().profile(name)

    def provider(self, vendor: str, credentials_block: str | None = None) -> Any:
        return self.vendor if vendor == "calibrated" else super().provider(vendor, credentials_block)


class Desk(Client):
    """A client with that vendor."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.vendor = Calibrated()
        vendors = DeskVendors(lambda: self.ledger)
        vendors.vendor = self.vendor
        self.parts.vendors = vendors


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(Settings(home=tmp_path / "desk", poll_min_s=0.01))
    yield made
    made.ledger.close()


def measured(core: Client, *devices: str, run_key: str, suite: Suite = SMALL) -> BenchmarkResult:
    found = benchmarks.run(core, Scope(run_key, run_key, "test"), devices, suite, None)
    history.keep_benchmark(core, found, suite)
    return found


def named(core: Client, run_key: str) -> Mapping[str, Measurement]:
    return {one.name: one for one in measurements.of_run(core.ledger, run_key)}


def test_every_value_of_a_benchmark_is_kept_with_its_jobs(desk: Desk) -> None:
    result = measured(desk, "local-aer", run_key="night")
    kept = named(desk, "night")
    valued = [row for row in result.rows if row.value is not None]
    assert len(kept) == len(valued) == 4 + 7 + 3 + 1
    for row in valued:
        one = kept[row.metric]
        assert (one.value, one.std_error, one.shots, one.at) == (row.value, row.std_error, row.shots, row.at)
        assert reads.by_keys(desk.ledger, one.job_keys).keys() == set(one.job_keys) != set()
    assert {one.calibration for one in kept.values()} == {None}


def test_replay_of_the_run_writes_nothing_twice(desk: Desk) -> None:
    result = measured(desk, "local-aer", run_key="night")
    before = named(desk, "night")
    assert history.keep_benchmark(desk, result, SMALL) == 0
    measured(desk, "local-aer", run_key="night")
    assert named(desk, "night") == before


def test_calibration_of_the_night_is_kept_beside_the_values(desk: Desk) -> None:
    for night, readout in (("monday", 0.01), ("tuesday", 0.01), ("wednesday", 0.08)):
        desk.vendor.readout = readout
        measured(desk, "calibrated", run_key=night)
    found = {
        night: {one.calibration for one in named(desk, night).values()} for night in ("monday", "tuesday", "wednesday")
    }
    assert found["monday"] == found["tuesday"] != found["wednesday"]
    (digest,) = found["wednesday"]
    assert digest is not None
    assert measurements.snapshots(desk.ledger, [digest]) == {digest: {"qubits": {"0": {"readout_error": 0.08}}}}


@pytest.mark.parametrize(
    ("change", "is_comparable"),
    [
        (replace(SMALL, shots=300, seed=5), True),
        (replace(SMALL, mirror_layers=10), False),
        (replace(SMALL, mirror_circuits=3), False),
        (replace(SMALL, options={"local-aer": {"memory": True}}), False),
    ],
)
def test_only_what_was_measured_alike_is_one_series(desk: Desk, change: Suite, is_comparable: bool) -> None:
    measured(desk, "local-aer", run_key="one")
    measured(desk, "local-aer", run_key="two", suite=change)
    one, two = (named(desk, key)["mirror-3 polarisation"] for key in ("one", "two"))
    assert (one.series == two.series) is is_comparable


def test_values_of_a_probe_continue_those_of_a_benchmark(desk: Desk) -> None:
    measured(desk, "local-aer", run_key="night")
    probe = replace(SMALL, mirror_circuits=0, name="probe")
    measured(desk, "local-aer", run_key="hour", suite=probe)
    night, hour = named(desk, "night"), named(desk, "hour")
    assert set(night) - set(hour) == {"mirror-3 polarisation"}
    assert all(night[name].series == hour[name].series for name in hour)
    assert {one.suite for one in hour.values()} == {"probe"}


def energy(core: Client, run_key: str, shots: int | None) -> Sequence[Measurement]:
    found = solve(
        core, script_scope(run_key), to_problem("h2-0.735"), device="local-aer" if shots else "local-exact",
        shots=shots, max_evaluations=4, seed=1,
    )  # fmt: skip
    history.keep_energy(core, found, "local-aer" if shots else "local-exact")
    kept = measurements.of_run(core.ledger, run_key)
    if kept:
        assert (kept[0].value, kept[0].std_error) == (found.energy, found.std_error)
    return kept


def test_energy_that_was_measured_with_shots_is_kept(desk: Desk) -> None:
    (one,) = energy(desk, "vqe", 200)
    assert (one.name, one.unit, one.shots, len(one.job_keys)) == ("energy h2-0.735", "hartree", 200, 1)


def test_exact_energy_tells_nothing_of_a_device_and_is_not_kept(desk: Desk) -> None:
    assert energy(desk, "vqe", None) == []
