"""`qflows run` and `qflows vqe`: what people and programs get, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflows.sandbox import Admin


def test_both_dialects_print_counts_table_and_run_key(qflows, bell, ghz) -> None:
    said = qflows("run", bell, ghz, "--shots", "100", "--run-key", "two files")
    assert said.code == 0
    assert "bell on local-aer" in said.out
    assert "ghz on local-aer" in said.out
    assert "000" in said.out
    assert "111" in said.out
    assert said.out.count("COMPLETED") == 2
    assert said.out.rstrip().endswith("run key two files")
    assert "PREFECT_API_URL" in said.err  # how to see it in a UI


def test_json_is_one_document_with_counts(qflows, bell) -> None:
    body = qflows("run", bell, "--shots", "100", "--json").json()
    [one] = body["results"]
    assert sum(one["counts"].values()) == 100
    assert set(one["counts"]) <= {"00", "11"}
    assert one["status"] == "COMPLETED"
    assert body["run_key"].startswith("cli-")


def test_zero_shots_gives_exact_probabilities(qflows, bell) -> None:
    [one] = qflows("run", bell, "--device", "local-exact", "--shots", "0", "--json").json()["results"]
    assert one["counts"] is None
    assert one["probabilities"] == {"00": pytest.approx(0.5), "11": pytest.approx(0.5)}


def test_same_run_key_continues_and_buys_nothing(qflows, bell, ionq: Admin) -> None:
    words = ("run", bell, "--device", "ionq-simulator", "--run-key", "again", "--json")
    first = qflows(*words).json()["results"]
    # the attempt is the process: a second call in this one is a second sample, so the ledger tells what it has
    assert qflows("jobs", "show", first[0]["vendor_id"], "--json").json()["run_key"] == "again"
    assert ionq.count_jobs("ionq") == 1


@pytest.mark.parametrize("text", ["", "OPENQASM 2.0; nonsense;", "\x00\x01", "just words"])
def test_bad_file_exits_2_and_sends_nothing(qflows, ionq: Admin, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.qasm").write_text(text)
    said = qflows("run", str(tmp_path / "bad.qasm"), "--device", "ionq-simulator")
    assert said.code == 2
    assert said.err.startswith("qflows: ")
    assert "Traceback" not in said.err
    assert ionq.requests("ionq.submit") == 0


def test_missing_file_unknown_device_and_bad_option_exit_2(qflows, bell) -> None:
    missing = qflows("run", "nowhere.qasm")
    assert (missing.code, "no such file: nowhere.qasm" in missing.err) == (2, True)
    unknown = qflows("run", bell, "--device", "warp-drive")
    assert (unknown.code, "`qflows devices` lists the names" in unknown.err) == (2, True)
    misspelled = qflows("run", bell, "--device", "local-are")
    assert (misspelled.code, "did you mean local-aer" in misspelled.err) == (2, True)
    option = qflows("run", bell, "--option", "novalue")
    assert (option.code, "name=value" in option.err) == (2, True)


def test_missing_credentials_exit_2_and_name_the_variable(qflows, bell) -> None:
    said = qflows("run", bell, "--device", "ionq-simulator")
    assert said.code == 2
    assert "IONQ_API_KEY" in said.err


def test_failed_job_exits_1_with_the_vendors_reason(qflows, bell, ionq: Admin) -> None:
    ionq.fault("fail_job", "ionq.submit", message="laser is off")
    said = qflows("run", bell, "--device", "ionq-simulator")
    assert said.code == 1
    assert "laser is off" in said.err


def test_deadline_exits_3_and_the_job_goes_on(qflows, bell, ionq: Admin) -> None:
    ionq.clock("frozen")
    said = qflows("run", bell, "--device", "ionq-simulator", "--timeout", "0.2")
    assert said.code == 3
    assert qflows("jobs", "ls", "--json").json()[0]["status"] == "QUEUED"


def test_refusal_by_the_vendor_exits_1_or_5_without_traceback(qflows, bell, ionq: Admin) -> None:
    ionq.fault("status", "ionq.submit", status=400, message="not on my watch")
    said = qflows("run", bell, "--device", "ionq-simulator")
    assert said.code in (1, 5)
    assert "not on my watch" in said.err


def test_broken_ledger_exits_6(qflows, bell, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    said = qflows("run", bell)
    assert said.code == 6
    assert "QFLOWS_LEDGER_URL" in said.err


def test_vqe_prints_energy_reference_and_error_and_draws(qflows, tmp_path: Path) -> None:
    plot = tmp_path / "h2.png"
    said = qflows("vqe", "h2-0.735", "--plot", str(plot), "--run-key", "h2")
    assert said.code == 0
    assert "energy     -1.137306" in said.out
    assert "reference  -1.137306036" in said.out
    assert "run key    h2" in said.out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_vqe_json_has_the_trace(qflows) -> None:
    body = qflows("vqe", "tfim-2", "--json", "--maxiter", "2").json()
    assert body["problem"] == "tfim-2"
    assert len(body["trace"]) >= 3
    assert all(len(step["job"]) == 64 for step in body["trace"])


def test_unknown_problem_and_optimizer_exit_2(qflows) -> None:
    assert qflows("vqe", "caffeine").code == 2
    assert qflows("vqe", "--optimizer", "luck").code == 2


FOLDED = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2];
x q[0]; cx q[0],q[1]; barrier q; cx q[0],q[1]; barrier q; cx q[0],q[1]; measure q -> c;"""


def test_compile_and_physical_qubits_are_honored_and_shown_by_the_dry_run(qflows, tmp_path: Path) -> None:
    (tmp_path / "folded.qasm").write_text(FOLDED)
    words = ("run", str(tmp_path / "folded.qasm"), "--device", "local-noisy", "--physical-qubits", "3,4")
    shown = qflows(*words, "--compile", "1", "--dry-run")
    assert shown.code == 0
    assert "two-qubit gates 3 -> 3" in shown.out
    assert "qubits {0: 3, 1: 4}" in shown.out
    assert qflows("jobs", "ls", "--json").json() == []
    [one] = qflows(*words, "--compile", "1", "--shots", "200", "--json").json()["results"]
    assert max(one["counts"], key=one["counts"].__getitem__) == "11"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--compile", "fast"), "pass 'default', 'none', a level from 0 to 3"),
        (("--compile", "4"), "a level from 0 to 3"),
        (("--physical-qubits", "3;4"), "such as 3,4"),
        (("--physical-qubits", "0,4"), "without routing"),
        (("--compile", "none"), "cannot run as it is written"),
    ],
)
def test_wish_that_cannot_be_met_exits_2_and_buys_nothing(qflows, bell, words: tuple[str, ...], why: str) -> None:
    said = qflows("run", bell, "--device", "local-noisy", *words)
    assert (said.code, why in said.err) == (2, True)
    assert qflows("jobs", "ls", "--json").json() == []
