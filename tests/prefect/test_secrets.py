"""A vendor's key goes to the vendor and nowhere else: not to Prefect's database, logs, artifacts, or the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployed_flows import BELL
from prefect import flow
from prefect.logging.handlers import APILogWorker
from prefect_records import artifacts, flow_run, task_runs
from prefect_server import PrefectServer

import qflows
from qflows.flows import run_circuits
from qflows.sandbox import Admin

pytestmark = pytest.mark.server

CANARY = "canary-7b21-secret-e04d"


def _files_with(secret: str, *roots: Path) -> list[str]:
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    return [path.name for path in files if secret.encode() in path.read_bytes()]


def test_vendor_key_is_found_nowhere_but_at_the_vendor(
    prefect_api: PrefectServer,
    ionq: Admin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IONQ_API_KEY", CANARY)
    ionq.fault("status", "ionq.get", status=401, times=1, message=f"key {CANARY} has expired")
    ionq.fault("status", "ionq.list", status=503, times=1, message=f"busy; your key is {CANARY}")
    ionq.fault("fail_job", "ionq.submit", skip=2, message="broken on purpose")
    ionq.fault("status", "ionq.submit", skip=3, times=1, status=400, message=f"bad request by {CANARY}")

    @flow
    def refused() -> None:
        qflows.run(BELL, device="ionq-simulator", shots=33)

    good = run_circuits([BELL, BELL], "ionq-simulator", 20, return_state=True)
    failed = run_circuits([BELL], "ionq-simulator", 21, partial=True, return_state=True)
    third = refused(return_state=True)
    assert good.is_completed()
    assert third.is_failed()
    ids = [str(one.state_details.flow_run_id) for one in (good, failed, third)]
    APILogWorker.drain_all(timeout=10)
    for run_id in ids:
        task_runs(run_id)  # all is recorded
        shown = [flow_run(run_id).model_dump_json(), *(one.model_dump_json() for one in artifacts(run_id))]
        assert not [text for text in shown if CANARY in text]
    assert CANARY not in str(third.result(raise_on_failure=False))
    assert CANARY not in caplog.text
    assert CANARY not in "".join(capsys.readouterr())
    assert _files_with(CANARY, prefect_api.home, tmp_path) == []
