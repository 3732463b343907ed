"""Every code block of the documentation runs: Python in this process, shell in bash, both against the emulators.

A block that cannot run here says why in a comment above it, `<!-- not run: reason -->`; it is still parsed.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect_server import PrefectServer
from shell_of_pages import Shell

from qflows.sandbox import Sandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "deployments" / "README.md")
    if "adr" not in path.parts and "notebooks" not in path.parts
]
_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<why>[^\n]+?) -->\n *)?```(?P<language>python|bash|console|sh)\n"
    r"(?P<body>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_MOST_NOT_RUN = 34  # of the whole documentation: more of them would make this test mean little


@dataclass(frozen=True)
class Block:
    """A fenced block: what it says, in which language, at which line, and why it is not run, if so."""

    language: str
    body: str
    line: int
    why: str | None


def blocks(page: Path) -> list[Block]:
    """The page's Python and shell blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(one["language"], textwrap.dedent(one["body"]), text.count("\n", 0, one.start("body")) + 1, one["why"])
        for one in _BLOCK.finditer(text)
    ]


WITH_BLOCKS = [page for page in PAGES if blocks(page)]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    """All emulators, in one process for all pages."""
    with Sandbox(vendors=("braket", "ibm", "ionq", "qbraid"), clock="instant") as running:
        yield running


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Bash with a command line that is loaded once."""
    one = Shell(tmp_path_factory.mktemp("sh"))
    yield one
    one.close()


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run_as_printed(
    page: Path, vendors: Sandbox, shell: Shell, prefect_api: PrefectServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    mine = vendors.env | {"QFLOWS_HOME": str(tmp_path / "home"), "QFLOWS_POLL_MIN_S": "0.02", "QFLOWS_SETTLE_S": "1"}
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        place = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            # so many lines above, that a traceback names the page's own
            code = "\n" * (block.line - 1) + block.body
            tree = ast.parse(code, place)
            if block.why is None:
                exec(compile(tree, place, "exec", dont_inherit=True), names)
        elif block.why is not None:
            body = re.sub(r"^\$ ", "", block.body, flags=re.MULTILINE)
            assert subprocess.run(["bash", "-n", "-c", body], capture_output=True).returncode == 0, place
        else:
            clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            done = shell.run(re.sub(r"^\$ ", "", block.body, flags=re.MULTILINE), tmp_path, clean | mine)
            assert done.returncode == 0, f"{place}\n{done.stdout}\n{done.stderr}"


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    silent = [block for page in PAGES for block in blocks(page) if block.why is not None]
    assert len(silent) <= _MOST_NOT_RUN
    assert all(len(block.why or "") > 15 for block in silent)


def test_files_that_pages_name_as_proof_are_there() -> None:
    text = (ROOT / "docs" / "complaints.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert len(named) > 20
    assert [one for one in named if not list(ROOT.glob(one))] == []
