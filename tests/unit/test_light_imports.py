"""What a fresh process imports: nothing that takes longer than what it was asked to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qflows.ledger import Ledger
from qflows.settings import Settings, current_settings

LIST = "import sys; sys.argv = ['qflows', 'jobs', 'ls', '--json']; from qflows.cli import main"


def loaded_after(code: str, home: Path) -> set[str]:
    """The modules of a process that ran this code."""
    tell = "import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ends = f"{code}\ntry: main()\nexcept SystemExit: pass" if "main" in code else code
    env = os.environ | {"QFLOWS_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", f"{ends}\n{tell}"], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_list_of_jobs_imports_neither_vendors_nor_what_buys(tmp_path: Path) -> None:
    Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}").close()
    found = loaded_after(LIST, tmp_path)
    assert "qflows.core.lists" in found
    unwanted = {
        "numpy", "qiskit", "prefect", "httpx", "yaml", "alembic", "sqlalchemy.dialects.postgresql",
        "qflows.core.client", "qflows.core.submit", "qflows.core.devices", "qflows.core.groups.handle",
        "qflows.core.scope", "qflows.ledger.claims", "qflows.ledger.intents", "qflows.programs", "qflows.protocol",
    }  # fmt: skip
    assert not found & unwanted


def test_tasks_import_neither_numpy_nor_drivers_of_another_database(tmp_path: Path) -> None:
    found = loaded_after("import qflows; qflows.submit", tmp_path)
    assert "qflows.prefect.tasks" in found
    unwanted = {"numpy", "qiskit", "asyncpg", "sqlalchemy.dialects.postgresql", "qflows.prefect.blocks.device"}
    assert not found & unwanted


def test_settings_follow_the_environment_and_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = current_settings()
    assert current_settings() is first
    with monkeypatch.context() as patch:
        patch.setenv("QFLOWS_HOME", str(tmp_path))
        patch.setenv("qflows_project", "vqe")
        changed = current_settings()
        assert changed == Settings()
        assert (changed.home, changed.project) == (tmp_path, "vqe")
    assert current_settings() == first
    with monkeypatch.context() as patch:
        patch.delenv("QFLOWS_HOME", raising=False)
        patch.setenv("HOME", str(tmp_path / "elsewhere"))
        assert current_settings().home == tmp_path / "elsewhere" / ".qflows"
