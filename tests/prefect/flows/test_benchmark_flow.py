"""The suite on devices: ideal, noisy, emulated, mis-wired, narrow and broken ones, side by side."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from prefect_records import artifacts, flow_runs_named, task_runs
from prefect_server import PrefectServer
from typer.testing import CliRunner

from qflows.characterization import benchmarks
from qflows.characterization.benchmarks import BenchmarkResult, Outcome, Suite
from qflows.cli.app import app
from qflows.core.client import Client
from qflows.core.devices import Vendors
from qflows.core.profiles import DeviceProfile
from qflows.core.scope import Scope
from qflows.errors import JobFailed, NotSent, ProgramRejected, Refused
from qflows.flows import benchmark
from qflows.model import Counts, ItemResult
from qflows.protocol import Accepted, JobSpec, Observation, Prepared, RawAnswer, VendorResult
from qflows.providers.local.adapter import LocalProvider
from qflows.providers.local.simulate import snapshot
from qflows.sandbox import Admin
from qflows.settings import Settings

SMALL = Suite(shots=200, sizes=(3,), mirror_circuits=2)
PNG = b"\x89PNG"


@dataclass
class Acme(LocalProvider):
    """A vendor with devices of its own character: `behaviour` names what goes wrong on it."""

    behaviour: str
    diary: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.behaviour

    def send(self, prepared: Prepared) -> Accepted:
        self.diary.append(f"submit {self.name}")
        if self.behaviour == "refusing":
            raise Refused("refusing takes no jobs from [you](http://evil)", provider=self.name)
        if self.behaviour == "unreachable":
            raise NotSent("unreachable does not answer", provider=self.name, retry_after_s=0.05)
        return super().send(prepared)

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        self.diary.append(f"poll {self.name}")
        return super().poll(vendor_ids)

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        found = super().decode(raw, spec, key)
        return replace(found, items=tuple(self.item(item, place) for place, item in enumerate(found.items)))

    def item(self, item: ItemResult, place: int) -> ItemResult:
        """What becomes of one circuit's counts on the way."""
        if self.behaviour == "swapping" and item.counts:
            # the mistake to be caught: bits in reverse, registers where they were
            moved: Counts = Counts()
            for key, times in item.counts.items():
                letters = iter(key.replace(" ", "")[::-1])
                moved["".join(letter if letter == " " else next(letters) for letter in key)] = times
            return replace(item, counts=moved, probabilities=None)
        if self.behaviour == "shortening":
            return replace(item, metadata={"compiled": {"gates": {"cz": 0, "rz": 9}}})
        return item


class DeskVendors(Vendors):
    """Knows devices `acme-<behaviour>` beside the shipped ones, and `narrow-<n>` with n qubits."""

    diary: list[str]
    acme: dict[str, Acme]

    def profile(self, name: str) -> DeviceProfile | None:
        kind, _, what = name.partition("-")
        if kind == "acme":
            return DeviceProfile(name=name, provider=what, device="exact", max_programs=100)
        if kind == "narrow":
            return DeviceProfile(name=name, provider="local", device="exact", qubits=int(what), max_programs=100)
        return super().profile(name)

    def provider(self, vendor: str, credentials_block: str | None = None) -> Any:
        if vendor in ("swapping", "refusing", "unreachable", "shortening"):
            return self.acme.setdefault(vendor, Acme(vendor, self.diary))
        return super().provider(vendor, credentials_block)


class Desk(Client):
    """A client with those vendors."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.diary: list[str] = []
        vendors = DeskVendors(lambda: self.ledger)
        vendors.diary, vendors.acme = self.diary, {}
        self.parts.vendors = vendors


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(Settings(home=tmp_path / "desk", settle_s=0.2, poll_min_s=0.01))
    yield made
    made.ledger.close()


def measured(
    core: Client,
    *devices: str,
    run_key: str = "b",
    attempt: str = "1",
    timeout: float | None = None,
    suite: Suite = SMALL,
) -> BenchmarkResult:
    return benchmarks.run(core, Scope(run_key, attempt, "test"), devices, suite, timeout)


def outcomes(result: BenchmarkResult, device: str) -> set[Outcome]:
    return {row.outcome for row in result.rows if row.device == device}


# -- values


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchmarkResult]:
    """Everything on an exact, an ideal and a noisy simulator."""
    core = Client(Settings(home=tmp_path_factory.mktemp("comparison")))
    yield measured(core, "local-exact", "local-aer", "local-noisy", suite=Suite(), run_key="comparison")
    core.ledger.close()


@pytest.mark.parametrize("device", ["local-exact", "local-aer"])
def test_ideal_device_is_within_four_sigma_of_ideal_everywhere(comparison: BenchmarkResult, device: str) -> None:
    for metric in comparison.metrics:
        row = comparison.row(device, metric)
        assert row.value is not None
        assert row.std_error is not None
        assert abs(row.value - (metric != "readout error")) < 4 * row.std_error, row
        assert row.passed is (None if metric == "readout error" else True)


def test_noisy_device_is_below_ideal_and_above_every_threshold(comparison: BenchmarkResult) -> None:
    for metric in comparison.metrics:
        row = comparison.row("local-noisy", metric)
        assert row.value is not None
        assert row.std_error is not None
        if metric == "readout error":
            assert 4 * row.std_error < row.value < 0.1
        else:
            assert row.passed is True
            assert row.value < 1 - 4 * row.std_error


def test_readout_errors_are_those_of_the_device_snapshot(comparison: BenchmarkResult) -> None:
    target = snapshot("manila").target
    for qubit in range(5):
        rows = [comparison.row("local-noisy", f"readout p({1 - bit}|{bit}) q{qubit}") for bit in (0, 1)]
        value = sum(row.value or 0 for row in rows) / 2
        sigma = sum((row.std_error or 0) ** 2 for row in rows) ** 0.5 / 2
        # preparing the 1 and relaxing before readout add a little
        assert value == pytest.approx(target["measure"][(qubit,)].error, abs=4 * sigma + 0.005)


def test_result_is_plain_json_with_formulas_and_sources(comparison: BenchmarkResult) -> None:
    body = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert len(body["rows"]) == len(comparison.rows) == 3 * (9 + 10 + 4)  # headlines, readout per qubit, GHZ halves
    row = next(one for one in body["rows"] if one["metric"] == "ghz-5 fidelity" and one["device"] == "local-noisy")
    assert (row["n"], row["shots"], row["unit"], row["threshold"], len(row["job_ids"])) == (5, 7000, "1", 0.5, 1)
    assert row["at"].endswith("+00:00")
    assert set(body["methods"]) == {row["family"] for row in body["rows"]}
    assert "arXiv:2008.11294" in body["methods"]["mirror"]["source"]


# -- devices that are not what they should be


def test_device_that_swaps_bits_fails_visibly(desk: Desk) -> None:
    result = measured(desk, "local-exact", "acme-swapping")
    rows = [row for row in result.rows if row.device == "acme-swapping" and row.family == "bit order"]
    assert [row.passed for row in rows] == [False, False, True, False]  # 010 is its own mirror image
    assert rows[1].note == "read 100 where 001 was prepared, with the bits reversed"
    lines, _ = benchmarks.table(result)
    assert lines[1]["bit order"] == "FAIL: 01, 001, registers (1/4)"
    assert "read 100 where 001 was prepared" in lines[1]["note"]
    assert list(result.wrong_bit_order) == ["acme-swapping"]
    assert lines[0]["bit order"] == "pass (4/4)"
    assert result.row("acme-swapping", "ghz-3 fidelity").passed is True  # why GHZ alone proves nothing


def test_device_that_refuses_leaves_the_others_whole(desk: Desk) -> None:
    result = measured(desk, "acme-refusing", "local-exact", "no-such-device")
    assert outcomes(result, "local-exact") == {Outcome.MEASURED}
    assert outcomes(result, "acme-refusing") == outcomes(result, "no-such-device") == {Outcome.FAILED}
    assert "takes no jobs" in result.failed_devices["acme-refusing"]
    assert "no device 'no-such-device'" in result.failed_devices["no-such-device"]
    lines, _ = benchmarks.table(result)
    assert "takes no jobs" in lines[0]["note"]


def test_device_out_of_reach_costs_the_others_nothing_but_the_deadline(desk: Desk) -> None:
    result = measured(desk, "acme-unreachable", "local-exact", timeout=1.5)
    assert outcomes(result, "local-exact") == {Outcome.MEASURED}
    assert outcomes(result, "acme-unreachable") == {Outcome.FAILED}


def test_narrow_device_skips_what_it_cannot_run_and_says_so(desk: Desk) -> None:
    result = measured(desk, "narrow-3", "narrow-2", suite=replace(SMALL, sizes=(3, 5)))
    skipped = {row.metric: row.note for row in result.rows if row.device == "narrow-3" and row.value is None}
    assert set(skipped) == {"ghz-5 fidelity", "mirror-5 polarisation"}
    assert all("5 qubits" in note for note in skipped.values())
    assert result.row("narrow-3", "readout error").n == 3
    assert result.row("narrow-2", "bit order 01").passed is True
    assert result.row("narrow-2", "bit order 001").outcome is Outcome.SKIPPED
    lines, _ = benchmarks.table(result)
    assert lines[1]["bit order"] == "pass (1/1, 3 not run)"
    assert result.failed_devices == {}


def test_device_with_too_few_shots_skips_everything_and_buys_nothing(desk: Desk) -> None:
    result = measured(desk, "local-exact", suite=replace(SMALL, shots=20_000_000))
    assert outcomes(result, "local-exact") == {Outcome.SKIPPED}
    assert result.batches == {}


def test_mirror_circuits_that_a_compiler_shortened_are_not_judged(desk: Desk) -> None:
    row = measured(desk, "acme-shortening").row("acme-shortening", "mirror-3 polarisation")
    assert row.passed is None
    assert row.note.startswith("not judged: the compiler kept 0 of ")


def test_lists_that_make_no_sense_are_rejected_before_anything_is_bought(desk: Desk) -> None:
    with pytest.raises(ProgramRejected, match="pass the devices"):
        measured(desk)
    with pytest.raises(ProgramRejected, match="local-aer"):
        measured(desk, "local-exact", suite=replace(SMALL, options={"local-aer": {}}))


# -- buying


def test_every_device_has_its_jobs_before_any_is_waited_for(desk: Desk) -> None:
    measured(desk, "acme-swapping", "acme-shortening")
    assert desk.diary[:2] == ["submit swapping", "submit shortening"]
    assert set(desk.diary[2:]) == {"poll swapping", "poll shortening"}


@pytest.fixture
def emulated(ionq: Admin, tmp_path: Path) -> Iterator[Client]:
    """A client whose `ionq-simulator` is the sandbox."""
    made = Client(Settings(home=tmp_path / "emulated", settle_s=0.2, poll_min_s=0.01))
    yield made
    made.ledger.close()


def test_emulated_vendor_passes_and_a_second_start_buys_nothing(emulated: Client, ionq: Admin) -> None:
    first = measured(emulated, "ionq-simulator", "local-aer")
    assert outcomes(first, "ionq-simulator") == {Outcome.MEASURED}
    assert all(row.passed in (True, None) for row in first.rows)
    bought = ionq.count_jobs("ionq")
    assert bought == len(emulated.batch(first.batches["ionq-simulator"]).parts)

    again = measured(emulated, "ionq-simulator", "local-aer", attempt="2")
    assert again == first
    assert ionq.count_jobs("ionq") == bought
    assert measured(emulated, "ionq-simulator", run_key="another").seed != first.seed
    assert ionq.count_jobs("ionq") == 2 * bought


def test_jobs_that_are_queued_at_the_deadline_are_found_later(emulated: Client, ionq: Admin) -> None:
    ionq.clock("frozen")
    early = measured(emulated, "ionq-simulator", "local-aer", timeout=0.5)
    assert outcomes(early, "ionq-simulator") == {Outcome.FAILED}
    assert outcomes(early, "local-aer") == {Outcome.MEASURED}
    assert "queued" in early.failed_devices["ionq-simulator"]
    bought = ionq.count_jobs("ionq")
    ionq.clock("instant")
    late = measured(emulated, "ionq-simulator", "local-aer", attempt="2")
    assert outcomes(late, "ionq-simulator") == {Outcome.MEASURED}
    assert ionq.count_jobs("ionq") == bought


# -- as a flow and as a command


@pytest.mark.server
def test_flow_shows_one_table_one_plot_and_one_task_a_device(ionq: Admin, prefect_api: PrefectServer) -> None:
    arguments: dict[str, Any] = {"shots": 200, "sizes": (3,), "mirror_circuits": 2, "run_key": "flow"}
    name = "benchmark of local-aer, ionq-simulator, gone, 200 shots"
    result = benchmark(["local-aer", "ionq-simulator", "gone"], **arguments)
    assert outcomes(result, "ionq-simulator") == outcomes(result, "local-aer") == {Outcome.MEASURED}
    assert outcomes(result, "gone") == {Outcome.FAILED}
    (run,) = flow_runs_named(name)
    assert run.state is not None
    assert run.state.is_completed()
    tasks = sorted(one.name for one in task_runs(run.id))
    assert tasks == ["submit suite on ionq-simulator", "submit suite on local-aer"]

    shown = {one.key: one for one in artifacts(run.id)}
    table = json.loads(shown["benchmark-table"].data)  # pyright: ignore[reportArgumentType]
    assert [line["device"] for line in table] == ["local-aer", "ionq-simulator", "gone"]
    assert table[0]["bit order"].startswith("pass")
    page = str(shown["benchmark"].data)
    image = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert image is not None
    assert base64.b64decode(image[1]).startswith(PNG)
    assert "Proctor" in page

    bought = ionq.count_jobs("ionq")
    assert benchmark(["local-aer", "ionq-simulator", "gone"], **arguments).rows == result.rows
    assert ionq.count_jobs("ionq") == bought


@pytest.mark.server
@pytest.mark.usefixtures("own_ledger", "prefect_api")
def test_flow_fails_when_no_device_gives_a_value() -> None:
    with pytest.raises(JobFailed, match="no device gave a value; gone: no device 'gone'"):
        benchmark(["gone"], shots=100)


Command = Callable[..., Any]


@pytest.fixture
def command(own_ledger: dict[str, str]) -> Command:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["benchmark", "--no-flow", "--shots", "100", "--size", "3", *arguments])

    return run


def test_command_prints_a_table_and_writes_the_plot(command: Command, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    done = command("--device", "local-aer", "--device", "local-exact", "--plot", str(plot), "--run-key", "c")
    assert done.exit_code == 0, done.output
    assert "ghz-3 fidelity" in done.stdout
    assert "run key c" in done.stdout
    assert plot.read_bytes().startswith(PNG)


def test_command_prints_json_and_leaves_with_1_when_a_device_failed(command: Command) -> None:
    done = command("--device", "local-aer", "--device", "gone", "--json")
    assert done.exit_code == 1
    rows = json.loads(done.stdout)["rows"]
    assert {row["outcome"] for row in rows if row["device"] == "gone"} == {"failed"}
    assert {row["outcome"] for row in rows if row["device"] == "local-aer"} == {"measured"}
    assert "gone" in done.stderr
