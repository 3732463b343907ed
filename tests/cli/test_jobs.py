"""`qflows jobs`: list, show, cancel, resolve."""

from __future__ import annotations

import pytest

from qflows.sandbox import Admin


@pytest.fixture
def queued(qflows, bell, ionq: Admin) -> str:
    """Key of a job that waits at the vendor."""
    ionq.clock("frozen")
    assert qflows("run", bell, "--device", "ionq-simulator", "--timeout", "0").code == 3
    return qflows("jobs", "ls", "--json").json()[0]["key"]


@pytest.fixture
def in_doubt(qflows, bell, ionq: Admin) -> str:
    """Key of a job that the vendor accepted without saying so."""
    ionq.fault("status", "ionq.submit", status=502, accepted=True)
    ionq.fault("status", "ionq.list", status=503, times=2)  # the one look of a deadline of zero finds out nothing
    assert qflows("run", bell, "--device", "ionq-simulator", "--timeout", "0").code == 3
    [job] = qflows("jobs", "ls", "--status", "in_doubt", "--json").json()
    return job["key"]


def test_empty_ledger_says_what_to_do(qflows) -> None:
    said = qflows("jobs", "ls")
    assert (said.code, "qflows run" in said.out) == (0, True)
    assert qflows("jobs", "ls", "--json").json() == []


def test_list_is_narrowed_by_run_status_and_device(qflows, bell, queued: str) -> None:
    qflows("run", bell, "--run-key", "local one")
    assert len(qflows("jobs", "ls", "--json").json()) == 2
    assert [job["key"] for job in qflows("jobs", "ls", "--status", "queued", "--json").json()] == [queued]
    assert [job["run_key"] for job in qflows("jobs", "ls", "--device", "local-aer", "--json").json()] == ["local one"]
    assert len(qflows("jobs", "ls", "--run-key", "local one", "--json").json()) == 1
    assert len(qflows("jobs", "ls", "--limit", "1", "--json").json()) == 1
    table = qflows("jobs", "ls").out
    assert queued[:12] in table
    assert "QUEUED" in table


def test_show_finds_by_prefix_and_vendor_id_and_has_history_and_counts(qflows, bell) -> None:
    [one] = qflows("run", bell, "--shots", "64", "--json").json()["results"]
    by_prefix = qflows("jobs", "show", one["job"][:9], "--json").json()
    assert by_prefix == qflows("jobs", "show", one["vendor_id"], "--json").json()
    assert by_prefix["results"][0]["counts"] == one["counts"]
    said = qflows("jobs", "show", one["job"][:9])
    assert one["job"] in said.out
    assert "COMPLETED" in said.out
    assert "result 0" in said.out


def test_show_begins_with_what_is_asked_first_and_cuts_what_is_long(qflows, ionq: Admin, tmp_path) -> None:
    files = []
    for n in range(9):
        wide = 6 if n else 1
        text = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{wide}]; creg c[{wide}]; h q; measure q -> c;'
        files.append(str(tmp_path / f"circuit-with-a-rather-long-name-{n}.qasm"))
        (tmp_path / files[-1]).write_text(text)
    assert qflows("batches", "run", *files, "--device", "ionq-simulator", "--shots", "400").code == 0
    [job] = qflows("jobs", "ls", "--json").json()
    said = qflows("jobs", "show", job["key"][:12]).out.splitlines()
    heads = [line[:10].strip() for line in said]
    assert heads[:7] == ["status", "device", "when", "cost", "run", "circuits", "result 0"]
    assert said[0].split()[1] == "COMPLETED"
    assert "400 shots" in said[1]
    assert "0 usd" in said[3]
    assert max(map(len, said)) <= 122
    assert any("and 3 more results" in line for line in said)
    assert "--full" in said[-1]
    whole = qflows("jobs", "show", job["key"][:12], "--full").out
    assert "result 8" in whole
    assert "circuit-with-a-rather-long-name-8" in whole
    assert "--full" not in whole
    body = qflows("jobs", "show", job["key"], "--json").json()
    assert [one["qubits"] for one in body["circuits"]] == [1] + [6] * 8
    assert len(body["results"]) == 9
    assert body["provenance"]["submission"]["versions"]["qflows"]


def test_unknown_job_exits_2_and_points_to_the_list(qflows) -> None:
    said = qflows("jobs", "show", "0123456789")
    assert said.code == 2
    assert "jobs ls" in said.err


def test_cancel_is_verified_at_the_vendor(qflows, queued: str, ionq: Admin) -> None:
    said = qflows("jobs", "cancel", queued[:10])
    assert said.code == 0
    assert "CANCELLED" in said.out
    assert [job["phase"] for job in ionq.jobs("ionq")] == ["cancelled"]


def test_cancel_of_a_finished_job_says_too_late(qflows, queued: str, ionq: Admin) -> None:
    ionq.clock("instant")
    ionq.release()
    said = qflows("jobs", "cancel", queued)
    assert said.code == 0
    assert "too late" in said.out
    assert qflows("jobs", "show", queued, "--json").json()["status"] == "COMPLETED"


def test_doubt_is_ended_by_a_persons_word_that_the_vendor_has_it(qflows, in_doubt: str, ionq: Admin) -> None:
    [job] = ionq.jobs("ionq")
    said = qflows("jobs", "resolve", in_doubt, "--submitted", job["id"])
    assert said.code == 0
    assert f"is QUEUED as {job['id']}" in said.out
    assert qflows("jobs", "cancel", in_doubt).code == 0  # the id is good: the vendor knows it
    assert ionq.count_jobs("ionq") == 1


def test_doubt_is_ended_by_a_persons_word_that_nothing_is_there(qflows, in_doubt: str) -> None:
    said = qflows("jobs", "resolve", in_doubt, "--absent")
    assert said.code == 0
    assert "is PREPARED" in said.out


def test_resolve_wants_exactly_one_word(qflows, in_doubt: str) -> None:
    assert qflows("jobs", "resolve", in_doubt).code == 2
    assert qflows("jobs", "resolve", in_doubt, "--absent", "--submitted", "x").code == 2


def test_resolve_of_a_job_that_is_not_in_doubt_is_refused(qflows, queued: str) -> None:
    said = qflows("jobs", "resolve", queued, "--absent")
    assert said.code not in (0, None)
    assert "Traceback" not in said.err
    assert qflows("jobs", "show", queued, "--json").json()["status"] == "QUEUED"


def test_status_and_show_say_that_a_doubtful_job_cannot_be_looked_up_now(qflows, bell, ionq: Admin) -> None:
    ionq.fault("drop_after", "ionq.submit")
    ionq.fault("status", "ionq.list", status=429, retry_after=120, message="slow down", times=None)
    assert qflows("run", bell, "--device", "ionq-simulator", "--timeout", "0").code == 3
    (told,) = qflows("status", "--json").json()["in_doubt"]
    assert "next look-up not before" in told["why"]
    assert "ionq asks for fewer requests" in told["why"]
    shown = qflows("jobs", "show", told["job"]).out
    assert "look-up  not before" in shown
    qflows("jobs", "resolve", told["job"], "--absent")
    assert "look-up" not in qflows("jobs", "show", told["job"]).out


def test_show_says_why_a_finished_job_has_no_counts_yet(qflows, bell, ionq: Admin) -> None:
    ionq.fault("status", "ionq.results", status=503, times=None)
    said = qflows("run", bell, "--device", "ionq-simulator", "--timeout", "3")
    assert said.code == 3
    [job] = qflows("jobs", "ls", "--json").json()
    shown = qflows("jobs", "show", job["key"]).out
    assert "finished, but its counts could not be fetched yet" in shown
    assert ionq.requests("ionq.results") > 2
    assert said.err.count("could not be read") <= 1
    ionq.clear_faults()
    assert qflows("jobs", "refresh", job["key"]).code == 0
    assert "could not be fetched" not in qflows("jobs", "show", job["key"]).out
