"""`qflows vqe`: ground-state energies of the problems that ship with qflows."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qflows.cli import completion
from qflows.cli.mode import NO_API_HINT, as_flow
from qflows.cli.run import read_options
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, progress_line, say

if TYPE_CHECKING:
    from qflows.core.money import Price


def vqe(
    problem: Annotated[
        str, typer.Argument(help="h2-0.735, h2-0.7414, lih-1.5949, or tfim-N for a chain of N spins.")
    ] = "h2-0.735",
    device: Annotated[
        str, typer.Option(autocompletion=completion.devices, help="A device from `qflows devices`, or a rule.")
    ] = "local-exact",
    shots: Annotated[int, typer.Option(help="Shots per measurement circuit; 0 is exact.")] = 0,
    optimizer: Annotated[
        str | None, typer.Option(help="SPSA, COBYLA, COBYQA, Nelder-Mead, Powell, SLSQP, L-BFGS-B, BFGS or CG.")
    ] = None,
    gradient: Annotated[
        str | None, typer.Option(help="parameter-shift: measure gradients; for SLSQP, L-BFGS-B, BFGS and CG.")
    ] = None,
    maxiter: Annotated[int | None, typer.Option(help="Maximum iterations.")] = None,
    max_evaluations: Annotated[int | None, typer.Option(help="Maximum evaluations, to cap the cost.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the optimizer; default from the run key.")] = None,
    run_key: Annotated[
        str | None, typer.Option(help="Name of the run; pass the same one again to continue it.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="Vendor option as NAME=VALUE; repeatable.")] = None,
    session: Annotated[bool, typer.Option("--session", help="Hold the device for the whole loop.")] = False,
    max_time: Annotated[str, typer.Option(help="Maximum length of the session, e.g. 30m or '2h 30m'.")] = "30m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would cost; buy nothing.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the convergence plot to this PNG file.")] = None,
    flow: Annotated[
        bool | None,
        typer.Option("--flow/--no-flow", help="Run as a Prefect flow. Default: yes if an API is configured."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a variational quantum eigensolver.

    Every evaluation is a durable job. If the loop is killed and started again with the same run key, it continues at
    the evaluation where it stopped, with the same trace.
    """
    with errors_as_exit_codes():
        key = run_key or f"vqe-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        from qflows.cli import solving

        arguments = solving.Arguments(
            problem,
            device,
            shots or None,
            optimizer,
            maxiter,
            max_evaluations,
            seed,
            read_options(option, device),
            max_time if session else None,
            gradient,
        )
        if dry_run:
            _print_prices(solving.prices(arguments), as_json=as_json)
            return
        found = solving.as_flow(arguments, key) if as_flow(flow) else solving.straight(arguments, key, progress_line())
        device = solving.device_of(found, device)
        if plot:
            plot.write_bytes(solving.plot(found, device))
        if as_json:
            print_json(found.to_json())
            return
        say(solving.summary(found, device), nl=False)
        if plot:
            say(f"plot       {plot}")
        if not as_flow(flow):
            say(NO_API_HINT, err=True, dim=True)


def _print_prices(prices: dict[str, Price], *, as_json: bool) -> None:
    if as_json:
        print_json({name: price.to_json() for name, price in prices.items()})
        return
    rows = [{"price of": name, **price.row()} for name, price in prices.items()]
    print_rows(rows, list(rows[0]), as_json=False, empty="")
    if len(prices) == 1:
        say("pass --max-evaluations to bound the whole run and see its price")
