"""`qflows verify`: whether a study's numbers follow from its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, say


def verify(
    path: Annotated[Path, typer.Argument(help="An archive written by `qflows archive`.")],
    digest: Annotated[str | None, typer.Option(help="Its published SHA-256.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify an archive; needs only the file.

    Compares digests and computes every number again from the raw answers, without network, account or ledger. The exit
    code is 1 if something is wrong.
    """
    with errors_as_exit_codes():
        from qflows.core.archiving.verify import verify as check

        done = check(path, digest=digest)
        if as_json:
            findings = [{"check": one.check, "subject": one.subject, "detail": one.detail} for one in done.findings]
            print_json(
                {
                    "whole": done.is_whole,
                    "digest": done.digest,
                    "checked": done.checked,
                    "findings": findings,
                    "notes": done.notes,
                }
            )
        else:
            say(f"{done.name or path}: SHA-256 {done.digest}")
            say("checked: " + ", ".join(f"{number:,} {name}" for name, number in done.checked.items()))
            for one in done.findings:
                say(f"  {one.check} {one.subject}: {one.detail}")
            for note in done.notes:
                say(f"  note: {note}")
            say("the archive is intact" if done.is_whole else f"{done.n_findings} findings")
        if not done.is_whole:
            raise typer.Exit(Exit.FAILED)
