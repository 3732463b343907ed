"""The live tests run: here the environment alone makes the sandbox the vendor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from qflows.sandbox import Sandbox

ROOT = Path(__file__).parents[2]


def live(vendor: str, **env: str) -> dict[str, int]:
    """How many of a vendor's live tests ended how."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/live", "-k", vendor]
    bare = {name: value for name, value in os.environ.items() if "QBRAID" not in name and "IONQ" not in name}
    done = subprocess.run(command, cwd=ROOT, env=bare | env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped|failed)", done.stdout.splitlines()[-1])}


def test_without_a_budget_nothing_is_sent() -> None:
    with Sandbox(vendors=("ionq",)) as sandbox:
        assert set(live("TestIonQ", **sandbox.env)) == {"skipped"}
        assert sandbox.admin.journal(vendor="ionq") == []


def test_without_credentials_a_vendor_is_left_out(tmp_path: Path) -> None:
    assert set(live("TestIonQ", HOME=str(tmp_path), QFLOWS_LIVE_BUDGET="1 usd")) == {"skipped"}


def test_conformance_suite_runs_on_the_cheapest_device_within_the_budget() -> None:
    with Sandbox(vendors=("ionq",)) as sandbox:
        found = live(
            "TestIonQ and not random", **sandbox.env, QFLOWS_LIVE_BUDGET="0 usd, 0 credits", QFLOWS_LIVE_PAUSE_S="0.01"
        )
        assert found.get("passed", 0) >= 11
        assert "failed" not in found
        made = sandbox.admin.jobs("ionq")
        assert len(made) > 12
        assert {one["facts"]["backend"] for one in made} == {"simulator"}
