"""`qflows doctor` without spending: what it says of good and bad accounts, addresses, clocks, ledgers and Prefect."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qflows.sandbox import Sandbox

VENDORS = ("braket", "ibm", "ionq", "qbraid")


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """All vendors in one process."""
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def vendors(shared: Sandbox, qflows: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """All vendors, emptied, reached through their own variables."""
    shared.admin.reset()
    for name, value in shared.env.items():
        monkeypatch.setenv(name, value)
    return shared


def verdicts(said, subject: str) -> dict[str, str]:
    """Verdict by check of one section."""
    (section,) = [one for one in said.json()["sections"] if one["subject"] == subject]
    return {finding["check"]: finding["verdict"] for finding in section["findings"]}


def remedy(said, subject: str, check: str) -> str:
    """What one finding says to do."""
    (section,) = [one for one in said.json()["sections"] if one["subject"] == subject]
    return next(finding["remedy"] for finding in section["findings"] if finding["check"] == check)


def test_good_accounts_are_fine_and_nothing_is_bought(qflows, vendors: Sandbox, tmp_path: Path) -> None:
    said = qflows("doctor", "--json")
    assert said.code == 0
    for vendor in VENDORS:
        assert set(verdicts(said, vendor).values()) == {"ok"}, vendor
    assert vendors.admin.count_jobs() == 0
    assert not (tmp_path / "ledger.db").exists()  # nothing was made either


def test_table_names_each_check_and_what_to_do(qflows, vendors: Sandbox) -> None:
    vendors.admin.switches("ionq", estimate_status=401)
    said = qflows("doctor", "ionq")
    assert said.code == 0
    assert "IonQ API: clock" in said.out
    assert "an admin of the organization" in " ".join(said.out.split())


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_that_is_down_is_said_once_and_exits_5(qflows, vendors: Sandbox, vendor: str) -> None:
    vendors.admin.fault("drop_before", f"{vendor}.*", times=None)
    said = qflows("doctor", vendor, "--json")
    assert said.code == 5
    wrong = [check for check, verdict in verdicts(said, vendor).items() if verdict == "wrong"]
    assert len(wrong) == 1
    assert wrong[0].endswith(": reachable")
    vendors.admin.clear_faults()


@pytest.mark.parametrize(("ahead_s", "verdict", "code"), [(0, "ok", 0), (90, "advice", 0), (-600, "wrong", 5)])
@pytest.mark.parametrize("vendor", VENDORS)
def test_clock_is_compared_with_the_vendors(
    qflows, vendors: Sandbox, vendor: str, ahead_s: float, verdict: str, code: int
) -> None:
    vendors.admin.switches(vendor, clock_skew_s=float(ahead_s))
    said = qflows("doctor", vendor, "--json")
    clock = next(found for check, found in verdicts(said, vendor).items() if check.endswith(": clock"))
    assert (clock, said.code) == (verdict, code)


@pytest.mark.parametrize(
    ("vendor", "routes", "check", "verdict"),
    [
        ("ionq", "list", "right: list jobs", "wrong"),
        ("ionq", "session_list", "right: sessions", "advice"),
        ("braket", "search", "right: find tasks in us-east-1", "wrong"),
        ("braket", "devices", "right: devices in us-east-1", "wrong"),
        ("ibm", "list", "right: list jobs", "wrong"),
        ("ibm", "workloads", "right: sessions", "advice"),
        ("qbraid", "list", "right: list jobs", "wrong"),
        ("qbraid", "credits", "credits", "advice"),
    ],
)
def test_missing_right_is_named(qflows, vendors: Sandbox, vendor: str, routes: str, check: str, verdict: str) -> None:
    vendors.admin.switches(vendor, denied_routes=routes)
    said = qflows("doctor", vendor, "--json")
    assert verdicts(said, vendor)[check] == verdict
    assert remedy(said, vendor, check)


@pytest.mark.parametrize(("vendor", "check"), [("ionq", "right: list jobs"), ("qbraid", "key")])
def test_wrong_key_is_named(qflows, vendors: Sandbox, vendor: str, check: str) -> None:
    vendors.admin.switches(vendor, known_keys="another")
    said = qflows("doctor", vendor, "--json")
    assert said.code == 5
    assert verdicts(said, vendor)[check] == "wrong"
    assert "API_KEY" in remedy(said, vendor, check)


def test_results_bucket_is_looked_at(qflows, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMZN_BRAKET_OUT_S3_BUCKET", "amazon-braket-not-there")
    said = qflows("doctor", "braket", "--json")
    assert said.code == 5
    assert verdicts(said, "braket")["results bucket"] == "wrong"
    assert "AMZN_BRAKET_OUT_S3_BUCKET" in remedy(said, "braket", "results bucket")


def test_vendor_without_credentials_is_wrong_only_when_it_is_asked_for(qflows) -> None:
    everything = qflows("doctor", "--json")
    assert everything.code == 0
    assert verdicts(everything, "ionq") == {"credentials": "unknown"}
    one = qflows("doctor", "ionq", "--json")
    assert one.code == 5
    assert "IONQ_API_KEY" in remedy(one, "ionq", "credentials")


def test_unknown_vendor_is_bad_input(qflows) -> None:
    said = qflows("doctor", "acme")
    assert said.code == 2
    assert "ionq" in said.err


def test_ledger_is_healthy_after_its_making(qflows) -> None:
    qflows("ledger", "upgrade")
    said = qflows("doctor", "local", "--json")
    assert said.code == 0
    assert verdicts(said, "ledger") | {"journal": "ok", "schema": "ok", "writable": "ok"} == verdicts(said, "ledger")


@pytest.mark.parametrize(("version", "says"), [("0001", "ledger upgrade"), ("9999", "newer")])
def test_ledger_of_another_version_exits_6(qflows, tmp_path: Path, version: str, says: str) -> None:
    qflows("ledger", "upgrade")
    with sqlite3.connect(tmp_path / "ledger.db") as file:
        file.execute("update qflows_version set version_num = ?", (version,))
    said = qflows("doctor", "local", "--json")
    assert said.code == 6
    assert says in remedy(said, "ledger", "schema")


def test_ledger_that_others_may_read_and_one_that_is_no_database(qflows, tmp_path: Path) -> None:
    qflows("ledger", "upgrade")
    (tmp_path / "ledger.db").chmod(0o644)
    assert verdicts(qflows("doctor", "local", "--json"), "ledger")["mode"] == "advice"
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    (tmp_path / "ledger.db").write_bytes(b"no database at all, only a text that is long enough to be read" * 100)
    said = qflows("doctor", "local", "--json")
    assert said.code == 6
    assert verdicts(said, "ledger")["opens"] == "wrong"


def test_ledger_that_another_process_keeps_locked(qflows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qflows.core.doctor import checkup

    monkeypatch.setattr(checkup, "LOCK_WAIT_S", 0.1)
    qflows("ledger", "upgrade")
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("begin immediate")
    said = qflows("doctor", "local", "--json")
    holder.close()
    assert said.code == 6
    assert "locked" in said.out


def test_prefect_that_does_not_answer_exits_5(qflows, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = f"http://127.0.0.1:{closed_port}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with temporary_settings({PREFECT_API_URL: url}):
        said = qflows("doctor", "local", "--json")
    assert said.code == 5
    assert "qflows up" in remedy(said, "prefect", "API")
