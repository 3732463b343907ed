"""The probe: cheap, kept in the ledger, shown in the UI; and the report's series that it continues."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect_records import artifacts, flow_runs_named
from prefect_server import PrefectServer

from qflows.flows import probe
from qflows.ledger import measurements
from qflows.prefect.client import client
from qflows.sandbox import Admin


@pytest.mark.server
def test_probe_measures_keeps_and_shows_eleven_circuits_a_device(ionq: Admin, prefect_api: PrefectServer) -> None:
    arguments: dict[str, Any] = {"devices": ["local-aer", "ionq-simulator"], "shots": 60, "run_key": "hour"}
    result = probe(**arguments)
    assert {row.family for row in result.rows} == {"bit order", "readout", "ghz"}
    batch = client().batch(result.batches["ionq-simulator"])
    assert batch.n_circuits == 11
    bought = ionq.count_jobs("ionq")
    kept = measurements.of_run(client().ledger, "hour")
    assert len(kept) == len(result.rows) == 2 * (4 + 7 + 3)
    assert {one.suite for one in kept} == {"probe"}

    (run,) = flow_runs_named("probe of local-aer, ionq-simulator, 60 shots")
    shown = {one.key: one for one in artifacts(run.id)}
    assert [line["device"] for line in json.loads(str(shown["probe-table"].data))] == ["local-aer", "ionq-simulator"]
    assert "data:image/png" in str(shown["probe"].data)
    assert "mirror" not in str(shown["probe"].data)

    assert probe(**arguments).rows == result.rows
    assert ionq.count_jobs("ionq") == bought
    assert measurements.of_run(client().ledger, "hour") == kept
