"""The report as a flow: a page in the UI, files on the worker, and what only the Prefect server knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect_records import artifacts, flow_runs_named, until
from prefect_server import PrefectServer

from qflows.flows import probe, report
from qflows.flows.reporting import failed_runs

pytestmark = pytest.mark.server


@pytest.mark.usefixtures("own_ledger", "prefect_api")
def test_flow_publishes_a_page_and_writes_files(tmp_path: Path) -> None:
    probe(["local-aer"], shots=50, run_key="hour")
    name = f"boom-{uuid4().hex[:8]}"

    @flow(name=name, flow_run_name=name)
    def boom() -> None:
        raise ValueError("the fridge is warm")

    with pytest.raises(ValueError, match="fridge"):
        boom()
    until(lambda: flow_runs_named(name)[0].end_time)
    found = report(since="2h", folder=str(tmp_path / "out"))
    assert {one["name"] for one in found["quantities"]} >= {"ghz-3 fidelity", "readout error"}
    assert name in {one["name"] for one in found["failed_flow_runs"]}
    run = max(flow_runs_named("report of the last 2h"), key=lambda one: one.created)  # pyright: ignore
    [page] = [one for one in artifacts(run.id) if one.key == "morning-report"]
    body: Any = page.data
    assert "the fridge is warm" in body
    assert "](data:image/png;base64," in body
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == found


def test_server_that_is_out_of_reach_leaves_the_report_without_its_runs(
    prefect_api: PrefectServer, caplog: pytest.LogCaptureFixture
) -> None:
    from datetime import UTC, datetime, timedelta

    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    now = datetime.now(UTC)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        assert failed_runs(now - timedelta(hours=1), now) == []
    assert "did not say which flow runs failed" in caplog.text
