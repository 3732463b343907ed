"""A shipped flow whose temporary server does not come up says what to do. Real Prefect, real time-out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
from qflows.errors import PrefectMissing
from qflows.flows import sweep

try:
    sweep([], device="local-aer")
except PrefectMissing as error:
    print("told:", error)
"""


def test_a_temporary_server_that_does_not_start_is_told_with_the_remedy(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    mine = {
        "PREFECT_HOME": str(tmp_path),
        "QFLOWS_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1",
        # a server on a database that cannot be opened never answers
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path}/nowhere/x.db",
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=clean | mine, capture_output=True, text=True, timeout=120)
    assert "told: without PREFECT_API_URL" in done.stdout, done.stderr[-2000:]
    assert "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120" in done.stdout
    assert not (tmp_path / "home").exists()  # nothing was recorded
