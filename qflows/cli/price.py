"""`qflows price`: what circuits would cost, before anything is bought."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflows.cli import completion
from qflows.cli.run import read_options
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows
from qflows.core.money import Price
from qflows.errors import ProgramRejected


def print_price(price: Price, *, as_json: bool) -> None:
    """One price, for a person or a program."""
    if as_json:
        print_json(price.to_json())
        return
    row = price.row()
    rows = [{"price": name, "amount": text} for name, text in row.items()]
    print_rows(rows, ("price", "amount"), as_json=False, empty="")


def price(
    files: Annotated[list[Path], typer.Argument(help="OpenQASM 2 or 3 files.", metavar="FILE.qasm...")],
    device: Annotated[
        str,
        typer.Option(
            autocompletion=completion.devices, help="A device from `qflows devices`, vendor:device-id, or a rule."
        ),
    ],
    shots: Annotated[int, typer.Option(help="Shots per circuit; 0 evaluates exactly where the device can.")] = 1000,
    option: Annotated[list[str] | None, typer.Option(help="Vendor option as NAME=VALUE; repeatable.")] = None,
    max_circuits: Annotated[int | None, typer.Option(help="Maximum circuits per job.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what circuits would cost on a device.

    Shows the expected and the maximum cost, and where the prices come from. Several files are priced as one batch.
    Nothing is bought or recorded; the vendor may be asked for its prices.
    """
    from qflows.cli.connection import default_client

    with errors_as_exit_codes():
        for path in files:
            if not path.is_file():
                raise ProgramRejected(f"no such file: {path}; give the path of an OpenQASM 2 or 3 file")
        wishes = {"options": read_options(option, device)}
        core = default_client()
        if len(files) > 1:
            found = core.price(list(files), device=device, shots=shots or None, max_circuits=max_circuits, **wishes)
        else:
            found = core.price(files[0], device=device, shots=shots or None, **wishes)
        print_price(found, as_json=as_json)
