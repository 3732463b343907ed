"""`qflows devices`: what `--device` may say."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli.screen import errors_as_exit_codes, print_rows
from qflows.core import profiles

_COLUMNS = ("device", "vendor", "vendor's name", "qubits", "max shots", "state", "queue", "about")


def devices(
    live: Annotated[
        str | None, typer.Option(help="Ask this vendor (ionq, ibm, braket, qbraid) for its devices now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List devices: shipped profiles, or --live ones.

    --live asks a vendor for its own list.
    """
    with errors_as_exit_codes():
        rows = _live(live) if live else [_profile_row(profile) for profile in profiles.shipped().values()]
        print_rows(rows, _COLUMNS, as_json=as_json, empty="no devices")
        if not as_json and not live:
            typer.echo("any other device: vendor:device-id, e.g. ionq:qpu.forte-1; `--live VENDOR` asks the vendor")


def _profile_row(profile: profiles.DeviceProfile) -> dict[str, str]:
    return {
        "device": profile.name,
        "vendor": profile.provider,
        "vendor's name": profile.device,
        "qubits": str(profile.qubits or ""),
        "max shots": ("exact, " if profile.exact else "") + str(profile.max_shots or ""),
        "about": profile.description,
    }


def _live(vendor: str) -> list[dict[str, str]]:
    from qflows.cli.connection import default_client

    return [
        {
            "device": f"{vendor}:{info.device_id}",
            "vendor": vendor,
            "vendor's name": info.device_id,
            "qubits": str(info.n_qubits or ""),
            "state": "available" if info.is_available else "unavailable",
            "queue": f"{info.queue_s:.0f} s" if info.queue_s is not None else str(info.queue_length or ""),
            "about": info.note or "",
        }
        for info in default_client().provider(vendor).devices()
    ]
