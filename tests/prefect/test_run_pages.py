"""The pages that flow runs leave: what happened and what to do next, and no markup of a vendor's making."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect import State, flow
from prefect_records import artifacts

from qflows import providers
from qflows.flows import run_circuits, sweep
from qflows.model import Job
from qflows.pages import run_page
from qflows.prefect import artifacts as made
from qflows.sandbox import Admin
from qflows.states import JobStatus

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"
HOSTILE = "broken [here](javascript:alert(1)) <script>x</script> ![i](http://evil.test/x.png)"
ONE = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
ZERO = ONE.replace("x q[0]", "id q[0]")


JOB = Job(
    key="k" * 64, run_key="r", label="", provider="ibm", account="a", device="ibm-fez", device_id="ibm_fez", shots=10,
    status=JobStatus.QUEUED, vendor_id="v)([x]", fence=1, epoch=0, ordinal=0, name="bell", tags={}, n_programs=1,
    created_at=datetime.now(UTC),
)  # fmt: skip


def left_by(state: State) -> dict[str, Any]:
    """Artifacts by type; the newest of each."""
    return {one.type: one.data for one in artifacts(str(state.state_details.flow_run_id))}


def test_page_of_a_sweep_says_what_is_missing_and_how_to_buy_only_that(
    ionq: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOWS_POSTS_AT_ONCE", "1")  # so that the second circuit is the one that is sent second
    ionq.fault("fail_job", "ionq.submit", skip=1, code="InvalidInput", message=HOSTILE)
    state = sweep([ONE, ZERO], DEVICE, 20, as_batch=False, partial=True, return_state=True)
    shown = left_by(state)
    page = shown["markdown"]
    assert "**1 of 2 circuits have results**" in page
    assert "`qflows batches rerun " in page
    assert "1 completed, 1 failed" in page
    assert page.count("](data:image/png;base64,iVBOR") == 1
    for text in (page, *json.loads(shown["table"])[1].values()):
        assert "](javascript" not in text
        assert not re.search(r"(?<!\\)<script", text)
        assert "](http://evil" not in text


def test_page_of_circuits_sums_up_jobs_cost_and_times(ionq: Admin) -> None:
    state = run_circuits([ONE, ZERO, ONE], DEVICE, 20, return_state=True)
    page = left_by(state)["markdown"]
    assert "**3 jobs**: 3 completed" in page
    assert "0 usd" in page
    assert "queued " in page
    assert "## To do" not in page


def test_progress_of_a_batch_is_one_artifact_however_often_the_run_starts_over(ionq: Admin) -> None:
    @flow
    def shows_twice() -> tuple[str, str, str]:
        first, again = (str(made.progress("batch-abc", "parts")) for _ in range(2))
        return first, again, str(made.progress("batch-xyz", "other parts"))

    first, again, other = shows_twice()
    assert first == again != other


def test_vendors_own_page_of_a_job_is_linked_but_never_for_an_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"token": "x", "instance": "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::"}
    for name in ("QISKIT_IBM_URL", "IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)
    real = providers.connect("ibm", secrets, timeout_s=5)
    assert real.job_page == "https://quantum.cloud.ibm.com/workloads?search={id}"
    assert providers.connect("ionq", {"api_key": "k"}, timeout_s=5).job_page
    assert (
        providers.connect("ionq", {"api_key": "k", "api_url": "http://127.0.0.1:9/v0.4"}, timeout_s=5).job_page is None
    )
    assert providers.connect("ibm", secrets | {"url": "http://127.0.0.1:9"}, timeout_s=5).job_page is None
    (row,) = run_page.job_section([JOB], {JOB.key: "https://console.test/?search=a%29b"})[0].splitlines()[2:]
    assert "[v\\)\\(\\[x\\]](https://console.test/?search=a%29b)" in row
