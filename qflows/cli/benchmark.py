"""`qflows benchmark`: the same suite on several devices, side by side."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qflows.cli import completion
from qflows.cli.mode import NO_API_HINT, as_flow
from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, print_rows, progress_line, say
from qflows.display import plural

if TYPE_CHECKING:
    from qflows.characterization.benchmarks import BenchmarkResult, Suite


def benchmark(
    device: Annotated[
        list[str],
        typer.Option(
            autocompletion=completion.devices,
            help="A device from `qflows devices`, vendor:device-id, or a rule; repeatable.",
        ),
    ],
    shots: Annotated[int, typer.Option(help="Shots per circuit of the suite.")] = 1000,
    size: Annotated[list[int] | None, typer.Option(help="Width of GHZ states and mirror circuits; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the mirror circuits; default from the run key.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; jobs at the vendor keep running.")] = None,
    run_key: Annotated[
        str | None, typer.Option(help="Name of the run; pass the same one again to continue it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would cost; buy nothing.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the plot to this PNG file.")] = None,
    flow: Annotated[
        bool | None,
        typer.Option("--flow/--no-flow", help="Run as a Prefect flow. Default: yes if an API is configured."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all values as JSON.")] = False,
) -> None:
    """Measure how well devices perform.

    Measures bit order, readout errors, GHZ fidelity and mirror circuits, each with its standard error.

    Circuits that a device cannot run are skipped. The exit code is 1 if a device failed or returned its bits in the
    wrong order; a value below its threshold is a result, not a failure.
    """
    with errors_as_exit_codes():
        from qflows.characterization import benchmarks  # not above: it imports numerics
        from qflows.pages.plots import benchmark_png

        key = run_key or f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        suite = benchmarks.Suite(shots=shots, sizes=tuple(size or (3, 5)), seed=seed)
        if dry_run:
            _show_prices(device, suite, key, as_json=as_json)
            return
        if as_flow(flow):
            from qflows.flows import benchmark as as_prefect_flow

            found = as_prefect_flow(
                devices=device, shots=shots, sizes=suite.sizes, seed=seed, timeout=timeout, run_key=key
            )
        else:
            found = _straight(device, suite, timeout, key)
        if plot:
            title = f"benchmark of {plural(len(found.devices), 'device')}, {found.shots} shots per circuit"
            plot.write_bytes(benchmark_png(*benchmarks.points(found), title))
        if as_json:
            print_json(found.to_json())
        else:
            _show(found, plot)
            if not as_flow(flow):
                say(NO_API_HINT, err=True, dim=True)
        for name, text in (found.failed_devices | found.wrong_bit_order).items():
            say(f"qflows: {name}: {text}", err=True, fg="red")
        if found.failed_devices or found.wrong_bit_order:
            raise typer.Exit(Exit.FAILED)


def _straight(devices: list[str], suite: Suite, timeout: float | None, key: str) -> BenchmarkResult:
    from qflows.characterization import benchmarks, history
    from qflows.core.client import default_client
    from qflows.core.scope import script_scope

    core = default_client()
    show = progress_line()
    show(f"running the suite on {plural(len(devices), 'device')}; run key {key}")
    try:
        found = benchmarks.run(core, script_scope(key), devices, suite, timeout)
    finally:
        show("")
    history.keep_benchmark(core, found, suite)
    return found


def _show_prices(devices: list[str], suite: Suite, key: str, *, as_json: bool) -> None:
    from qflows.characterization import benchmarks
    from qflows.cli.connection import default_client

    found = benchmarks.price(default_client(), key, devices, suite)
    if as_json:
        told = {name: {"error": one} if isinstance(one, str) else one.to_json() for name, one in found.items()}
        print_json(told)
        return
    rows = [{"device": name, **({"note": one} if isinstance(one, str) else one.row())} for name, one in found.items()]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    print_rows(rows, columns, as_json=False, empty="")


def _show(found: BenchmarkResult, plot: Path | None) -> None:
    """One column a device: with many metrics that is the table that fits a terminal."""
    from qflows.characterization import benchmarks

    lines, columns = benchmarks.table(found)
    metrics = [name for name in columns if name not in ("device", "note")]
    rows = [{"metric": name, **{line["device"]: line.get(name, "") for line in lines}} for name in metrics]
    print_rows(rows, ["metric", *found.devices], as_json=False, empty="")
    for line in lines:
        if line["note"] and line["device"] not in found.failed_devices:  # those are told on stderr
            say(f"{line['device']}: {' '.join(line['note'].split())[:500]}")
    say(f"run key {found.run_key}, seed {found.seed}")
    if plot:
        say(f"plot {plot}")
