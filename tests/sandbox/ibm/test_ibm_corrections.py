"""What IBM does and no document said: shapes and words captured on real accounts in 2026."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from ibm_client import bell, flip, isa, sampler
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.exceptions import IBMRuntimeError, RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator as ExecutorEstimator
from qiskit_ibm_runtime.executor_sampler import Sampler as ExecutorSampler

from qflows.sandbox import Sandbox

OPEN = (
    "crn:v1:bluemix:public:quantum-computing:us-east:a/00000000000000000000000000000000:"
    "00000003-0000-4000-8000-000000000000::"
)


def client_of(ibm: Sandbox, key: str = "k", crn: str | None = None) -> httpx.Client:
    """A bare client with the token of an API key."""
    form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": key}
    token = httpx.post(f"{ibm.url}/iam/identity/token", data=form, trust_env=False).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Service-CRN": crn or ibm.env["QISKIT_IBM_INSTANCE"]}
    return httpx.Client(base_url=f"{ibm.url}/api/v1", headers=headers, trust_env=False, timeout=20)


@pytest.fixture
def bare(ibm: Sandbox) -> Iterator[httpx.Client]:
    with client_of(ibm) as client:
        yield client


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["errors"][0]["code"])


def job(**members: Any) -> dict[str, Any]:
    """A submission whose circuit nobody can read."""
    circuit = {"__type__": "QuantumCircuit", "__value__": "AAAA"}
    params = {"pubs": [[circuit, None, 10]], "version": 2, "support_qiskit": True}
    return {"program_id": "sampler", "backend": "ibm_manila", "params": params} | members


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_bad_program_is_accepted_fails_later_and_is_charged(bare: httpx.Client) -> None:
    job_id = bare.post("/jobs", json=job()).raise_for_status().json()["id"]
    body = bare.get(f"/jobs/{job_id}").json()
    assert (body["state"]["status"], body["state"]["reason_code"]) == ("Failed", 1506)
    assert body["usage"] == {"qpu_charge_time_seconds": 2, "status": "complete"}


def test_circuit_of_another_device_is_accepted_and_fails_with_1517(quiet, ibm, service, backend) -> None:
    wide = QuantumCircuit(2, 2)
    wide.ecr(0, 1)
    wide.measure([0, 1], [0, 1])
    accepted = sampler(backend)
    accepted.options.experimental = {}
    from qiskit.primitives.containers.sampler_pub import SamplerPub

    body = {"pubs": [SamplerPub.coerce((wide,), 5)], "options": {}, "version": 2, "support_qiskit": True}
    made = service._run(program_id="sampler", inputs=body, options={"backend": backend})
    with pytest.raises(RuntimeJobFailureError, match="1517"):
        made.result()
    assert made.usage() == 2


@pytest.mark.parametrize("inner", ["if_else", "measure", "reset"])
def test_branch_with_a_branch_a_measurement_or_a_reset_fails_as_the_guide_says(
    quiet, service, backend, inner: str
) -> None:
    """Guide "Execute dynamic circuits", Qiskit Runtime limitations. IBM's client sends all three."""
    circuit = QuantumCircuit(2, 2)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[0], 0)):
        if inner == "measure":
            circuit.measure(1, 1)
        elif inner == "reset":
            circuit.reset(1)
        else:
            with circuit.if_test((circuit.clbits[1], 0)):
                circuit.x(1)
    circuit.measure(1, 1)
    made = sampler(backend).run([isa(circuit, backend)], shots=5)
    with pytest.raises(RuntimeJobFailureError, match=f"1517.*{inner} inside of a conditional"):
        made.result()
    assert made.usage() == 2
    alone = QuantumCircuit(2, 2)
    alone.measure([0, 1], [0, 1])
    with alone.if_test((alone.cregs[0], 0)):
        alone.x(1)
    alone.measure(1, 1)
    found = sampler(backend).run([isa(alone, backend)], shots=50).result()[0].data.c.get_counts()
    assert found["10"] > 25


def test_branch_on_a_qubit_that_nothing_measures_runs(quiet, service, backend) -> None:
    circuit = QuantumCircuit(2, 3)
    with circuit.if_test((circuit.cregs[0], 0)):
        circuit.rz(0.1, 0)
    circuit.x(1)
    circuit.measure(1, 1)
    made = sampler(backend).run([isa(circuit, backend)], shots=50).result()[0].data.c.get_counts()
    assert made == {"010": 50}


def test_retired_device_takes_no_job_and_is_not_listed(bare: httpx.Client) -> None:
    assert code_of(bare.post("/jobs", json=job(backend="ibm_torino"))) == (404, "1007")
    assert "ibm_torino" not in {one["name"] for one in bare.get("/backends").json()["devices"]}


def test_tags_in_brackets_are_ignored_and_an_empty_id_is_a_page(ibm: Sandbox, bare: httpx.Client) -> None:
    ibm.admin.clock("frozen")
    for tag in ("a", "b"):
        bare.post("/jobs", json=job(tags=[tag])).raise_for_status()
    assert bare.get("/jobs", params={"tags": "a"}).json()["count"] == 1
    assert bare.get("/jobs", params={"tags[]": "a"}).json()["count"] == 2
    page = bare.get("/jobs/")
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert bare.get("/backends/ibm_fez/defaults").json() is None


def test_cancel_shows_late_and_a_cancelled_job_has_no_result(ibm: Sandbox, bare: httpx.Client) -> None:
    ibm.admin.clock("frozen")
    ibm.admin.switches("ibm", cancel_lag_s=15.0)
    job_id = bare.post("/jobs", json=job()).json()["id"]
    assert bare.post(f"/jobs/{job_id}/cancel").status_code == 204
    assert bare.get(f"/jobs/{job_id}").json()["state"]["status"] == "Queued"
    ibm.admin.advance(16)
    assert bare.get(f"/jobs/{job_id}").json()["state"]["status"] == "Cancelled"
    assert bare.get(f"/jobs/{job_id}/results").status_code == 204


@pytest.mark.parametrize(("allowed", "status"), [(False, 400), (True, 204)])
def test_deleting_a_queued_job_is_a_switch(ibm: Sandbox, bare: httpx.Client, allowed: bool, status: int) -> None:
    ibm.admin.clock("frozen")
    ibm.admin.switches("ibm", delete_queued=allowed)
    job_id = bare.post("/jobs", json=job()).json()["id"]
    assert bare.delete(f"/jobs/{job_id}").status_code == status


def test_limit_stamped_by_the_plan(ibm: Sandbox, bare: httpx.Client) -> None:
    ibm.admin.clock("frozen")
    costs = []
    for client in (bare, client_of(ibm, crn=OPEN)):
        job_id = client.post("/jobs", json=job()).json()["id"]
        costs.append(client.get(f"/jobs/{job_id}").json()["cost"])
    assert costs == [10_800, 600]


def qasm(body: str, qubits: int = 2) -> str:
    return f'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[{qubits}] q;\nbit[{qubits}] c;\n{body}\n'


def ended(bare: httpx.Client, **members: Any) -> tuple[str, int | None, int]:
    """Status word, reason code and charged seconds of a job that was accepted."""
    job_id = bare.post("/jobs", json=job(**members)).raise_for_status().json()["id"]
    body = bare.get(f"/jobs/{job_id}").json()
    return body["state"]["status"], body["state"].get("reason_code"), body["usage"]["qpu_charge_time_seconds"]


def test_openqasm_runs_and_a_bad_one_is_accepted_and_fails_with_1603(ibm: Sandbox, bare: httpx.Client) -> None:
    good = qasm("x $0; c[0] = measure $0;").replace("qubit[2] q;\n", "")
    assert ended(bare, params={"pubs": [[good, None, 10]], "version": 2})[0] == "Completed"
    bad = {"pubs": [[qasm("nonsense q[0];"), None, 10]], "version": 2}
    assert ended(bare, params=bad) == ("Failed", 1603, 2)
    ibm.admin.switches("ibm", bad_qasm_charge_s=0)
    assert ended(bare, params=bad) == ("Failed", 1603, 0)


@pytest.mark.parametrize("label", ["ZZZ", "Z", "ZQ"])
def test_observable_that_does_not_fit_is_accepted_and_fails_with_1501(bare: httpx.Client, label: str) -> None:
    pub = [qasm("x q[0];"), [{label: 1.0}], None, 0.1]
    status, code, _ = ended(bare, program_id="estimator", params={"pubs": [pub], "version": 2})
    assert (status, code) == ("Failed", 1501)


@pytest.mark.parametrize(
    ("program", "options", "level", "code"),
    [
        ("sampler", {"twirling": {"enable_gates": True}}, None, 1519),
        ("sampler", {}, None, None),
        ("estimator", {}, 2, 1519),
        ("estimator", {"resilience": {"pec_mitigation": True}}, 1, 1519),
        ("estimator", {}, 1, None),
    ],
)
def test_fractional_gates_with_twirled_ones_are_accepted_and_fail_with_1519(
    quiet, ibm: Sandbox, bare: httpx.Client, program: str, options: dict[str, Any], level: int | None, code: int | None
) -> None:
    pub = [fractional(0.3), None, 10] if program == "sampler" else [fractional(0.3), [{"ZZ": 1.0}], None, 0.1]
    params = {"pubs": [pub], "options": options, "version": 2} | ({} if level is None else {"resilience_level": level})
    assert ended(bare, program_id=program, backend="ibm_kingston", params=params)[1] == code


def test_angle_outside_of_what_rzz_takes_fails_the_job(quiet, bare: httpx.Client) -> None:
    for angle, status in ((1.5, "Completed"), (-0.1, "Failed"), (1.6, "Failed")):
        params = {"pubs": [[fractional(angle), None, 10]], "version": 2}
        assert ended(bare, backend="ibm_kingston", params=params)[0] == status


def fractional(angle: float) -> dict[str, str]:
    """A circuit with rzz, packed as the client does it."""
    import base64
    import io
    import zlib

    from qiskit import qpy

    circuit = QuantumCircuit(2, 2)
    circuit.rzz(angle, 0, 1)
    circuit.measure([0, 1], [0, 1])
    packed = io.BytesIO()
    qpy.dump(circuit, packed, version=15)
    return {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(packed.getvalue())).decode()}


def test_program_that_is_not_played_says_so(ibm: Sandbox, service: Any, backend: Any, bare: httpx.Client) -> None:
    answer = bare.post("/jobs", json=job(program_id="noise-learner"))
    assert answer.status_code == 501
    assert "does not" in answer.json()["errors"][0]["message"]
    from qiskit_ibm_runtime.noise_learner import NoiseLearner

    with pytest.warns(DeprecationWarning, match="NoiseLearner"):
        learner = NoiseLearner(backend)
    with pytest.raises(IBMRuntimeError, match="noise-learner; this sandbox does not"):
        learner.run([isa(bell(), backend)])
    assert ibm.admin.count_jobs("ibm") == 0


# -- who asks ----------------------------------------------------------------------------------------------------------


def test_every_key_can_be_an_account_of_its_own(ibm: Sandbox) -> None:
    ibm.admin.clock("frozen")
    ibm.admin.switches("ibm", accounts_per_key=True)
    found = {}
    for key in ("ann", "bob"):
        with client_of(ibm, key) as client:
            query = {"query": "service_name:quantum-computing"}
            items = client.post(f"{ibm.url}/search/v3/resources/search", json=query).json()["items"]
            found[key] = items[0]["crn"]
    assert found["ann"] != found["bob"]
    with client_of(ibm, "ann", found["ann"]) as ann, client_of(ibm, "bob", found["bob"]) as bob:
        job_id = ann.post("/jobs", json=job()).json()["id"]
        assert code_of(bob.get(f"/jobs/{job_id}"))[0] == 404
        assert bob.get("/jobs").json()["count"] == 0
    with client_of(ibm, "bob", found["ann"]) as thief:
        assert code_of(thief.get("/jobs")) == (403, "1200")


def test_key_that_iam_does_not_know_gets_no_token(ibm: Sandbox) -> None:
    ibm.admin.switches("ibm", known_keys="right,other")
    form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey"}
    url = f"{ibm.url}/iam/identity/token"
    for key, status in (("right", 200), ("rihgt", 400)):
        answer = httpx.post(url, data=form | {"apikey": key}, trust_env=False)
        assert answer.status_code == status
    assert answer.json()["errorCode"] == "BXNIM0415E"


def test_lists_can_be_of_the_identity_alone(ibm: Sandbox) -> None:
    ibm.admin.clock("frozen")
    ibm.admin.switches("ibm", job_list="own")
    with client_of(ibm, "ann") as ann, client_of(ibm, "bob") as bob:
        ann.post("/jobs", json=job()).raise_for_status()
        assert (ann.get("/jobs").json()["count"], bob.get("/jobs").json()["count"]) == (1, 0)


def test_wrong_region_and_no_user_agent(ibm: Sandbox, bare: httpx.Client) -> None:
    ibm.admin.switches("ibm", host_region="eu-de")
    assert code_of(bare.get("/jobs")) == (404, "1279")
    ibm.admin.switches("ibm", host_region="us-east")
    bare.headers.pop("user-agent")
    assert bare.get("/jobs").status_code == 403


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_open_plan_has_no_dedicated_sessions_and_a_wrong_mode_is_a_5xx(ibm: Sandbox, bare: httpx.Client) -> None:
    wanted = {"mode": "dedicated", "backend": "ibm_manila"}
    with client_of(ibm, crn=OPEN) as poor:
        assert code_of(poor.post("/sessions", json=wanted))[1] == "1352"
        assert poor.post("/sessions", json=wanted | {"mode": "batch"}).status_code == 200
    assert bare.post("/sessions", json=wanted | {"mode": "sometimes"}).status_code == 500


def test_empty_batch_that_is_closed_stays_closed_whatever_it_says(bare: httpx.Client) -> None:
    made = bare.post("/sessions", json={"mode": "batch", "backend": "ibm_manila"}).json()
    assert (made["state"], made["state_reason"]) == ("open", "session_created")
    assert "created_at" not in made
    for accepting in (False, True):
        bare.patch(f"/sessions/{made['id']}", json={"accepting_jobs": accepting}).raise_for_status()
        now = bare.get(f"/sessions/{made['id']}").json()
        assert (now["state"], now["accepting_jobs"]) == ("closed", accepting)
    assert now["state_reason"] == "session_closed_early"


def test_dedicated_session_without_jobs_ends_after_half_an_hour(ibm: Sandbox, bare: httpx.Client) -> None:
    made = bare.post("/sessions", json={"mode": "dedicated", "backend": "ibm_manila"}).json()
    ibm.admin.advance(1790)
    assert bare.get(f"/sessions/{made['id']}").json()["state"] == "open"
    ibm.admin.advance(11)
    assert bare.get(f"/sessions/{made['id']}").json()["state"] == "closed"


# -- results -----------------------------------------------------------------------------------------------------------


def test_readout_signals_have_the_level_that_was_asked_for(quiet, backend) -> None:
    for level, shape in (("kerneled", (20, 2)), ("avg_kerneled", (2,))):
        wanted = sampler(backend, execution={"meas_type": level})
        data = wanted.run([isa(flip(2, 0), backend)], shots=20).result()[0].data.meas
        assert (data.shape, data.dtype.kind) == (shape, "c")
        mean = data.mean(axis=0) if level == "kerneled" else data
        assert (np.sign(mean.real) == [1, -1]).all()


def test_client_that_decodes_for_itself_gets_plain_samples(quiet, ibm, service, backend, bare) -> None:
    from qiskit.primitives.containers.sampler_pub import SamplerPub

    body = {"pubs": [SamplerPub.coerce((isa(flip(3, 2), backend),), 4)], "options": {}, "version": 2}
    made = service._run(program_id="sampler", inputs=body, options={"backend": backend})
    bare.get(f"/jobs/{made.job_id()}")
    result = bare.get(f"/jobs/{made.job_id()}/results").json()
    assert result["results"][0]["data"]["meas"] == {"samples": ["0x4"] * 4, "num_bits": 3}


@pytest.mark.parametrize("name", ["ibm_kingston", "ibm_phoenix"])
def test_executor_jobs_over_all_qubits_of_a_wide_device_run(quiet, service, name) -> None:
    backend = service.backend(name)
    circuit = QuantumCircuit(backend.num_qubits)
    circuit.x(range(0, backend.num_qubits, 2))
    circuit.measure_all()
    meas = ExecutorSampler(mode=backend).run([circuit], shots=8).result()[0].data.meas
    (key,) = meas.get_counts()
    assert key[::-1] == "10" * (backend.num_qubits // 2)
    compiled = isa(bell(), backend)
    zz = SparsePauliOp("ZZ").apply_layout(compiled.layout)
    value = ExecutorEstimator(mode=backend).run([(compiled, zz)], precision=0.05).result()[0].data.evs
    assert float(value) == pytest.approx(1.0, abs=0.3)
