"""`qflows devices`, `qflows ledger`, and the help of everything."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer

from qflows.cli.app import app
from qflows.sandbox import Admin, Sandbox


def commands() -> list[tuple[str, ...]]:
    """Every command there is, as its words."""

    def below(command, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        if not hasattr(command, "commands"):
            return [words]
        return [found for name, child in command.commands.items() for found in below(child, (*words, name))]

    return below(typer.main.get_command(app), ())


def test_devices_lists_profiles_and_says_how_to_name_others(qflows) -> None:
    said = qflows("devices")
    assert said.code == 0
    for name in ("local-exact", "local-aer", "local-noisy", "local-braket", "ionq-simulator"):
        assert name in said.out
    assert "vendor:device-id" in said.out
    rows = qflows("devices", "--json").json()
    assert {row["device"]: row["vendor"] for row in rows}["local-exact"] == "local"


def test_devices_live_asks_the_vendor(qflows, ionq: Admin) -> None:
    rows = qflows("devices", "--live", "ionq", "--json").json()
    assert "ionq:simulator" in [row["device"] for row in rows]
    assert ionq.requests("ionq.backends") == 1


def test_devices_live_of_a_vendor_out_of_reach_exits_5(qflows, ionq: Admin) -> None:
    ionq.fault("drop_before", "ionq.*", times=None)
    assert qflows("devices", "--live", "ionq").code == 5


@pytest.fixture
def all_vendors(qflows, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    with Sandbox(vendors=("braket", "ionq")) as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        yield running.admin


def test_devices_live_all_marks_what_is_gone_and_shows_profiles(qflows, all_vendors: Admin) -> None:
    all_vendors.switches("braket", retired="Emerald")
    said = qflows("devices", "--live", "all", "--json")
    rows = {row["vendor's name"]: row for row in said.json()}
    assert said.code == 0
    emerald = next(row for name, row in rows.items() if name.endswith("/Emerald"))
    garnet = next(row for name, row in rows.items() if name.endswith("/Garnet"))
    assert (emerald["state"], garnet["state"]) == ("gone", "available")
    assert garnet["profiles"] == "braket-garnet, braket-garnet-verbatim"
    assert rows["simulator"]["state"] == "available"
    assert said.err == ""


def test_devices_show_tells_the_devices_own_limits_and_the_price_in_words(qflows, all_vendors: Admin) -> None:
    all_vendors.switches("ionq", qpu_qubits=30)
    said = qflows("devices", "show", "ionq-forte-1")
    assert (said.code, said.err) == (0, "")
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in said.out.splitlines() if len(line.split()) > 1}
    assert lines["qubits"] == "30"
    assert lines["price"].startswith("25.79 usd a job (")
    bare = qflows("devices", "show", "braket:arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet", "--json")
    assert bare.json()["limits"]["max_total_shots"] == 200_000


@pytest.mark.parametrize(
    ("device", "code", "says"),
    [
        ("ionq:qpu.nothing", 5, "qpu.nothing"),
        ("ionq:qpu.aria-1", 2, "was retired by 2026-07; nearest: ionq-forte-1"),
        ("braket-ankaa-3", 2, "was retired on 2026-04-20; nearest: braket-cepheus-1-108q"),
        ("ibm_torino", 2, "was retired on 2026-04-01; nearest: ibm-kingston"),
    ],
)
def test_devices_show_refuses_what_is_not_there(qflows, all_vendors: Admin, device: str, code: int, says: str) -> None:
    said = qflows("devices", "show", device)
    assert said.code == code
    assert says in said.err


def test_devices_live_survives_a_denied_region_and_a_vendor_that_is_down(qflows, all_vendors: Admin) -> None:
    all_vendors.fault(
        "status", "braket.devices", status=403, code="AccessDeniedException", message="not yours", skip=1, times=1
    )
    all_vendors.fault("drop_before", "ionq.*", times=None)
    said = qflows("devices", "--live", "all", "--json")
    assert said.code == 0
    rows = said.json()
    assert any(row["vendor's name"].endswith("/Garnet") and row["state"] == "available" for row in rows)
    cepheus = next(row for row in rows if row["vendor's name"].endswith("/Cepheus-1-108Q"))
    assert cepheus["state"] == "not asked"  # its region refused: nobody knows
    lines = said.err.splitlines()
    assert len([line for line in lines if "region us-west-1" in line]) == 1
    assert len([line for line in lines if line.startswith("qflows: not shown: ionq:")]) == 1


def test_devices_live_of_an_account_that_no_region_lets_in_exits_5(qflows, all_vendors: Admin) -> None:
    all_vendors.fault("status", "braket.devices", status=403, code="UnrecognizedClientException", times=None)
    assert qflows("devices", "--live", "braket").code == 5


def test_ledger_upgrade_creates_the_schema_and_repeats_harmlessly(qflows, tmp_path) -> None:
    first = qflows("ledger", "upgrade")
    assert (first.code, str(tmp_path / "ledger.db") in first.out) == (0, True)
    assert "was up to date" in qflows("ledger", "upgrade").out


def test_ledger_where_hides_the_password(qflows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOWS_LEDGER_URL", "postgresql+psycopg://me:hunter2@db.example/q")
    said = qflows("ledger", "where")
    assert "db.example" in said.out
    assert "hunter2" not in said.out + said.err


def test_ledger_without_a_driver_or_of_another_kind_exits_6(qflows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOWS_LEDGER_URL", "mysql://nobody@nowhere/q")
    assert qflows("ledger", "upgrade").code == 6


def test_version_is_printed(qflows) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", qflows("--version").out)


def test_root_help_has_exit_codes_and_a_first_command(qflows) -> None:
    said = " ".join(qflows("--help").out.split())
    for code in range(7):
        assert f"{code} " in said
    assert "qflows run bell.qasm --device local-aer" in said


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_teaches_by_example(qflows, words: tuple[str, ...]) -> None:
    said = qflows(*words, "--help")
    assert said.code == 0
    above, _, below = said.out.partition("Example")
    assert re.search(rf"^\s*(\w+=\S+ )?qflows {' '.join(words)}\b", below, re.M), said.out
    assert [option for option in re.findall(r"--[\w-]+", below) if option not in above] == []
