"""Commands called inside another program, as test runners and notebooks do."""

from __future__ import annotations

import subprocess
import sys

# Prefect is imported by the command, while the runner has put its own stream in place of stderr
PROGRAM = """
import typer
from typer.testing import CliRunner
from qflows.cli.screen import errors_as_exit_codes

app = typer.Typer()

@app.command()
def command() -> None:
    with errors_as_exit_codes():
        import prefect.main

assert CliRunner().invoke(app, []).exit_code == 0
from prefect.logging import get_logger
get_logger().warning("said after the command")
"""


def test_prefect_logs_to_the_programs_stderr_after_a_command_that_imported_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.count("said after the command") == 1
    assert "closed file" not in done.stderr
