"""Help that can be read: summaries are whole sentences, in the list of commands as well."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest
import typer.main
from typer.testing import CliRunner

from qflows.cli.app import SUMMARIES, app

LONGEST = 55  # characters of a first sentence; longer ones are cut in a terminal of 80 columns
ODD = ("worth while", "for ever", "is no duration", "At most so many", "not told", "was asked for")
ROOT: click.Group = typer.main.get_command(app)  # type: ignore[assignment]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command and group by the words that call it, the root included."""
    found: dict[tuple[str, ...], click.Command] = {path: group}
    for name, command in group.commands.items():
        found |= commands(command, (*path, name)) if hasattr(command, "commands") else {(*path, name): command}
    return found


ALL = commands(ROOT)
GROUPS = [path for path, command in ALL.items() if hasattr(command, "commands")]


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(path) or "qflows")
def test_no_summary_is_cut_in_a_list_of_commands(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="qflows")
    listed = shown.stdout.partition("Commands:")[2].splitlines()
    assert shown.exit_code == 0
    assert len([line for line in listed if line.strip()]) == len(ALL[path].commands)  # type: ignore[attr-defined]
    assert [line for line in listed if "..." in line or "…" in line] == []


def test_first_sentences_are_short_and_end_with_a_period() -> None:
    first = {path: re.split(r"(?<=\.)\s", (command.help or "").strip())[0] for path, command in ALL.items() if path}
    assert {path: text for path, text in first.items() if len(text) > LONGEST or not text.endswith(".")} == {}


def test_no_help_has_a_turn_of_phrase_that_english_does_not_have() -> None:
    texts = {
        path: " ".join([command.help or "", *(getattr(one, "help", None) or "" for one in command.params)])
        for path, command in ALL.items()
    }
    assert len(texts) > 30
    assert {(path, odd) for path, text in texts.items() for odd in ODD if odd.lower() in text.lower()} == set()


def test_summaries_that_are_shown_without_loading_a_command_are_its_own() -> None:
    own = {name: re.split(r"(?<=\.)\s", (ROOT.commands[name].help or "").strip())[0] for name in SUMMARIES}
    assert own == SUMMARIES


def test_help_of_the_root_loads_no_command() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from qflows.cli.app import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print(sorted({'numpy', 'sqlalchemy', 'prefect', 'qflows.cli.run'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
