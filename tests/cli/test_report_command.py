"""`qflows report`, and the nights that `qflows benchmark` leaves for it."""

from __future__ import annotations

import json
from pathlib import Path

from qflows.ledger import Ledger
from qflows.ledger.measurements import of_run


def test_report_of_an_empty_ledger_says_that_nothing_ran(qflows) -> None:
    said = qflows("report")
    assert said.code == 0
    assert said.out.startswith("Nothing ran in this period, and nothing needs your attention.")
    assert qflows("report", "--json").json()["jobs"] == []


def test_report_tells_a_benchmark_and_writes_files(qflows, tmp_path: Path) -> None:
    done = qflows(
        "benchmark", "--device", "local-aer", "--shots", "50", "--size", "3", "--run-key", "night", "--no-flow"
    )
    assert done.code == 0, done.err
    said = qflows("report", "--since", "2h", "--out", str(tmp_path / "reports"))
    assert said.code == 0
    assert "ghz-3 fidelity" in said.out
    assert "0 of 7 earlier values" in said.out
    assert str(tmp_path / "reports" / "report.html") in said.out
    assert "data:image/png" in (tmp_path / "reports" / "report.html").read_text()
    kept = json.loads((tmp_path / "reports" / "report.json").read_text())["quantities"]
    assert {one["run_key"] for one in kept} == {"night"}
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert len(of_run(ledger, "night")) > len(kept)
    ledger.close()


def test_vqe_with_shots_is_told_with_its_unit(qflows) -> None:
    arguments = ("--device", "local-aer", "--shots", "100", "--max-evaluations", "3", "--no-flow")
    assert qflows("vqe", "h2-0.735", *arguments).code == 0
    assert "hartree" in qflows("report").out


def test_time_that_cannot_be_read_is_bad_input(qflows) -> None:
    said = qflows("report", "--since", "yesterday")
    assert said.code == 2
    assert "7d" in said.err
