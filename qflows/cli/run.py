"""`qflows run`: circuits from files, on any device."""

from __future__ import annotations

import time
import uuid
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from qflows.cli import completion
from qflows.cli.mode import NO_API_HINT, as_flow
from qflows.cli.screen import errors_as_exit_codes, print_counts, print_json, print_rows, progress_line, say
from qflows.errors import ProgramRejected
from qflows.model import Job, Result
from qflows.pages.text import JOB_COLUMNS, job_row


def read_options(pairs: list[str] | None, device: str) -> dict[str, Any]:
    """`name=value` pairs, read by the types of the device's options. Raises ProgramRejected."""
    texts: dict[str, str] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ProgramRejected(f"option {pair!r}: write name=value, e.g. noise_model=aria-1")
        texts[name] = text
    if not texts:
        return {}
    from qflows.cli.connection import default_client

    if default_client().rule(device) is not None:
        raise ProgramRejected(
            "--option needs a device, because options differ by device; with a rule, set them in the device profiles"
        )
    target = default_client().device(device)
    return target.provider.options_model(target.profile.device).parse(texts)


def run(
    files: Annotated[list[Path], typer.Argument(help="OpenQASM 2 or 3 files.", metavar="FILE.qasm...")],
    device: Annotated[
        str,
        typer.Option(
            autocompletion=completion.devices, help="A device from `qflows devices`, vendor:device-id, or a rule."
        ),
    ] = "local-aer",
    shots: Annotated[int, typer.Option(help="Shots per circuit; 0 evaluates exactly where the device can.")] = 1000,
    run_key: Annotated[
        str | None, typer.Option(help="Name of the run; pass the same one again to continue it. Default: a new one.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="Vendor option as NAME=VALUE; repeatable.")] = None,
    compile: Annotated[
        str | None,
        typer.Option(
            metavar="default|none|0..3",
            help="How to compile the circuit: none runs it as written (in the device's own gates); "
            "a number is Qiskit's optimization level, where 0 keeps every gate. Default: the "
            "device's own. --dry-run shows the result.",
        ),
    ] = None,
    physical_qubits: Annotated[
        str | None,
        typer.Option(
            metavar="Q,Q,...",
            help="The device qubit for each circuit qubit, in order, such as 3,4; nothing is "
            "moved, so qubits that share a gate must be coupled.",
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; jobs at the vendor keep running.")] = None,
    flow: Annotated[
        bool | None,
        typer.Option("--flow/--no-flow", help="Run as a Prefect flow. Default: yes if an API is configured."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and what it would cost; buy nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run circuits and print their counts.

    The ledger remembers every job. Stop this command at any time and run it again with the run key that it printed: it
    continues where it stopped and buys nothing twice.
    """
    with errors_as_exit_codes():
        for path in files:
            if not path.is_file():
                raise ProgramRejected(f"no such file: {path}; give the path of an OpenQASM 2 or 3 file")
        if shots < 0:
            raise ProgramRejected(f"--shots must be 0 (exact) or more, not {shots}")
        exact = shots if shots > 0 else None
        key = run_key or f"cli-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        wishes: dict[str, Any] = {"options": read_options(option, device)}
        wishes |= {"compile": _level(compile), "physical_qubits": _numbers(physical_qubits)}
        if dry_run:
            _price(files, device, exact, wishes, as_json=as_json)
            return
        if as_flow(flow):
            from qflows.flows import run_circuits

            results = run_circuits(
                list(files),
                device,
                exact,
                wishes["options"],
                timeout,
                partial=False,
                run_key=key,
                compile=wishes["compile"],
                physical_qubits=wishes["physical_qubits"],
            )
            shown = [one for one in results if isinstance(one, Result)]
        else:
            shown = _straight(files, device, exact, wishes, timeout, key)
        _show(shown, key, as_json=as_json, hint=None if as_flow(flow) else NO_API_HINT)


def _straight(
    files: list[Path], device: str, shots: int | None, wishes: dict[str, Any], timeout: float | None, key: str
) -> list[Result]:
    from qflows.cli.connection import default_client
    from qflows.core.choice import asking
    from qflows.core.scope import Scope, script_scope

    core = default_client()

    def buy(name: str, here: Scope) -> list[Job]:
        specs = [spec for path in files for spec in core.specs(path, device=name, shots=shots, **wishes)]
        return core.submit(specs, device=name, scope=here)

    asked = partial(asking.for_each, files, shots, wishes)
    jobs = core.through(device, script_scope(key), asked, buy, list)
    show = progress_line()

    def on_change(job: Job) -> None:
        show(f"{job.name}: {job.status.value.lower()} {job.queue_note or ''}")

    core.wait([job.key for job in jobs], timeout=timeout, on_change=on_change)
    show("")
    return [core.result([job.key]) for job in jobs]


def _level(said: str | None) -> str | int | None:
    return int(said) if said is not None and said.isdecimal() else said


def _numbers(said: str | None) -> list[int] | None:
    if said is None:
        return None
    try:
        return [int(one) for one in said.split(",")]
    except ValueError:
        raise ProgramRejected(
            f"--physical-qubits {said!r:.80}: give one device qubit for each circuit qubit, such as 3,4"
        ) from None


def _price(files: list[Path], device: str, shots: int | None, wishes: dict[str, Any], *, as_json: bool) -> None:
    from qflows.cli.connection import default_client
    from qflows.cli.price import print_price
    from qflows.core.choice import asking
    from qflows.core.compiling import compile_program
    from qflows.protocol import CompilingProvider

    core = default_client()
    if rule := core.rule(device):
        device = core.first_fitting(rule, asking.for_each(files, shots, wishes))
    specs = [spec for path in files for spec in core.specs(path, device=device, shots=shots, **wishes)]
    if isinstance(core.device(device).provider, CompilingProvider) and not as_json:
        for path in files:
            made = compile_program(core.device(device), path, shots=shots, **wishes)
            say(f"{made}")
    print_price(core.price_of(specs, device=device), as_json=as_json)


def _show(results: list[Result], key: str, *, as_json: bool, hint: str | None) -> None:
    if as_json:
        print_json(
            {
                "run_key": key,
                "results": [
                    {
                        "job": one.job.key,
                        "vendor_id": one.job.vendor_id,
                        "device": one.job.device,
                        "name": one.job.name,
                        "status": one.job.status,
                        "counts": one.items[0].counts,
                        "probabilities": one.items[0].probabilities,
                        "cost": one.job.cost.amount if one.job.cost else None,
                    }
                    for one in results
                ],
            }
        )
        return
    for one in results:
        item = one.items[0]
        say(f"{one.job.name} on {one.job.device}")
        if item.counts is not None:
            print_counts(item.counts, total=item.counts.shots)
        else:
            print_counts(item.probabilities or {}, total=1.0)
    print_rows([job_row(one.job) for one in results], JOB_COLUMNS, as_json=False, empty="")
    say(f"run key {key}")
    if hint:
        say(hint, err=True, dim=True)
