"""The flows of docs/examples run as they are, on a real Prefect server against the emulators."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect_server import PrefectServer, answer_runs_of

import qflows
from qflows.cli.budgets import put_in_force
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def of(name: str) -> dict[str, Any]:
    """The names of an example."""
    return runpy.run_path(str(EXAMPLES / name), run_name="example")


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'of("{path.name}")' not in source] == []


def test_the_nightly_benchmark_gives_its_headlines(own_ledger: dict[str, str]) -> None:
    found = of("nightly_benchmark.py")["nightly_benchmark"](["local-noisy"], shots=100)
    assert found
    assert all(0 <= value <= 1 for value in found.values())


def test_a_changed_document_buys_only_what_is_new(ionq: Admin, tmp_path: Path) -> None:
    flow = of("sweep_by_yaml.py")["sweep_by_yaml"]
    document = yaml.safe_load((EXAMPLES / "sweep.yaml").read_text()) | {"shots": 200}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(document))
    rows = flow(str(tmp_path / "sweep.yaml"))
    assert [round(value) for _, value, _ in (rows[0], rows[4], rows[8])] == [1, -1, 1]
    bought = ionq.count_jobs("ionq")
    assert flow(str(tmp_path / "sweep.yaml")) == rows
    assert ionq.count_jobs("ionq") == bought
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(document | {"shots": 300}))
    flow(str(tmp_path / "sweep.yaml"))
    assert ionq.count_jobs("ionq") > bought
    (tmp_path / "sweep.yaml").write_text("name: x\n")
    with pytest.raises(ValueError, match="wanted the keys"):
        flow(str(tmp_path / "sweep.yaml"))


def test_the_mapped_flow_buys_a_job_a_circuit(ionq: Admin) -> None:
    found = of("mapped_flow.py")["error_per_pair"]("ionq-simulator", shots=100)
    assert found == {0: 0, 1: 0, 5: 0, 10: 0, 20: 0}  # the emulator is ideal
    assert ionq.count_jobs("ionq") == 5


def test_a_person_approves_the_second_circuit(ionq: Admin, prefect_server: PrefectServer) -> None:
    put_in_force([EXAMPLES / "budget.yaml"])
    answer_runs_of(prefect_server, "careful", verdict="approve", who="eve", why="the last point")
    first, second = of("approval.py")["careful"]()  # of an emulated QPU, with its noise
    assert (max(first, key=first.__getitem__), max(second, key=second.__getitem__)) == ("01", "10")
    assert ionq.count_jobs("ionq") == 2


def test_the_next_device_is_asked_after_a_verified_cancel(ionq: Admin, own_ledger: dict[str, str]) -> None:
    ionq.clock("frozen")
    counts = of("fallback.py")["first_of"](["ionq-simulator", "local-aer"], shots=100, patience=0.5)
    assert set(counts) == {"00", "11"}
    assert ionq.count_jobs("ionq") == 1
    assert [job.status.value for job in qflows.jobs(device="ionq-simulator")] == ["CANCELLED"]


def test_deployments_name_flows_that_are_there() -> None:
    found = yaml.safe_load((EXAMPLES / "prefect.yaml").read_text())["deployments"]
    for one in found:
        file, _, name = one["entrypoint"].partition(":")
        assert hasattr(of(file)[name], "serve")
