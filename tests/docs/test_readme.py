"""The README holds what it shows: its scripts run as printed, its commands exist, its links lead somewhere."""

from __future__ import annotations

import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

import qflows
from qflows.core.profiles import shipped
from qflows.ledger import reads
from qflows.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
SITE = runpy.run_path(str(ROOT / "docs" / "site_pages.py"), run_name="site")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str, page: Path = ROOT / "README.md") -> list[str]:
    """The fenced blocks of a page in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


SCRIPT, FLOW = blocks("python")
[SETS] = [block for block in blocks("python", ROOT / "docs" / "which-one.md") if "qflows.group(" in block]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's machine: no Prefect API, an empty home."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in {"QFLOWS_HOME": "home", "PREFECT_HOME": "prefect"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("QFLOWS_POLL_MIN_S", "0.02")
    return tmp_path


def test_the_first_script_runs_as_printed_and_the_second_time_buys_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = subprocess.run([sys.executable, "-c", SCRIPT], cwd=home, capture_output=True, text=True, timeout=120)
    counts = {key: int(number) for key, number in re.findall(r"'(\d+)': (\d+)", first.stdout)}
    assert set(counts) == {"100", "111"}, first.stderr
    assert sum(counts.values()) == 1000
    exec(SCRIPT, {})  # another process, so another attempt
    assert capsys.readouterr().out == first.stdout
    assert len(reads.listing(qflows.Client().ledger)) == 1


def test_sessions_batches_and_groups_run_as_printed_against_the_sandbox(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}
    with Sandbox(vendors=("ionq", "ibm", "braket"), clock="instant") as emulated:
        for name, value in emulated.env.items():
            monkeypatch.setenv(name, value)
        exec(SCRIPT, found)
        found["circuits"] = [found["circuit"]]
        exec(SETS, found)
        bought = {vendor: emulated.admin.count_jobs(vendor) for vendor in emulated.vendors}
    assert bought == {"ionq": 2, "ibm": 1, "braket": 1}  # the batch is one job
    assert [sum(found["batch"].result().counts(index).values()) for index in range(3)] == [500, 500, 500]
    assert sorted(job.device for job in found["g"].jobs) == ["braket-sv1", "ionq-simulator", "local-noisy"]
    assert found["results"].is_complete


def test_every_command_shown_exists() -> None:
    from qflows.cli.app import app

    root = typer.main.get_command(app)
    shown = [block for page in PAGES for block in (*blocks("bash", page), *blocks("sh", page))]
    # a quoted text may hold a semicolon, as rules for devices do; the shell's own lexer tells them apart
    commands = []
    for line in "\n".join(shown).replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        words = list(lexer) if line.strip().startswith("qflows ") else []
        for is_end, part in itertools.groupby(words, key=lambda word: word in (";", "|", "&&", ">")):
            one = list(part)
            if not is_end and one[0] == "qflows":
                commands.append(one[1:])
    assert len(commands) > 30
    for words in commands:
        at: click.Command = root
        for word in words:
            if not hasattr(at, "commands"):
                break
            assert word in at.commands, words  # type: ignore[attr-defined]
            at = at.commands[word]  # type: ignore[attr-defined]
        options = {name for one in at.params for name in (*one.opts, *one.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_devices_named_ship_with_qflows() -> None:
    text = "".join(page.read_text() for page in PAGES if "adr" not in page.parts)
    named = set(
        re.findall(r"""(?:device=|--device |session\()["']?((?:local|ibm|ionq|braket|qbraid)-[a-z0-9-]+)""", text)
    )
    assert named
    assert named <= set(shipped())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    lost = [link for link in links if not (page.parent / link).exists()]
    made = {(ROOT / "docs" / name).resolve() for name in SITE["MADE"]}
    assert [link for link in lost if (page.parent / link).resolve() not in made] == []
