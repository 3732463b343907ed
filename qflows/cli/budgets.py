"""`qflows budgets`: spending limits, what is left of them, and approvals to exceed them."""

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, say
from qflows.core import budgets as documents
from qflows.errors import DocumentError, ProgramRejected, QflowsError
from qflows.ledger import budgets, spending
from qflows.ledger.budgets import amount_of, micro
from qflows.settings import Settings

app = typer.Typer(help="Spending limits across all vendors.", no_args_is_help=True, rich_markup_mode=None)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Name of the budget.")]
_COLUMNS = ("budget", "period", "used", "spent", "reserved", "left", "limit", "", "policy")
_BAR = 20


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise ProgramRejected(f"{text!r} is not an amount of money; write, for example, 250 or 99.50")
    return amount


@app.command("ls")
def ls(as_json: JsonFlag = False) -> None:
    """List budgets: spent, reserved and remaining amounts."""
    with errors_as_exit_codes():
        found = spending.standing(default_client().ledger)
        if as_json:
            print_json([one.to_json() for one in found])
            return
        rows = [
            {
                "budget": one.budget.name,
                "period": one.bucket,
                "used": f"{one.share:.0%}",
                "spent": f"{amount_of(one.spent):,.2f}",
                "reserved": f"{amount_of(one.reserved):,.2f}",
                "left": f"{amount_of(one.left):,.2f}",
                "limit": f"{amount_of(one.limit):,.2f} {one.budget.currency}",
                "": "#" * round(_BAR * min(one.share, 1)) + "." * (_BAR - round(_BAR * min(one.share, 1))),
                "policy": one.budget.policy,
            }
            for one in found
        ]
        print_rows(rows, _COLUMNS, as_json=False, empty="no budgets; see `qflows budgets apply --help`")


@app.command("apply")
def apply(
    paths: Annotated[list[Path], typer.Argument(help="YAML files, or folders of YAML files.", metavar="PATH...")],
) -> None:
    """Load budgets from YAML documents.

    They apply to the ledger that this machine uses; amounts already reserved or spent are kept. `qflows apply` does the
    same and also saves the budgets as Prefect blocks.
    """
    with errors_as_exit_codes():
        files = [file for path in paths for file in (sorted(path.glob("*.y*ml")) if path.is_dir() else [path])]
        if not files:
            raise DocumentError(
                f"{', '.join(map(str, paths))}: no YAML documents found; give the path of a .yaml file, or of a folder "
                "of them"
            )
        for name, is_new in put_in_force(files).items():
            say(f"{name}: {'in force' if is_new else 'unchanged'}")


def put_in_force(files: list[Path]) -> dict[str, bool]:
    """Reads all documents, then puts their budgets into the ledger; name → whether it is new or changed."""
    rates = Settings().rates
    rules = [documents.rule(one.name, one, rates) for one in map(documents.read, files)]
    return {rule.name: budgets.put(default_client().ledger, rule) for rule in rules}


@app.command("set")
def set_(name: Name, amount: Annotated[str, typer.Option(help="The new limit, in the budget's currency.")]) -> None:
    """Change the amount of a budget."""
    from dataclasses import replace

    with errors_as_exit_codes():
        wanted = _amount(amount)
        ledger = default_client().ledger
        known = {rule.name: rule for rule in budgets.listing(ledger)}
        if name not in known:
            raise QflowsError(f"no budget {name!r}; `qflows budgets ls` lists them")
        budgets.put(ledger, replace(known[name], amount=micro(wanted)))
        say(f"{name}: {wanted:,.2f} {known[name].currency}")


@app.command("rm")
def rm(name: Name) -> None:
    """Remove a budget and its totals."""
    with errors_as_exit_codes():
        budgets.remove(default_client().ledger, name)
        say(f"{name}: removed")


@app.command("approve")
def approve(
    name: Name,
    run_key: Annotated[str, typer.Option(help="Run key of the run that may exceed the budget.")],
    amount: Annotated[str, typer.Option(help="How much it may exceed it by, in the budget's currency.")],
    why: Annotated[str, typer.Option(help="Reason, kept in the ledger.")] = "",
    deny: Annotated[bool, typer.Option("--deny", help="Deny the request instead.")] = False,
) -> None:
    """Let one run exceed a budget.

    The ledger records who allowed it, when and why. A waiting run continues by itself; a run that was refused has to be
    started again with its run key.
    """
    with errors_as_exit_codes():
        core = default_client()
        who = core.settings.user or os.environ.get("USER") or "unknown"
        allowed = micro(_amount(amount))
        budgets.decide(core.ledger, name, run_key, amount=allowed, approve=not deny, who=who, why=why)
        say(f"{name}: {'denied' if deny else 'allowed'} {_amount(amount):,.2f} to run {run_key} by {who}")


@app.command("approvals")
def approvals(as_json: JsonFlag = False) -> None:
    """List approvals and refusals, newest first."""
    with errors_as_exit_codes():
        rows = [
            {
                "when": f"{one.at:%Y-%m-%d %H:%M}",
                "budget": one.budget,
                "run key": one.run_key,
                "verdict": one.verdict,
                "amount": f"{amount_of(one.amount):,.2f}",
                "used": f"{amount_of(one.used):,.2f}",
                "who": one.who,
                "why": one.why,
            }
            for one in budgets.verdicts(default_client().ledger)
        ]
        columns = ("when", "budget", "run key", "verdict", "amount", "used", "who", "why")
        print_rows(rows, columns, as_json=as_json, empty="no approval was requested")
