"""`qflows devices`, `qflows ledger`, and the help of everything."""

from __future__ import annotations

import re

import pytest
import typer

from qflows.cli.app import app
from qflows.sandbox import Admin


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
