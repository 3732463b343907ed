"""`qflows jobs import` and `qflows ledger rebuild`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from buyers import CLIENTS, asymmetric
from typer.testing import CliRunner

from qflows.cli.app import app
from qflows.sandbox import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore:Transpiler default optimization_level")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    return tmp_path


def test_imported_jobs_are_listed_and_marked(sandbox: Sandbox, home: Path) -> None:
    [sent] = CLIENTS["ionq"]([asymmetric(1)])
    told = CliRunner().invoke(app, ["jobs", "import", "ionq", "--since", "1h", "--tag", "study=h2"])
    assert told.exit_code == 0, told.output
    assert "1 imported, 0 known before, 0 left out" in told.output
    listed = CliRunner().invoke(app, ["jobs", "ls"])
    assert "imported" in listed.output
    shown = json.loads(CliRunner().invoke(app, ["jobs", "show", sent.vendor_id, "--json"]).output)
    assert shown["origin"] == "imported"
    assert shown["results"][0]["counts"] == {sent.key: 100}
    refused = CliRunner().invoke(app, ["jobs", "cancel", sent.vendor_id])
    assert (refused.exit_code, "bought elsewhere" in refused.output) == (2, True)


def test_import_without_time_or_id_is_refused(sandbox: Sandbox, home: Path) -> None:
    told = CliRunner().invoke(app, ["jobs", "import", "ionq"])
    assert (told.exit_code, "--since" in told.output or "since=" in told.output) == (2, True)


def test_rebuild_takes_every_vendor_with_credentials(sandbox: Sandbox, home: Path) -> None:
    told = CliRunner().invoke(app, ["ledger", "rebuild", "--since", "1h", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["sources"] == ["braket", "ibm", "ionq", "qbraid"]
