"""IonQ jobs on the wire: the job object, its results, and what a submission is refused for."""

from __future__ import annotations

import uuid

import httpx
import pytest

from .ionq_wire import job, refused, submit

# -- the job object

REQUIRED = {
    "id",
    "status",
    "type",
    "backend",
    "dry_run",
    "submitter_id",
    "project_id",
    "parent_job_id",
    "child_job_ids",
    "session_id",
    "metadata",
    "name",
    "submitted_at",
    "started_at",
    "completed_at",
    "predicted_wait_time_ms",
    "predicted_execution_duration_ms",
    "execution_duration_ms",
    "failure",
    "output",
    "settings",
    "stats",
    "results",
}


@pytest.mark.parametrize("pace", ["instant", "frozen"])
def test_job_has_every_member_the_description_requires(sandbox, ionq, bell, pace):
    sandbox.admin.clock(pace)
    found = job(ionq, submit(ionq, bell))
    assert set(found) >= REQUIRED
    assert (found["results"] is None) == (pace == "frozen")
    assert found["stats"] == {"qubits": 2, "circuits": 1, "gate_counts": {"1q": 1, "2q": 1}}
    assert found["metadata"] == {"qflows_key": "k1"}


def test_submission_answers_201_with_status_submitted_and_a_request_id(ionq, bell):
    answer = ionq.post("/jobs", json=bell)
    assert answer.status_code == 201
    assert answer.json() == {"id": str(uuid.UUID(answer.json()["id"])), "status": "submitted", "session_id": None}
    assert uuid.UUID(answer.headers["x-request-id"])


def test_list_entry_is_the_job_without_its_children(ionq, pair):
    parent = submit(ionq, pair)
    full = job(ionq, parent)
    (entry,) = ionq.get("/jobs").json()["jobs"]
    assert entry == {name: value for name, value in full.items() if name != "child_job_ids"}


def test_ideal_simulator_ignores_shots_and_noise_model_samples(ionq, bell):
    ideal = job(ionq, submit(ionq, bell | {"shots": 3}))
    noisy = job(ionq, submit(ionq, bell | {"noise": {"model": "aria-1", "seed": 4}, "shots": 10}))
    assert ionq.get(f"/jobs/{ideal['id']}/results/probabilities").json() == pytest.approx({"0": 0.5, "3": 0.5})
    frequencies = ionq.get(f"/jobs/{noisy['id']}/results/probabilities").json()
    assert all(round(value * 10, 6) == int(round(value * 10)) for value in frequencies.values())
    assert (ideal["noise"], noisy["noise"]) == ({"model": "ideal"}, {"model": "aria-1"})


def test_same_noise_seed_gives_the_same_samples(ionq, bell):
    body = bell | {"noise": {"model": "aria-1", "seed": 4}}
    urls = [f"/jobs/{submit(ionq, body)}/results/probabilities" for _ in range(2)]
    assert ionq.get(urls[0]).json() == ionq.get(urls[1]).json()


def test_artifacts_agree_with_each_other(ionq, bell):
    found = job(ionq, submit(ionq, bell | {"backend": "qpu.forte-1", "shots": 50}))
    read = {
        name: ionq.get(f"/jobs/{found['id']}/artifacts/{entry['id']}").json()
        for name, entry in found["results"].items()
        if "format" in entry
    }
    histogram = read["ionq.result.histogram.json.v1"]
    shots = read["ionq.result.shots.json.v1"]
    assert {outcome: shots.count(outcome) for outcome in set(shots)} == histogram
    assert sum(histogram.values()) == 50
    assert read["ionq.result.probabilities.json.v1"] == {k: n / 50 for k, n in histogram.items()}
    by_text = read["ionq.result.histogram.json.v2"]["histogram"]["registers"]["output_all"]
    assert by_text == {f"{int(outcome):02b}"[::-1]: count for outcome, count in histogram.items()}
    assert ionq.get(f"{found['results']['shots']['url'].removeprefix('/v0.4')}").json() == [int(one) for one in shots]


def test_v2_bitstrings_turn_round_by_switch(sandbox, ionq, bell):
    body = bell | {"input": {"gateset": "qis", "qubits": 3, "circuit": [{"gate": "x", "target": 0}]}}
    for order, text in (("qubit0_left", "100"), ("qubit0_right", "001")):  # the first is the default
        found = ionq.get(f"/jobs/{submit(ionq, body)}/artifacts/probabilities-v2").json()
        assert found == {"probabilities": {"registers": {"output_all": {text: 1.0}}}}, order
        sandbox.admin.switches("ionq", v2_bitstring_order="qubit0_right")


EARLY = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[2] c;\nqubit[2] q;\nx q[0];\nc[0] = measure q[0];\nreset q[0];\n'
PINNED = {"compilation": {"service_version": "v0.4"}}


def early(bell: dict, shots: int, settings: dict) -> dict:
    kind = {"type": "ionq.qasm3.v1", "input": {"data": EARLY}, "backend": "qpu.forte-1"}
    return bell | kind | {"shots": shots, "settings": settings}


def test_openqasm_shots_hold_bits_by_position_if_the_service_is_pinned(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", qpu_mid_circuit=True, qpu_noise=False)
    found = ionq.get(f"/jobs/{submit(ionq, early(bell, 3, PINNED))}/artifacts/shots-v2").json()
    assert found == {"shots": [{"registers": {"c": [1, 0], "output_all": [1, 0]}}] * 3}
    flat = ionq.get(f"/jobs/{submit(ionq, early(bell, 3, {}))}/artifacts/shots-v2").json()
    assert flat == {"shots": [{"registers": {"output_all": [1, 0]}}] * 3}


def test_qpu_takes_no_mid_circuit_measurement_unless_switched_on_and_bills_nothing(ionq, bell):
    found = job(ionq, submit(ionq, early(bell, 3, PINNED)))
    assert (found["status"], found["failure"]["code"]) == ("failed", "PreflightError")
    assert ionq.get(f"/jobs/{found['id']}/cost").json()["cost"]["value"] == 0


def test_leaked_shots_of_a_qpu_come_beyond_those_asked_for(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", qpu_mid_circuit=True, leaked_share=0.1)
    shots = ionq.get(f"/jobs/{submit(ionq, early(bell, 50, PINNED))}/artifacts/shots-v2").json()["shots"]
    assert (len(shots), sum("leakage_bits" in shot for shot in shots)) == (55, 5)


@pytest.mark.parametrize(
    ("shots", "mitigation", "usd"),
    [
        (400, {}, 25.79),
        (500, {}, 168.20),
        (2000, {}, 168.20),
        (5000, {}, 284.32),
        (10_000, {}, 568.64),
        (2000, {"debiasing": False}, 113.73),
        (500, {"debiasing": False}, 28.43),
        (500, {"debias": False}, 168.20),
    ],
)
def test_job_costs_what_was_quoted_for_it(ionq, bell, shots, mitigation, usd):
    circuit = [{"gate": "h", "target": k % 8} for k in range(128)]
    circuit += [{"gate": "cnot", "control": k % 7, "target": 7} for k in range(32)]
    body = bell | {"backend": "qpu.forte-1", "shots": shots, "dry_run": True}
    body |= {"input": {"qubits": 8, "circuit": circuit}, "settings": {"error_mitigation": mitigation}}
    quote = ionq.get(f"/jobs/{submit(ionq, body)}/cost").json()
    assert quote["estimated_cost"] == {"value": usd, "unit": "usd"}
    native = {"gateset": "native", "qubits": 1, "circuit": [{"gate": "gpi", "target": 0, "phase": 0}]}
    assert ionq.get(f"/jobs/{submit(ionq, body | {'input': native})}/cost").json()["estimated_cost"]["value"] == 25.79


def test_cost_exists_when_the_job_is_over_and_never_on_the_simulator(sandbox, ionq, bell):
    sandbox.admin.clock("frozen")
    free, paid = submit(ionq, bell), submit(ionq, bell | {"backend": "qpu.forte-1"})
    assert ionq.get(f"/jobs/{free}/cost").json() == {"dry_run": False}
    refused(ionq.get(f"/jobs/{paid}/cost"), 404)


def test_unknown_members_are_ignored_so_target_means_the_simulator(sandbox, ionq, bell):
    body = {name: value for name, value in bell.items() if name != "backend"} | {"target": "qpu.forte-1"}
    assert job(ionq, submit(ionq, body))["backend"] == "simulator"
    sandbox.admin.switches("ionq", target_member="refuse")
    refused(ionq.post("/jobs", json=body), 400, "backend")


def test_forte_has_no_ms_gate(ionq, bell):
    native = {"gateset": "native", "qubits": 2, "circuit": [{"gate": "ms", "targets": [0, 1], "phases": [0, 0]}]}
    assert job(ionq, submit(ionq, bell | {"input": native}))["status"] == "completed"
    found = job(ionq, submit(ionq, bell | {"input": native, "backend": "qpu.forte-1"}))
    assert found["failure"]["code"] == "UnsupportedGate"


def test_sparse_completed_job_is_within_the_contract(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", sparse_completed=True)
    found = job(ionq, submit(ionq, bell | {"backend": "qpu.forte-1"}))
    assert [found[name] for name in ("status", "started_at", "completed_at", "stats")] == ["completed", None, None, {}]
    assert "noise" not in found
    assert "shots" not in job(ionq, submit(ionq, bell))


def test_rounded_probabilities_miss_one(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", probability_digits=3)
    circuit = [{"gate": "ry", "target": 0, "rotation": 1.0}, {"gate": "h", "target": 1}, {"gate": "h", "target": 2}]
    found = ionq.get(f"/jobs/{submit(ionq, bell | {'input': {'qubits': 3, 'circuit': circuit}})}/results/probabilities")
    assert set(found.json().values()) == {0.193, 0.057}


def test_budget_of_a_project_fails_the_job_above_it(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", quota_usd=60.0)
    found = [job(ionq, submit(ionq, bell | {"backend": "qpu.forte-1"})) for _ in range(3)]
    assert [one["status"] for one in found] == ["completed", "completed", "failed"]
    assert found[2]["failure"]["code"] == "QuotaExhaustedError"


# -- accounts


def with_key(key: str) -> dict:
    return {"headers": {"Authorization": f"apiKey {key}"}}


def test_a_project_sees_its_own_jobs_and_its_rotated_key_does_too(sandbox, ionq, bell):
    job_id = ionq.post("/jobs", json=bell, **with_key("lab.1")).json()["id"]
    for key, sees in (("lab.1", True), ("lab.2", True), ("lab", True), ("other", False)):
        mine = with_key(key)
        assert ionq.get(f"/jobs/{job_id}", **mine).status_code == (200 if sees else 404)
        assert len(ionq.get("/jobs", params={"ids": job_id}, **mine).json()["jobs"]) == sees
        assert len(ionq.get("/jobs", **mine).json()["jobs"]) == sees
    refused(ionq.put(f"/jobs/{job_id}/status/cancel", **with_key("other")), 404)
    sandbox.admin.switches("ionq", accounts="shared")
    shared = submit(ionq, bell)
    assert ionq.get(f"/jobs/{shared}", **with_key("other")).status_code == 200


def test_mistyped_key_is_401_where_the_known_ones_are_named(sandbox, ionq):
    sandbox.admin.switches("ionq", known_keys="lab.1,lab.2")
    refused(ionq.get("/jobs", **with_key("lab.3")), 401)
    assert ionq.get("/jobs", **with_key("lab.2")).status_code == 200


def test_unavailable_backend_says_so_and_may_refuse(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", unavailable="qpu.forte-1", unavailable_submit="refuse")
    assert ionq.get("/backends/qpu.forte-1").json()["status"] == "unavailable"
    refused(ionq.post("/jobs", json=bell | {"backend": "qpu.forte-1"}), 503)
    refused(ionq.post("/jobs", json=bell | {"backend": "qpu.aria-1"}), 400, "backend")
    assert sandbox.admin.count_jobs() == 0


def test_openqasm_on_the_ideal_simulator_has_no_shots_unless_switched_on(sandbox, ionq, bell):
    text = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[2] c;\nqubit[2] q;\nx q[1];\nc[1] = measure q[1];\n'
    job_id = submit(ionq, bell | {"type": "ionq.qasm3.v1", "input": {"data": text}})
    assert ionq.get(f"/jobs/{job_id}/results/probabilities").json() == {"2": 1.0}
    assert ionq.get(f"/jobs/{job_id}/artifacts/shots-v2").status_code == 404
    sandbox.admin.switches("ionq", qasm3_ideal_shots=True)
    assert len(ionq.get(f"/jobs/{job_id}/artifacts/shots-v2").json()["shots"]) == 100


@pytest.mark.parametrize(
    ("profile", "has_urls", "has_formats"), [("both", True, True), ("spec", False, True), ("legacy", True, False)]
)
def test_result_profile_decides_the_descriptors(sandbox, ionq, bell, profile, has_urls, has_formats):
    sandbox.admin.switches("ionq", result_profile=profile)
    results = job(ionq, submit(ionq, bell))["results"]
    assert any("url" in entry for entry in results.values()) == has_urls
    assert any("format" in entry for entry in results.values()) == has_formats


def test_results_are_404_before_completion_and_for_another_kind_of_job(sandbox, ionq, bell, pair):
    sandbox.admin.clock("frozen")
    waiting = submit(ionq, bell)
    refused(ionq.get(f"/jobs/{waiting}/results/probabilities"), 404)
    sandbox.admin.clock("instant")
    refused(ionq.get(f"/jobs/{submit(ionq, pair)}/results/probabilities"), 404)
    refused(ionq.get(f"/jobs/{submit(ionq, bell)}/results/shots"), 404)
    refused(ionq.get(f"/jobs/{submit(ionq, bell)}/artifacts/nope"), 404)


def test_dry_run_checks_and_prices_without_results(ionq, bell):
    good = job(ionq, submit(ionq, bell | {"dry_run": True, "backend": "qpu.forte-1"}))
    assert (good["status"], good["results"], good["dry_run"]) == ("completed", None, True)
    cost = ionq.get(f"/jobs/{good['id']}/cost").json()
    assert cost["cost"]["value"] == 0
    assert cost["estimated_cost"]["value"] > 0
    bad = bell | {"dry_run": True, "input": {"gateset": "qis", "qubits": 2, "circuit": [{"gate": "foo", "target": 0}]}}
    assert job(ionq, submit(ionq, bad))["failure"]["code"] == "UnsupportedGate"


# -- what is refused


def test_missing_key_is_401_except_for_backends(sandbox):
    with httpx.Client(base_url=sandbox.url + "/v0.4", trust_env=False) as stranger:
        assert stranger.get("/backends").status_code == stranger.get("/backends/simulator").status_code == 200
        for path in ("/jobs", "/whoami", "/sessions", "/jobs/x"):
            refused(stranger.get(path), 401)
        refused(stranger.get("/jobs", headers={"Authorization": "Bearer x"}), 401)


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"type": None}, ["type"]),
        ({"type": "quantum-function"}, ["type"]),
        ({"backend": "qpu.qpu"}, ["backend"]),
        ({"shots": 0}, ["shots"]),
        ({"shots": 1_000_001}, ["shots"]),
        ({"shots": "100"}, ["shots"]),
        ({"shots": 1_000_001, "backend": "qpu.forte-1"}, ["shots"]),
        ({"noise": {"model": "nope"}}, ["noise"]),
        ({"noise": {"model": "ideal"}, "backend": "qpu.forte-1"}, ["noise"]),
        ({"metadata": {"n": 1}}, ["metadata"]),
        ({"name": 7}, ["name"]),
        ({"input": []}, ["input"]),
        ({"input": {"gateset": "qis", "qubits": 2}}, ["input"]),
        ({"input": {"gateset": "odd", "qubits": 2, "circuit": []}}, ["input"]),
        ({"input": {"gateset": "qis", "qubits": 2, "circuit": [{"targets": [0]}]}}, ["input"]),
        ({"settings": {"error_mitigation": {"debiasing": True}}}, ["settings", "shots"]),
        ({"session_id": "nope"}, ["session_id"]),
        ({"dry_run": "yes"}, ["dry_run"]),
    ],
)
def test_bad_submission_is_400_naming_the_member(sandbox, ionq, bell, change, keys):
    refused(ionq.post("/jobs", json=bell | change), 400, *keys)
    assert sandbox.admin.count_jobs() == 0


def test_multi_circuit_limits_are_enforced(ionq, pair):
    gate = {"gate": "x", "target": 0}
    for circuits, message in (
        ([{"circuit": []}] * 5001, "5000"),
        ([{"circuit": [gate] * 75_001}] * 2, "150000"),
        ([], "5000"),
    ):
        body = pair | {"input": {"gateset": "qis", "qubits": 1, "circuits": circuits}}
        assert message in refused(ionq.post("/jobs", json=body))
    both = pair["input"] | {"circuit": []}
    refused(ionq.post("/jobs", json=pair | {"input": both}), 400, "input")


def test_body_over_10_megabytes_is_413(sandbox, ionq, bell):
    refused(ionq.post("/jobs", json=bell | {"name": "x" * 10_000_001}), 413)
    assert sandbox.admin.count_jobs() == 0


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b'{"a":' * 80 + b"1" + b"}" * 80, b"\xff\xfe", b"7", b""])
def test_malformed_body_is_400(ionq, content):
    refused(ionq.post("/jobs", content=content))


def test_unknown_path_and_method_have_the_documented_shape(ionq):
    refused(ionq.get("/nope"), 404)
    refused(ionq.patch("/jobs"), 405)
    refused(ionq.get("/jobs/nope"), 404)


@pytest.mark.parametrize(
    ("circuit", "code"),
    [
        ([{"gate": "foo", "target": 0}], "UnsupportedGate"),
        ([{"gate": "x", "target": 5}], "NotEnoughQubits"),
        ([{"gate": "h", "targets": list(range(25))}], "NotEnoughQubits"),
    ],
)
def test_circuit_that_cannot_run_fails_its_job(ionq, bell, circuit, code):
    qubits = 29 if len(circuit[0].get("targets", [])) > 2 else 2
    found = job(ionq, submit(ionq, bell | {"input": {"gateset": "qis", "qubits": qubits, "circuit": circuit}}))
    assert found["status"] == "failed"
    assert found["failure"]["code"] == code
    assert found["failure"]["message"] == found["failure"]["error"]
    assert found["results"] is None


def test_strictness_beyond_the_clients_habits_is_a_switch(sandbox, ionq, bell):
    habits = bell | {"noise": {"model": "ideal", "seed": None}}
    submit(ionq, habits)
    sandbox.admin.switches("ionq", strict_input=True)
    refused(ionq.post("/jobs", json=habits), 400, "noise")
    refused(ionq.post("/jobs", json=bell | {"colour": "red"}), 400, "colour")


def test_metadata_limits_of_old_pages_are_a_switch(sandbox, ionq, bell):
    many = bell | {"metadata": {f"k{i}": "v" for i in range(11)}}
    submit(ionq, many)
    sandbox.admin.switches("ionq", metadata_limits="v0.3")
    refused(ionq.post("/jobs", json=many), 400, "metadata")


def test_rate_limit_switch_answers_429_with_retry_after(sandbox, ionq):
    sandbox.admin.switches("ionq", requests_per_s=2.0)
    answers = [ionq.get("/whoami") for _ in range(5)]
    assert answers[0].status_code == 200
    assert refused(answers[-1], 429)
    assert int(answers[-1].headers["Retry-After"]) >= 1
