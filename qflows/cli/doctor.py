"""`qflows doctor`: checks before money is spent and, with --spend, measurements of an account."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli.connection import default_client
from qflows.cli.mode import prefect_api
from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, print_rows, say
from qflows.core.doctor import checkup
from qflows.display import plural
from qflows.errors import ProgramRejected
from qflows.protocol import Finding, Verdict

_MARKS = {Verdict.OK: "ok", Verdict.ADVICE: "advice", Verdict.WRONG: "WRONG", Verdict.UNKNOWN: "?"}
_COLUMNS = ("", "check", "seen", "what to do")
PREFECT = "prefect"


def doctor(
    vendor: Annotated[str | None, typer.Argument(help="Check only this vendor. Default: all with credentials.")] = None,
    credentials: Annotated[
        str | None, typer.Option(help="A saved credentials block as TYPE/NAME. Default: the environment.")
    ] = None,
    spend: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT", help='Measure VENDOR with small jobs that cost at most this much, such as "1 usd".'
        ),
    ] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for each measurement.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check vendor accounts, the ledger and Prefect.

    Checks credentials, proxies, TLS, reachability, clocks, permissions and versions. Buys and changes nothing.

    --spend buys small jobs on the vendor's cheapest device, free simulators first, and never spends more than the
    amount. It measures what the vendor's documentation leaves open: how far job lists lag behind, whether jobs can be
    found by tag, the bit order, status words, and what a cancel does. Later look-ups use the results. Nothing is left
    running.

    The exit code is 6 if the ledger cannot be used and 5 if anything else is wrong.
    """
    with errors_as_exit_codes():
        if spend is not None:
            _measure(vendor, spend, patience, as_json=as_json)
            return
        found = checkup.examine(default_client(), [vendor] if vendor else [], credentials=credentials)
        found.sections.insert(2, checkup.Section(PREFECT, tuple(_prefect())))
        if as_json:
            print_json(found.to_json())
        else:
            for section in found.sections:
                say(f"\n{section.subject}")
                rows = [_row(finding) for finding in section.findings]
                print_rows(rows, _COLUMNS, as_json=False, empty="nothing to check")
        if not found.section(checkup.LEDGER).is_ok:
            raise typer.Exit(Exit.LEDGER)
        if not found.is_ok:
            raise typer.Exit(Exit.VENDOR)


def _measure(vendor: str | None, spend: str, patience_s: float, *, as_json: bool) -> None:
    from qflows.core.doctor.bench import Amount
    from qflows.core.doctor.measuring import measure

    if vendor is None:
        raise ProgramRejected('name the vendor to measure: `qflows doctor ionq --spend "1 usd"`')
    core = default_client()
    report = measure(core, vendor, Amount.parse(spend), patience_s=patience_s)
    if as_json:
        print_json(report.to_json())
    else:
        rows = [{"fact": f.name, "seen": "?" if f.seen is None else str(f.seen), "note": f.note} for f in report.facts]
        print_rows(rows, ("fact", "seen", "note"), as_json=False, empty="nothing was measured")
        unit = report.allowed.unit
        say(f"{plural(report.jobs, 'job')}, at most {report.at_most:f} {unit} of {report.allowed.value:f} {unit}; kept")
        say(f"in the ledger for {vendor} account {report.account}; left behind: {len(report.left_behind)}")
    for line in [*report.left_behind, *([report.trouble] if report.trouble else [])]:
        say(f"qflows: {line}", err=True, fg="red")
    if not report.is_ok:
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
