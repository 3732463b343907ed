"""`qflows apply`: block documents become Prefect blocks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.budgets import put_in_force
from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, print_rows, say

_COLUMNS = ("block", "action", "fields", "file", "note")
_IN_A_DRY_RUN = {"created": "would be created", "updated": "would be updated"}


def apply(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="YAML files, or folders of YAML files; a path that does not exist is looked up among the documents "
            "that ship with qflows."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change without writing anything. Needs no server.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Save profiles, credentials and automations in Prefect.

    Applying the same documents again changes nothing. Budgets also take effect in the ledger.

    Write secrets as ${NAME}: they are read from the environment when you run the command, and no value is ever printed.
    The exit code is 2 if any document failed; the others are still saved.
    """
    with errors_as_exit_codes():
        from qflows.prefect.blocks import apply as documents  # not above: it imports Prefect, which takes seconds

        go = documents.check if dry_run else documents.apply
        outcomes = go(paths, os.environ)
        words = _IN_A_DRY_RUN if dry_run else {}
        budgets = [
            Path(one.file)
            for one in outcomes
            if one.block.startswith("qflows-budget/") and one.action is not documents.Action.FAILED
        ]
        if budgets and not dry_run:
            put_in_force(budgets)
        rows = [
            {
                "block": outcome.block,
                "action": words.get(outcome.action, str(outcome.action)),
                "fields": ", ".join(outcome.fields),
                "file": outcome.file,
                "note": "" if outcome.action is documents.Action.FAILED else outcome.note,
            }
            for outcome in outcomes
        ]
        failed = [outcome for outcome in outcomes if outcome.action is documents.Action.FAILED]
        if as_json:
            notes = {outcome.file: outcome.note for outcome in failed}
            print_json([row | {"note": notes.get(row["file"], row["note"])} for row in rows])
        else:
            # what could not be read has no block yet; it is told below
            if shown := [row for row in rows if row["block"]]:
                print_rows(shown, _COLUMNS, as_json=False, empty="")
            say(_summary([words.get(outcome.action, str(outcome.action)) for outcome in outcomes]))
        for outcome in failed:
            say(f"qflows: {outcome.note}", err=True, fg="red")
        if failed:
            raise typer.Exit(Exit.USAGE)


def _summary(actions: Sequence[str]) -> str:
    counts = Counter(actions)
    text = ", ".join(f"{number} {action}" for action, number in counts.items())
    if set(counts) == {"unchanged"}:
        text += ": nothing to do"
    if "checked" in counts:
        text += "; no Prefect API is configured, so nothing was compared"
    return text
