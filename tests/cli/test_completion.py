"""Bash offers devices and what the ledger has, by the script that `qflows --install-completion` installs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMPLETED = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_qflows_completion qflows
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`offered("run", "--device", "local-a")` presses the tab key behind these words."""
    program = Path(sys.executable).parent / "qflows"
    script = tmp_path / "completion.sh"
    script.write_bytes(
        subprocess.run([program], env=os.environ | {"_QFLOWS_COMPLETE": "source_bash"}, capture_output=True).stdout
    )
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def press(*words: str) -> list[str]:
        shell = ["bash", "-c", COMPLETED, "bash", str(script), "qflows", *words]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.stdout.split()

    return press


def test_devices_and_jobs_are_offered(
    qflows: Callable[..., object], offered: Callable[..., list[str]], bell: str
) -> None:
    assert offered("run", bell, "--device", "local-a") == ["local-aer"]
    assert offered("jobs", "show", "") == []  # no ledger yet, and none is made
    qflows("batches", "run", bell, "--device", "local-aer", "--run-key", "one")
    [key] = offered("jobs", "show", "")
    assert offered("jobs", "cancel", key[:3]) == [key]
    [batch] = offered("batches", "show", "")
    assert offered("jobs", "ls", "--batch", batch[:4]) == [batch]
    assert offered("groups", "show", "") == offered("sessions", "close", "") == []


def test_no_ledger_is_made_by_a_tab_key(
    qflows: Callable[..., object], offered: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert offered("batches", "show", "") == []
    assert list(tmp_path.glob("ledger*")) == []
