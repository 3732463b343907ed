"""`qflows sessions`: what holds a device, and letting go of it."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli import completion
from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, say
from qflows.core.sessions import end, has_sessions, resolve
from qflows.errors import ProgramRejected, UnknownJob
from qflows.ledger import sessions as ledger_sessions
from qflows.model import SessionRecord

app = typer.Typer(help="Sessions: devices held for ordered jobs.", no_args_is_help=True, rich_markup_mode=None)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str,
    typer.Argument(autocompletion=completion.sessions, help="Session key, a unique prefix of it, or the vendor's id."),
]
_COLUMNS = ("session", "name", "device", "mode", "state", "vendor id", "opened", "closed", "note")


def _row(record: SessionRecord) -> dict[str, str]:
    return {
        "session": record.key[:12],
        "name": record.name,
        "device": record.device,
        "mode": record.mode,
        "state": record.state.value,
        "vendor id": record.vendor_id or "",
        "opened": f"{record.opened_at:%Y-%m-%d %H:%M:%S}" if record.opened_at else "",
        "closed": f"{record.closed_at:%Y-%m-%d %H:%M:%S}" if record.closed_at else "",
        "note": record.close_reason or "",
    }


def _find(name: str) -> SessionRecord:
    record = ledger_sessions.get(default_client().ledger, name)
    if record is None:
        raise UnknownJob(f"the ledger has no session {name!r}; `qflows sessions ls` lists what it has")
    return record


@app.command("ls")
def ls(
    status: Annotated[list[str] | None, typer.Option(help="Only this status; repeatable.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.devices, help="Only this device.")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="Only of this run.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Only with this name.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="created, name, status, closed; prefix - for descending.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only sessions that are not closed.")] = False,
    limit: Annotated[int, typer.Option(help="Show at most this many.")] = 50,
    offset: Annotated[int, typer.Option(help="Skip this many first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List sessions, newest first."""
    with errors_as_exit_codes():
        states = ["prepared", "opening", "in_doubt", "open"] if live else status
        found = default_client().sessions(
            status=states, device=device, run=run, name=name, since=since, order=order, limit=limit, offset=offset
        )
        print_rows([_row(record) for record in found], _COLUMNS, as_json=as_json, empty="no sessions")


@app.command("show")
def show(session: Name, as_json: JsonFlag = False) -> None:
    """Show one session, as in the ledger and at the vendor."""
    with errors_as_exit_codes():
        record = _find(session)
        body = dict(_row(record))
        provider = default_client().vendors.of_session(record)
        if record.vendor_id and has_sessions(provider, record.mode):
            info = provider.session(record.vendor_id)
            body |= {"vendor state": info.state, "accepting jobs": str(info.is_open)}
            body |= {f"vendor {name}": str(value) for name, value in info.details.items() if value is not None}
        if as_json:
            print_json(body)
            return
        for name, value in body.items():
            if value:
                say(f"{name:>24}  {value}")


@app.command("resolve")
def resolve_(
    session: Name,
    opened: Annotated[str | None, typer.Option(help="The vendor opened it under this id.")] = None,
    absent: Annotated[bool, typer.Option("--absent", help="The vendor has no such session.")] = False,
) -> None:
    """Settle an opening that was never answered."""
    with errors_as_exit_codes():
        if (opened is None) == (not absent):
            raise ProgramRejected(f"session {session}: give either --opened ID or --absent")
        record, core = _find(session), default_client()
        resolve(core.ledger, core.vendors.of_session(record), record, vendor_id=opened)
        say(f"session {record.key[:12]}: {'is open as ' + opened if opened else 'may be opened again'}")


@app.command("close")
def close(session: Name) -> None:
    """Close a session: no more jobs, queued ones still run."""
    _end(session, "close")


@app.command("cancel")
def cancel(session: Name) -> None:
    """Cancel a session: no more jobs, queued ones do not run."""
    _end(session, "cancel")


def _end(name: str, verb: str) -> None:
    with errors_as_exit_codes():
        record = _find(name)
        core = default_client()
        provider = core.vendors.of_session(record)
        end(core.ledger, provider, record, verb=verb, reason=f"{verb} by hand")
        say(f"session {record.key[:12]} ({record.vendor_id or 'never opened'}): {verb} done")
