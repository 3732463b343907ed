"""`qflows price`, and `--dry-run` where circuits are bought."""

from __future__ import annotations

from qflows.sandbox import Admin


def test_price_and_dry_runs_say_the_same_and_buy_nothing(qflows, ionq: Admin, bell: str, ghz: str) -> None:
    wanted = ("--device", "ionq-forte-1", "--shots", "400")
    priced = qflows("price", bell, *wanted, "--json").json()
    assert (priced["expected"], priced["bound"], priced["unit"]) == ("25.79", "25.79", "usd")
    assert qflows("run", bell, *wanted, "--dry-run", "--json").json() == priced
    planned = qflows("batches", "run", bell, ghz, *wanted, "--dry-run", "--json").json()
    assert planned["price"]["bound"] == "25.79"  # one job, one least price
    shown = qflows("price", bell, *wanted).out
    assert "25.79 usd" in shown
    assert "IonQ's estimate" in shown
    assert ionq.count_jobs("ionq") == 0


def test_unknown_device_and_missing_file_are_said(qflows, bell: str) -> None:
    assert qflows("price", bell, "--device", "nowhere").code == 2
    assert "no such file" in qflows("price", "nowhere.qasm", "--device", "local-aer").err


def test_loop_and_suite_are_priced_before_they_are_bought(qflows, ionq: Admin) -> None:
    loop = ("vqe", "h2-0.735", "--device", "ionq-forte-1", "--shots", "100", "--dry-run")
    (one,) = qflows(*loop, "--json").json().values()
    assert (one["expected"], one["unit"]) == ("25.79", "usd")
    both = qflows(*loop, "--max-evaluations", "40", "--json").json()
    assert [price["bound"] for price in both.values()] == ["25.79", "1031.60"]
    assert "pass --max-evaluations to bound the whole run" in qflows(*loop).out

    devices = ("--device", "ionq-forte-1", "--device", "ionq-simulator", "--device", "nowhere")
    suite = qflows("benchmark", *devices, "--shots", "100", "--dry-run", "--json").json()
    assert suite["ionq-simulator"]["bound"] == "0"
    assert float(suite["ionq-forte-1"]["bound"]) >= 25.79
    assert "nowhere" in suite["nowhere"]["error"]
    assert "ionq-forte-1" in qflows("benchmark", *devices, "--shots", "100", "--dry-run").out
    assert ionq.count_jobs("ionq") == 0
    assert qflows("jobs", "ls", "--json").json() == []


def test_references_of_a_batch_are_priced_and_their_health_is_shown(qflows, ionq: Admin, bell: str, ghz: str) -> None:
    wanted = ("--device", "ionq-forte-1", "--shots", "100", "--reference", bell, "--at-least", "0.5", "--json")
    planned = qflows("batches", "run", ghz, ghz, *wanted, "--dry-run").json()
    assert [row["number"] for row in planned["parts"]] == ["3"]
    assert ionq.count_jobs("ionq") == 0
    bought = qflows("batches", "run", ghz, ghz, *wanted).json()
    (health,) = bought["health"]
    assert (health["circuits"], health["is_good"], health["reference"]) == ([0, 1], True, "bell")
    assert "health" in qflows("batches", "show", bought["id"]).out
    assert qflows("batches", "run", ghz, "--at-least", "0.5").code == 2
