"""A rule in place of a device in the commands that buy: batches, vqe, benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qflows.core import scope
from qflows.core.client import default_client
from qflows.ledger import choices, reads

RULE = "cheapest(ionq-forte-1, ionq-simulator)"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    found = []
    for name, n in (("bell", 2), ("ghz", 3)):
        chain = "".join(f"cx q[{k}],q[{k + 1}];" for k in range(n - 1))
        place = tmp_path / f"{name}.qasm"
        place.write_text(
            f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{n}];\ncreg c[{n}];\nh q[0];\n{chain}\nmeasure q -> c;\n'
        )
        found.append(str(place))
    return found


@pytest.fixture
def next_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What comes after it is another attempt, as from a command that is started again."""
    return lambda: monkeypatch.setattr(scope, "_PROCESS_ATTEMPT", "the next process")


def devices(run_key: str) -> set[str]:
    return {job.device for job in reads.listing(default_client().ledger, run_key=run_key, limit=1000)}


def chosen(run_key: str) -> list[str]:
    return [one.device for one in choices.of_runs(default_client().ledger, [run_key])]


def test_batch_is_bought_on_the_device_that_the_rule_chose(
    qflows, ionq, files: list[str], next_process: Callable[[], None]
) -> None:
    arguments = ("batches", "run", *files, "--device", RULE, "--shots", "100", "--run-key", "b", "--json")
    plan = qflows(*arguments, "--dry-run").json()
    assert plan["device"] == "ionq-simulator"
    assert ionq.count_jobs("ionq") == 0
    body = qflows(*arguments).json()
    assert (body["device"], body["status"]) == ("ionq-simulator", "COMPLETED")
    bought = ionq.count_jobs("ionq")
    next_process()
    assert qflows(*arguments).json()["id"] == body["id"]  # run again: the same batch, nothing bought
    assert ionq.count_jobs("ionq") == bought
    assert chosen("b") == ["ionq-simulator"]


def test_vqe_runs_where_the_rule_says_and_its_energy_is_kept_for_that_device(
    qflows, ionq, next_process: Callable[[], None]
) -> None:
    arguments = ("vqe", "tfim-2", "--device", RULE, "--shots", "100", "--max-evaluations", "2", "--seed", "1")
    price = qflows(*arguments, "--dry-run", "--json").json()["one evaluation"]
    assert price["device"] == "ionq-simulator"
    assert ionq.count_jobs("ionq") == 0
    said = qflows(*arguments, "--run-key", "v", "--no-flow")
    assert said.code == 0
    assert "VQE tfim-2 on ionq-simulator" in said.out
    assert devices("v") == {"ionq-simulator"}
    bought = ionq.count_jobs("ionq")
    next_process()
    assert qflows(*arguments, "--run-key", "v", "--no-flow").code == 0
    assert ionq.count_jobs("ionq") == bought
    assert chosen("v") == ["ionq-simulator"]


def test_benchmark_measures_the_device_that_each_rule_chose(qflows, ionq) -> None:
    arguments = ("benchmark", "--device", RULE, "--device", "local-aer", "--shots", "50", "--size", "2", "--json")
    assert set(qflows(*arguments, "--dry-run").json()) == {"ionq-simulator", "local-aer"}
    body = qflows(*arguments, "--run-key", "m", "--no-flow").json()
    assert body["devices"] == ["ionq-simulator", "local-aer"]
    assert devices("m") == {"ionq-simulator", "local-aer"}
    assert chosen("m") == ["ionq-simulator"]


@pytest.mark.parametrize("command", ["batches", "vqe", "benchmark"])
def test_rule_that_nothing_fits_says_why_and_buys_nothing(qflows, ionq, files: list[str], command: str) -> None:
    words = ("batches", "run", *files) if command == "batches" else (command,)
    said = qflows(*words, "--device", "best(ionq-simulator; qubits>900)", "--shots", "100", "--run-key", "n")
    assert said.code == 2
    assert "no device fits" in said.err
    assert "ionq-simulator" in said.err
    assert ionq.count_jobs("ionq") == 0
