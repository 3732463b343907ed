"""`qflows budgets` and `qflows spend`: documents in force, limits that refuse, approvals, and where the money went."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflows.sandbox import Admin

BUDGET = "kind: budget\nname: team\namount: 30\nperiod: total\npolicy: ask\nrates: {credits: 0.01}\n"
BUY = ("--device", "ionq-forte-1", "--shots", "100", "--no-flow")


@pytest.fixture
def team(tmp_path: Path) -> str:
    (tmp_path / "team.yaml").write_text(BUDGET)
    return str(tmp_path / "team.yaml")


def test_budget_refuses_until_somebody_approves_and_spend_tells(
    qflows, ionq: Admin, team: str, bell: str, ghz: str, tmp_path: Path
) -> None:
    assert "in force" in qflows("budgets", "apply", team).out
    assert "unchanged" in qflows("budgets", "apply", team).out
    assert qflows("run", bell, *BUY, "--run-key", "first").code == 0
    (row,) = qflows("budgets", "ls", "--json").json()
    assert (row["spent"], row["reserved"], row["left"]) == ("25.79", "0", "4.21")
    refused = qflows("run", ghz, *BUY, "--run-key", "monday")
    assert refused.code == 2
    assert "qflows budgets approve team --run-key 'monday' --amount 25.79" in refused.err
    assert ionq.count_jobs("ionq") == 1
    assert (
        qflows("budgets", "approve", "team", "--run-key", "monday", "--amount", "25.79", "--why", "it is dear").code
        == 0
    )
    assert qflows("run", ghz, *BUY, "--run-key", "monday").code == 0
    (approval,) = qflows("budgets", "approvals", "--json").json()
    assert (approval["verdict"], approval["why"], approval["used"]) == ("approve", "it is dear", "21.58")
    (spent,) = qflows("spend", "--by", "run", "--json").json()[:1]
    assert (spent["jobs"], spent["billed"], spent["expected"]) == (1, "25.79", "25.79")
    assert "2 rows" in qflows("spend", "--by", "run", "--out", str(tmp_path / "spend.csv")).out
    assert (tmp_path / "spend.csv").read_text().splitlines()[0].startswith("of,unit,jobs,billed")
    assert "team" in qflows("budgets", "ls").out


def test_raised_limit_and_removed_budget(qflows, ionq: Admin, team: str) -> None:
    qflows("budgets", "apply", team)
    assert qflows("budgets", "set", "team", "--amount", "99.50").code == 0
    (row,) = qflows("budgets", "ls", "--json").json()
    assert row["limit"] == "99.5"
    assert qflows("budgets", "set", "team", "--amount", "much").code == 2
    assert qflows("budgets", "rm", "team").code == 0
    assert qflows("budgets", "rm", "team").code == 2
    assert qflows("budgets", "ls", "--json").json() == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("amount: -3", "amount"),
        ("polici: ask", "policy"),
        ("ask_timeout: soon", "duration"),
        ("scope: galaxy", "scope"),
    ],
)
def test_mistake_in_a_document_is_told_by_file_and_key(qflows, tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"kind: budget\nname: team\n{'' if line.startswith('amount') else 'amount: 3' + chr(10)}{line}\n")
    said = qflows("budgets", "apply", str(path))
    assert said.code == 2
    assert "wrong.yaml" in said.err
    assert told in said.err


def test_status_says_why_a_job_is_not_sent_yet(qflows, ionq: Admin, bell: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("kind: budget\nname: tiny\namount: 1\nperiod: total\npolicy: wait\n")
    assert qflows("budgets", "apply", str(tmp_path / "tiny.yaml")).code == 0
    assert qflows("run", bell, *BUY, "--run-key", "held", "--timeout", "0").code == 3
    said = qflows("status", "--json").json()
    assert said["live"] == {"PREPARED": 1}
    assert "budget tiny" in said["unsent"][0]["why"]
    assert "not sent yet" in qflows("status").out
    assert ionq.count_jobs("ionq") == 0
