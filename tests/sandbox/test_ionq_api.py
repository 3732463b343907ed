"""The IonQ API v0.4 of the sandbox on the wire: shapes, limits, paging, children, sessions, money."""

from __future__ import annotations

import uuid

import httpx
import pytest

from qflows.sandbox import Sandbox


def submit(client: httpx.Client, body: dict) -> str:
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def job(client: httpx.Client, job_id: str) -> dict:
    return client.get(f"/jobs/{job_id}").json()


def refused(answer: httpx.Response, status: int = 400, *keys: str) -> str:
    """The message of a refusal in the documented shape."""
    body = answer.json()
    assert (answer.status_code, body["statusCode"]) == (status, status), answer.text
    assert isinstance(body["error"], str)
    if keys:
        assert body["validation"] == {"source": "body", "keys": list(keys)}
    return body["message"]


# -- the job object ------------------------------------------------------------------------------------------------

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
    assert {str(outcome): shots.count(outcome) for outcome in set(shots)} == histogram
    assert sum(histogram.values()) == 50
    assert read["ionq.result.probabilities.json.v1"] == {k: n / 50 for k, n in histogram.items()}
    by_text = read["ionq.result.histogram.json.v2"]["histogram"]["registers"]["output_all"]
    assert by_text == {f"{int(outcome):02b}": count for outcome, count in histogram.items()}
    assert ionq.get(f"{found['results']['shots']['url'].removeprefix('/v0.4')}").json() == shots


def test_v2_bitstrings_turn_round_by_switch(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", v2_bitstring_order="qubit0_left")
    body = bell | {"input": {"gateset": "qis", "qubits": 3, "circuit": [{"gate": "x", "target": 0}]}}
    found = ionq.get(f"/jobs/{submit(ionq, body)}/artifacts/probabilities-v2").json()
    assert found == {"probabilities": {"registers": {"output_all": {"100": 1.0}}}}


def test_openqasm_shots_hold_bits_by_position(ionq, bell):
    text = (
        'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[2] c;\nqubit[2] q;\nx q[0];\nc[0] = measure q[0];\nreset q[0];\n'
    )
    body = bell | {"type": "ionq.qasm3.v1", "input": {"data": text}, "backend": "qpu.forte-1", "shots": 3}
    found = ionq.get(f"/jobs/{submit(ionq, body)}/artifacts/shots-v2").json()
    assert found == {"shots": [{"registers": {"c": [1, 0], "output_all": [1, 0]}}] * 3}


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


# -- what is refused -----------------------------------------------------------------------------------------------


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
        ({"shots": 10_001, "backend": "qpu.forte-1"}, ["shots"]),
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


# -- lists ---------------------------------------------------------------------------------------------------------


def pages(client: httpx.Client, **query: object) -> list[list[str]]:
    """Ids page by page, to the end."""
    found, cursor = [], None
    while True:
        body = client.get("/jobs", params=query | ({"next": cursor} if cursor else {})).json()
        found.append([entry["id"] for entry in body["jobs"]])
        cursor = body["next"]
        if cursor is None:
            return found


def test_list_pages_25_newest_first_to_the_end(ionq, bell):
    ids = [submit(ionq, bell) for _ in range(55)]
    found = pages(ionq)
    assert [len(page) for page in found] == [25, 25, 5]
    assert sum(found, []) == ids[::-1]


def test_list_order_turns_round_by_switch(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", list_order="oldest_first")
    ids = [submit(ionq, bell) for _ in range(30)]
    assert sum(pages(ionq), []) == ids


def test_job_submitted_while_paging_shifts_nothing(ionq, bell):
    ids = [submit(ionq, bell) for _ in range(30)]
    first = ionq.get("/jobs").json()
    submit(ionq, bell)
    second = ionq.get("/jobs", params={"next": first["next"]}).json()
    assert [entry["id"] for entry in first["jobs"] + second["jobs"]] == ids[::-1]


def test_limit_above_25_is_clamped_or_refused_by_switch(sandbox, ionq, bell):
    for _ in range(26):
        submit(ionq, bell)
    assert len(ionq.get("/jobs", params={"limit": 100}).json()["jobs"]) == 25
    assert len(ionq.get("/jobs", params={"limit": 3}).json()["jobs"]) == 3
    sandbox.admin.switches("ionq", page_overflow="refuse")
    refused(ionq.get("/jobs", params={"limit": 100}))


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"next": "???"}, {"status": "queued"}])
def test_bad_list_query_is_400(ionq, query):
    refused(ionq.get("/jobs", params=query))


def test_bulk_read_by_ids_leaves_missing_ones_out(ionq, bell):
    ids = [submit(ionq, bell) for _ in range(3)]
    body = ionq.get("/jobs", params={"ids": [*ids[:2], "missing"]}).json()
    assert {entry["id"] for entry in body["jobs"]} == set(ids[:2])
    assert {entry["status"] for entry in body["jobs"]} == {"completed"}


def test_list_filters_by_target_status_and_parent(sandbox, ionq, bell, pair):
    simulated, parent = submit(ionq, bell), submit(ionq, pair)
    on_qpu = submit(ionq, bell | {"backend": "qpu.forte-1"})
    sandbox.admin.clock("frozen")
    waiting = submit(ionq, bell)
    assert pages(ionq, target="qpu.forte-1") == [[on_qpu]]
    assert pages(ionq, target="qpu.forte-1,simulator") == [[waiting, on_qpu, parent, simulated]]
    assert pages(ionq, status="ready") == [[waiting]]
    assert pages(ionq, status="completed", target="simulator") == [[parent, simulated]]
    children = job(ionq, parent)["child_job_ids"]
    assert pages(ionq, parent_job_id=parent) == [children[::-1]]
    sandbox.admin.switches("ionq", list_children=True)
    assert set(pages(ionq)[0]) == {simulated, parent, on_qpu, waiting, *children}


# -- parents and children ------------------------------------------------------------------------------------------


def test_children_are_full_jobs_in_input_order(sandbox, ionq, pair):
    parent = job(ionq, submit(ionq, pair))
    children = [job(ionq, child) for child in parent["child_job_ids"]]
    assert [child["name"] for child in children] == ["bell", "x2"]
    assert {child["parent_job_id"] for child in children} == {parent["id"]}
    assert {child["type"] for child in children} == {"ionq.circuit.v1"}
    assert [child["metadata"] for child in children] == [None, None]
    aggregated = ionq.get(f"/jobs/{parent['id']}/results/probabilities/aggregated").json()
    assert list(aggregated) == parent["child_job_ids"]
    assert list(aggregated.values()) == [pytest.approx({"0": 0.5, "3": 0.5}), {"4": 1.0}]
    assert ionq.get(f"/jobs/{children[1]['id']}/results/probabilities").json() == {"4": 1.0}


def test_failed_child_fails_or_spares_its_parent_by_switch(sandbox, ionq, pair):
    pair["input"]["circuits"][1]["circuit"] = [{"gate": "foo", "target": 0}]
    seen = {}
    for choice in ("parent_failed", "parent_completed"):
        sandbox.admin.switches("ionq", partial_failure=choice)
        parent = job(ionq, submit(ionq, pair))
        statuses = [job(ionq, child)["status"] for child in parent["child_job_ids"]]
        assert statuses == ["completed", "failed"]
        seen[choice] = parent["status"]
        if choice == "parent_completed":
            good = ionq.get(f"/jobs/{parent['id']}/results/probabilities/aggregated").json()
            assert list(good) == parent["child_job_ids"][:1]
    assert seen == {"parent_failed": "failed", "parent_completed": "completed"}


def test_all_children_failed_fails_the_parent_whatever_the_switch(sandbox, ionq, pair):
    sandbox.admin.switches("ionq", partial_failure="parent_completed")
    sandbox.admin.fault("fail_job", "ionq.submit", children=[0, 1])
    assert job(ionq, submit(ionq, pair))["status"] == "failed"


def test_cancelling_a_parent_cancels_its_children(sandbox, ionq, pair):
    sandbox.admin.clock("frozen")
    parent = submit(ionq, pair)
    assert ionq.put(f"/jobs/{parent}/status/cancel").json() == {"id": parent, "status": "canceled"}
    found = job(ionq, parent)
    assert [found["status"], *(job(ionq, child)["status"] for child in found["child_job_ids"])] == ["canceled"] * 3


# -- cancel, delete, clone, move -----------------------------------------------------------------------------------


def test_cancel_of_a_finished_job_changes_nothing(ionq, bell):
    job_id = submit(ionq, bell)
    assert job(ionq, job_id)["status"] == "completed"
    assert ionq.put(f"/jobs/{job_id}/status/cancel").status_code == 200
    assert job(ionq, job_id)["status"] == "completed"


def test_cancelled_job_stays_cancelled_when_released(sandbox, ionq, bell):
    sandbox.admin.clock("frozen")
    ids = [submit(ionq, bell) for _ in range(2)]
    assert ionq.put("/jobs/status/cancel", json={"ids": ids}).json() == {"ids": ids, "status": "canceled"}
    sandbox.admin.release()
    assert [job(ionq, job_id)["status"] for job_id in ids] == ["canceled", "canceled"]


def test_cancel_of_a_running_job_can_be_ignored_by_switch(sandbox, ionq, bell):
    sandbox.admin.switches("ionq", cancel_running="ignore")
    sandbox.admin.clock("time:0,1000")
    job_id = submit(ionq, bell)
    assert job(ionq, job_id)["status"] == "started"
    ionq.put(f"/jobs/{job_id}/status/cancel")
    assert job(ionq, job_id)["status"] == "started"


def test_deleted_job_is_gone_from_the_api_but_was_bought(sandbox, ionq, bell):
    one, two = submit(ionq, bell), submit(ionq, bell)
    assert ionq.delete(f"/jobs/{one}").json() == {"id": one, "status": "deleted"}
    assert ionq.request("DELETE", "/jobs", json={"ids": [two]}).json() == {"ids": [two], "status": "deleted"}
    refused(ionq.get(f"/jobs/{one}"), 404)
    assert pages(ionq) == [[]]
    assert sandbox.admin.count_jobs() == 2


def test_clone_is_another_job_and_move_changes_the_project(sandbox, ionq, bell):
    job_id = submit(ionq, bell)
    clone = ionq.post(f"/jobs/{job_id}/clone")
    assert clone.status_code == 201
    assert job(ionq, clone.json()["id"])["metadata"] == bell["metadata"]
    assert ionq.post(f"/jobs/{job_id}/move", json={"project_id": "p2"}).status_code == 201
    assert job(ionq, job_id)["project_id"] == "p2"
    assert sandbox.admin.count_jobs() == 2


# -- sessions ------------------------------------------------------------------------------------------------------


def open_session(client: httpx.Client, **settings: object) -> dict:
    answer = client.post("/sessions", json={"backend": "qpu.forte-1", "settings": settings})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_session_goes_from_created_to_started_to_ended(ionq, bell):
    session = open_session(ionq, job_count_limit=3, duration_limit_min=10, cost_limit={"unit": "usd", "value": 100})
    assert (session["status"], session["active"]) == ("created", True)
    url = f"/sessions/{session['id']}"
    job_id = submit(ionq, bell | {"backend": "qpu.forte-1", "session_id": session["id"]})
    assert ionq.get(url).json()["status"] == "started"
    assert job(ionq, job_id)["session_id"] == session["id"]
    assert [entry["id"] for entry in ionq.get(url + "/jobs").json()["jobs"]] == [job_id]
    ended = ionq.post(url + "/end").json()
    assert (ended["status"], ended["active"]) == ("ended", False)
    assert ionq.post(url + "/end").json() == ended
    assert ionq.get("/sessions", params={"active": "true"}).json()["sessions"] == []


@pytest.mark.parametrize("limit", [{"job_count_limit": 1}, {"cost_limit": {"unit": "usd", "value": 5}}])
@pytest.mark.parametrize(("choice", "status"), [("refuse", "started"), ("end", "ended")])
def test_reached_limit_refuses_the_next_job(sandbox: Sandbox, ionq, bell, limit, choice, status):
    sandbox.admin.switches("ionq", session_limit=choice, session_ended_status=409)
    session = open_session(ionq, **limit)
    body = bell | {"backend": "qpu.forte-1", "session_id": session["id"]}
    submit(ionq, body)
    refused(ionq.post("/jobs", json=body), 409)
    assert ionq.get(f"/sessions/{session['id']}").json()["status"] == status


def test_session_ends_at_its_duration_and_refuses_jobs(sandbox, ionq, bell):
    session = open_session(ionq, duration_limit_min=10)
    sandbox.admin.advance(601)
    found = ionq.get(f"/sessions/{session['id']}").json()
    assert (found["status"], found["ended_at"]) == ("ended", session["settings"]["expires_at"])
    refused(ionq.post("/jobs", json=bell | {"backend": "qpu.forte-1", "session_id": session["id"]}), 400, "session_id")


def test_open_jobs_of_an_ended_session_are_kept_or_cancelled_by_switch(sandbox, ionq, bell):
    sandbox.admin.clock("frozen")
    statuses = {}
    for choice in ("keep", "cancel"):
        sandbox.admin.switches("ionq", session_end_jobs=choice)
        session = open_session(ionq)
        job_id = submit(ionq, bell | {"backend": "qpu.forte-1", "session_id": session["id"]})
        ionq.post(f"/sessions/{session['id']}/end")
        statuses[choice] = job(ionq, job_id)["status"]
    assert statuses == {"keep": "ready", "cancel": "canceled"}


def test_session_on_another_backend_and_unknown_session_are_refused(ionq, bell):
    session = open_session(ionq)
    refused(ionq.post("/jobs", json=bell | {"session_id": session["id"]}), 400, "session_id", "backend")
    refused(ionq.get("/sessions/nope"), 404)
    refused(ionq.post("/sessions", json={"backend": "simulator"}), 400, "backend")
    refused(ionq.post("/sessions", json={"backend": "qpu.forte-1", "settings": {"job_count_limit": 0}}), 400)


# -- backends and money --------------------------------------------------------------------------------------------


def test_backends_are_listed_with_the_width_of_the_switch(sandbox, ionq):
    sandbox.admin.switches("ionq", qpu_qubits=12)
    assert {entry["backend"]: entry["qubits"] for entry in ionq.get("/backends").json()} == {
        "simulator": 29,
        "qpu.forte-1": 12,
        "qpu.forte-enterprise-1": 12,
    }
    refused(ionq.get("/backends/qpu.qpu"), 404)


def test_characterization_matches_its_backend(sandbox, ionq):
    (found,) = ionq.get("/backends/qpu.forte-1/characterizations?limit=1").json()["characterizations"]
    assert found["id"] == ionq.get("/backends/qpu.forte-1").json()["characterization_id"]
    assert ionq.get(f"/backends/qpu.forte-1/characterizations/{found['id']}").json() == found
    assert ionq.get("/backends/simulator/characterizations").json()["characterizations"] == []
    sandbox.admin.switches("ionq", no_characterizations="null")
    assert ionq.get("/backends/simulator/characterizations").json()["characterizations"] is None


def test_estimate_equals_the_cost_of_the_job_it_describes(ionq, bell):
    query = {"backend": "qpu.forte-1", "1q_gates": 1, "2q_gates": 1, "shots": 10_000, "qubits": 2}
    estimate = ionq.get("/jobs/estimate", params=query).json()
    job_id = submit(ionq, bell | {"backend": "qpu.forte-1", "shots": 10_000})
    assert estimate["estimated_total_cost"] == ionq.get(f"/jobs/{job_id}/cost").json()["cost"]["value"] > 0
    assert ionq.get("/jobs/estimate", params={"backend": "simulator"}).json()["estimated_total_cost"] == 0


def test_whoami_gives_the_project_of_the_jobs(ionq, bell):
    assert ionq.get("/whoami").json()["project_id"] == job(ionq, submit(ionq, bell))["project_id"]
