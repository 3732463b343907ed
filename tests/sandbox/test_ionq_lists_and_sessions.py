"""IonQ lists, parents and children, changes to jobs, sessions, backends and money on the wire."""

from __future__ import annotations

import httpx
import pytest

from qflows.sandbox import Sandbox

from .ionq_wire import job, refused, submit

# -- lists


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
    assert [job(ionq, one)["status"] for one in (simulated, parent, on_qpu)] == ["completed"] * 3
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


# -- parents and children


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


def test_children_may_be_named_in_another_order(sandbox, ionq, pair):
    sandbox.admin.switches("ionq", children_order="reversed")
    parent = job(ionq, submit(ionq, pair))
    assert [job(ionq, child)["name"] for child in parent["child_job_ids"]] == ["x2", "bell"]


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


# -- cancel, delete, clone, move


def test_cancel_of_a_finished_job_turns_its_status_or_nothing_by_switch(sandbox, ionq, bell):
    for choice, status in (("canceled", "canceled"), ("keep", "completed")):
        sandbox.admin.switches("ionq", cancel_finished=choice)
        job_id = submit(ionq, bell | {"backend": "qpu.forte-1"})
        assert job(ionq, job_id)["status"] == "completed"
        assert ionq.put(f"/jobs/{job_id}/status/cancel").status_code == 200
        assert job(ionq, job_id)["status"] == status
        assert ionq.get(f"/jobs/{job_id}/cost").json()["cost"]["value"] == 25.79  # it ran, and is billed


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


# -- sessions


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


def test_sessions_above_the_capacity_are_409(sandbox, ionq):
    sandbox.admin.switches("ionq", session_capacity=1)
    first = open_session(ionq)
    refused(ionq.post("/sessions", json={"backend": "qpu.forte-1"}), 409)
    ionq.post(f"/sessions/{first['id']}/end")
    open_session(ionq)


def test_sessions_of_another_project_are_not_there(ionq):
    session, other = open_session(ionq), {"Authorization": "apiKey other"}
    assert ionq.get("/sessions", headers=other).json()["sessions"] == []
    refused(ionq.get(f"/sessions/{session['id']}", headers=other), 404)
    refused(ionq.post(f"/sessions/{session['id']}/end", headers=other), 404)


def test_session_on_another_backend_and_unknown_session_are_refused(ionq, bell):
    session = open_session(ionq)
    refused(ionq.post("/jobs", json=bell | {"session_id": session["id"]}), 400, "session_id", "backend")
    refused(ionq.get("/sessions/nope"), 404)
    refused(ionq.post("/sessions", json={"backend": "simulator"}), 400, "backend")
    refused(ionq.post("/sessions", json={"backend": "qpu.forte-1", "settings": {"job_count_limit": 0}}), 400)


# -- backends and money


def test_backends_are_listed_with_the_width_of_the_switch(sandbox, ionq):
    sandbox.admin.switches("ionq", qpu_qubits=12)
    assert {entry["backend"]: (entry["qubits"], entry["status"]) for entry in ionq.get("/backends").json()} == {
        "simulator": (29, "available"),
        "qpu.forte-1": (12, "available"),
        "qpu.forte-enterprise-1": (12, "available"),
        "qpu.aria-1": (25, "retired"),
        "qpu.aria-2": (25, "retired"),
        "qpu.harmony": (11, "retired"),
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
    assert ionq.get("/jobs/estimate", params=query).json()["estimated_total_cost"] == 25.79  # mitigation is off there
    query["error_mitigation"] = "true"
    estimate = ionq.get("/jobs/estimate", params=query).json()
    job_id = submit(ionq, bell | {"backend": "qpu.forte-1", "shots": 10_000})
    assert estimate["estimated_total_cost"] == 168.20
    assert estimate["estimated_total_cost"] == ionq.get(f"/jobs/{job_id}/cost").json()["cost"]["value"] > 0
    assert ionq.get("/jobs/estimate", params={"backend": "simulator"}).json()["estimated_total_cost"] == 0


def test_whoami_gives_the_project_of_the_jobs(ionq, bell):
    assert ionq.get("/whoami").json()["project_id"] == job(ionq, submit(ionq, bell))["project_id"]
