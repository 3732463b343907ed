"""`qflows doctor`: what is right and what is not, before money is spent; and, with --spend, what an account shows."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli.connection import default_client
from qflows.cli.mode import prefect_api
from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, print_rows
from qflows.core.doctor import checkup
from qflows.protocol import Finding, Verdict

_MARKS = {Verdict.OK: "ok", Verdict.ADVICE: "advice", Verdict.WRONG: "WRONG", Verdict.UNKNOWN: "?"}
_COLUMNS = ("", "check", "seen", "what to do")
PREFECT = "prefect"


def doctor(
    vendor: Annotated[str | None, typer.Argument(help="Only this vendor; left out: all that have credentials.")] = None,
    credentials: Annotated[
        str | None, typer.Option(help="A saved credentials block, type/name; left out: the environment.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Examine vendor accounts, the ledger and Prefect.

    Looks at credentials, proxies, TLS, reachability, clocks, rights and versions. Buys nothing, changes nothing.

    Leaves with 6 if the ledger cannot be used, with 5 if anything else is wrong.
    """
    with errors_as_exit_codes():
        found = checkup.examine(default_client(), [vendor] if vendor else [], credentials=credentials)
        found.sections.insert(2, checkup.Section(PREFECT, tuple(_prefect())))
        if as_json:
            print_json(found.to_json())
        else:
            for section in found.sections:
                typer.echo(f"\n{section.subject}")
                rows = [_row(finding) for finding in section.findings]
                print_rows(rows, _COLUMNS, as_json=False, empty="nothing to examine")
        if not found.section(checkup.LEDGER).is_ok:
            raise typer.Exit(Exit.LEDGER)
        if not found.is_ok:
            raise typer.Exit(Exit.VENDOR)


def _row(finding: Finding) -> dict[str, str]:
    return {
        "": _MARKS[finding.verdict],
        "check": finding.check,
        "seen": finding.seen,
        "what to do": finding.remedy,
    }


def _prefect() -> list[Finding]:
    if prefect_api() is None:
        remedy = "none needed for jobs; for runs in a UI: `qflows up`, or set PREFECT_API_URL"
        return [Finding("API", Verdict.OK, "none is configured", remedy)]
    from qflows.prefect.health import examine

    return list(examine())
