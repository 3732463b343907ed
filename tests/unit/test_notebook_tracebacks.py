"""In a notebook an error of qflows is the user's line and the message; all frames come on demand. A real kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from jupyter_client.manager import start_new_kernel


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """`cell(code)` runs a cell and returns what the notebook shows of its error."""
    home = str(tmp_path_factory.mktemp("home"))
    manager, client = start_new_kernel(kernel_name="python3", env=os.environ | {"QFLOWS_HOME": home})

    def run(code: str) -> str:
        shown: list[str] = []

        def hear(message: dict) -> None:
            if message["msg_type"] == "error":
                shown.extend(message["content"]["traceback"])

        client.execute_interactive(code, timeout=120, output_hook=hear, stop_on_error=False)
        return "\n".join(shown)

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_an_error_shows_the_users_lines_and_the_message(cell: Callable[[str], str]) -> None:
    shown = cell(
        "import qflows\n"
        "def buy(device):\n"
        "    return qflows.run('OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;', device=device, run_key='x')\n"
        "buy('local-arr')\n"
    )
    assert shown.splitlines() == [
        "this notebook, line 4",
        "----> buy('local-arr')",
        "",
        "this notebook, line 3, in buy",
        "----> return qflows.run('OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;', device=device, run_key='x')",
        "",
        shown.splitlines()[6],
        "",
        "(your own lines only; %tb Verbose shows all)",
    ]
    assert shown.splitlines()[6].startswith("UnknownDevice: no device 'local-arr'; did you mean local-aer")


def test_all_frames_are_shown_on_demand(cell: Callable[[str], str]) -> None:
    cell("import qflows\nqflows.attach('abcdef0123')")
    whole = cell("%tb Verbose")
    assert "UnknownJob" in whole
    assert "qflows/prefect/attach.py" in whole
    cell("%xmode Context")


def test_errors_of_others_are_as_ever(cell: Callable[[str], str]) -> None:
    assert "ZeroDivisionError" in cell("1/0")
