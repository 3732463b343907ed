"""The short form of `make story`: one night on three emulated vendors, four kills of parts of a real stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "story" / "story.py"
# without the worker among the dead, no minute and a half passes until a run without heartbeats is given up
SHORT = ["--sqlite", "--kills", "4", "--seed", "3", "--clock", "time:3,1", "--pause", "6"]
SHORT += ["--parts", "up,server,reconciler,flow"]


@pytest.mark.slow(
    reason="five processes of a stack, four of which are killed and start again, and a process for every wake of a run"
)
@pytest.mark.server
def test_nightly_run_survives_kills_of_the_stack_with_one_job_and_one_result_an_intent(tmp_path: Path) -> None:
    # a file, not a pipe: what the script leaves running would hold it open
    with (tmp_path / "told").open("w+") as told:
        code = subprocess.run(
            [sys.executable, str(SCRIPT), *SHORT],
            stdout=told,
            stderr=subprocess.STDOUT,
            timeout=900,
        ).returncode
        told.seek(0)
        text = told.read()
    assert code == 0, text
    assert "every intent has one job and one result" in text
