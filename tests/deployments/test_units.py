"""The documents for several machines: systemd accepts them, and every command and setting in them exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml
from typer.main import get_command

from qflows.settings import Settings

FOLDER = Path(__file__).parents[2] / "deployments"
UNITS = sorted((FOLDER / "systemd").glob("*.service")) + sorted((FOLDER / "systemd").glob("*.timer"))
EXAMPLES = sorted((FOLDER / "systemd").glob("*.example"))
ASSIGNED = re.compile(r"\b((?:PREFECT|QFLOWS)_[A-Z_]+)(?==|: )")
RUNS = {
    ("prefect", "server", "start"): ("--host", "--port"),
    ("prefect", "worker", "start"): ("--pool", "--type"),
    ("qflows", "reconcile"): ("--every",),
    ("qflows", "ledger", "archive"): ("--older-than",),
    ("qflows", "ledger", "upgrade"): (),
}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_a_unit(unit: Path, tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    # the same unit with programs and a user that exist here
    for other in UNITS:
        text = (
            other.read_text()
            .replace("/opt/qflows/bin/python", "/bin/true")
            .replace("/opt/qflows/bin/qflows", "/bin/true")
        )
        (tmp_path / other.name).write_text(text.replace("User=qflows", "User=daemon"))
    said = subprocess.run([analyze, "verify", str(tmp_path / unit.name)], capture_output=True, text=True)
    ours = [line for line in said.stderr.splitlines() if "qflows" in line]
    assert (ours, said.returncode) == ([], 0), said.stderr


def commands() -> Iterator[list[str]]:
    """What units and the compose file run, without interpreter and path."""
    for unit in UNITS:
        for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE):
            yield [word.rpartition("/")[2] for word in line.split()]
    for service in compose()["services"].values():
        if "command" in service:
            yield service["command"]


def compose() -> dict[str, Any]:
    """The compose file, with its anchors applied."""
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_commands_exist_with_their_options() -> None:
    from qflows.cli.app import app

    known = get_command(app)
    seen = set()
    for words in commands():
        words = words[2:] if words[:2] == ["python", "-m"] else words
        path = tuple(word for word in words[: 3 if words[0] == "prefect" or words[1] == "ledger" else 2])
        seen.add(path)
        assert {word for word in words if word.startswith("--")} == set(RUNS[path])
        if path[0] == "qflows":
            found: Any = known
            for name in path[1:]:
                found = found.get_command(None, name)
            assert set(RUNS[path]) <= {option for one in found.params for option in one.opts}
    assert seen == set(RUNS)


def test_settings_exist() -> None:
    texts = [path.read_text() for path in (*UNITS, *EXAMPLES, FOLDER / "compose.yaml")]
    named = {name for text in texts for name in ASSIGNED.findall(text)}
    ours = {f"QFLOWS_{name.upper()}" for name in Settings.model_fields} | {"QFLOWS_IMAGE"}
    assert {name for name in named if name.startswith("QFLOWS_")} <= ours
    assert [name for name in named if name.startswith("PREFECT_") and not hasattr(prefect.settings, name)] == []
    assert len(named) > 8


def test_examples_hold_no_secret() -> None:
    for path in EXAMPLES:
        for line in path.read_text().splitlines():
            if "AUTH_STRING" in line or "://" in line and "@" in line:
                assert "CHANGE-ME" in line
