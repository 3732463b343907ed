"""`qflows groups`: named sets of jobs on any devices, their results and their end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qflows.cli import completion
from qflows.cli.connection import default_client
from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, print_rows, say
from qflows.core.groups.callbacks import resolve
from qflows.core.groups.results import GroupResult
from qflows.errors import GroupError
from qflows.ledger import callbacks as ledger_callbacks
from qflows.ledger import groups as ledger_groups
from qflows.ledger.groups import GroupRecord
from qflows.states import GroupState

app = typer.Typer(help="Groups: named sets of jobs on any devices.", no_args_is_help=True, rich_markup_mode=None)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(autocompletion=completion.groups, help="Group id, or a unique prefix of it.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait for all members.")]
_COLUMNS = ("group", "name", "state", "jobs", "opened", "open until", "callback", "run key")
_MEMBERS = ("place", "job", "name", "device", "vendor id", "status", "cost", "note")


def _row(record: GroupRecord, n_jobs: int) -> dict[str, str]:
    callback = record.callback_state.value if record.callback_state else ""
    return {
        "group": record.id[:12],
        "name": record.name,
        "state": record.state.value,
        "jobs": str(n_jobs),
        "opened": f"{record.created_at:%Y-%m-%d %H:%M:%S}",
        "open until": f"{record.expires_at:%Y-%m-%d %H:%M:%S}" if record.state is GroupState.OPEN else "",
        "callback": "INTERRUPTED" if record.is_interrupted else callback,
        "run key": record.run_key,
    }


@app.command("ls")
def ls(
    status: Annotated[list[str] | None, typer.Option(help="Only this status; repeatable.")] = None,
    run: Annotated[list[str] | None, typer.Option(help="Only of this run.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Only with this name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag: NAME or NAME=VALUE.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="created, name, status, closed; prefix - for descending.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only groups that are open or have unfinished jobs.")] = False,
    limit: Annotated[int, typer.Option(help="Show at most this many.")] = 50,
    offset: Annotated[int, typer.Option(help="Skip this many first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List groups, newest first."""
    with errors_as_exit_codes():
        core, states = default_client(), ["open", "closed"] if live else status
        ledger = core.ledger
        listed = core.groups(
            status=states, run=run, name=name, tag=tag, since=since, order=order, limit=limit, offset=offset
        )
        found = [group.record for group in listed]
        sizes = ledger_groups.sizes(ledger, [record.id for record in found])
        rows = [_row(record, sizes.get(record.id, 0)) for record in found]
        print_rows(rows, _COLUMNS, as_json=as_json, empty="no groups")


@app.command("show")
def show(group: Id, as_json: JsonFlag = False) -> None:
    """Show one group: state, times, cost, callback, jobs."""
    with errors_as_exit_codes():
        body = default_client().group(group).details()
        if as_json:
            print_json(body)
            return
        callback = body["callback"]
        if callback:
            text = f"{callback['function']}: {callback['state']}"
            body["callback"] = f"{text} ({callback['note']})" if callback["note"] else text
        body["costs"] = ", ".join(f"{amount:g} {unit} {kind}" for amount, unit, kind in body["costs"])
        body["jobs_by_status"] = ", ".join(f"{n} {status.lower()}" for status, n in body["jobs_by_status"].items())
        members = body.pop("members")
        for name, value in body.items():
            if value not in (None, "", {}):
                say(f"{name.replace('_', ' '):>16}  {value}")
        print_rows(members, _MEMBERS, as_json=False, empty="no jobs")


@app.command("results")
def results(group: Id, timeout: Timeout = None, as_json: JsonFlag = False) -> None:
    """Wait for all jobs and show their results.

    One deadline applies to the whole group.

    The exit code is 3 if jobs are still unfinished and 1 if jobs failed. Callbacks are called by the process that
    registered them or by `qflows reconcile`.
    """
    with errors_as_exit_codes():
        found = default_client().group(group).results(timeout)
        rows = [_result_row(found, place) for place in range(len(found.jobs))]
        if as_json:
            print_json({"id": found.group_id, "state": found.state, "unreachable": found.unreachable, "members": rows})
        else:
            print_rows(rows, ("place", "job", "device", "status", "counts", "error"), as_json=False, empty="no jobs")
            for vendor, why in found.unreachable.items():
                say(f"{vendor}: {why}", err=True)
        if found.pending():
            raise typer.Exit(Exit.PENDING)
        if found.failed():
            raise typer.Exit(Exit.FAILED)


def _result_row(found: GroupResult, place: int) -> dict[str, Any]:
    job = found.jobs[place]
    one = found.results.get(job.key)
    items = one.result.items if one and one.result else ()
    counts = [dict(item.counts) if item.counts is not None else item.probabilities for item in items]
    return {
        "place": place,
        "job": job.key,
        "device": job.device,
        "status": job.status.value,
        "counts": (counts[0] if len(counts) == 1 else counts) if counts else "",
        "error": str(one.error) if one and one.error else "",
    }


@app.command("cancel")
def cancel(
    group: Id,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the vendors to confirm.")] = 60.0,
) -> None:
    """Cancel all live jobs and accept no more.

    Each job is cancelled at its vendor, and qflows verifies that it ended.
    """
    with errors_as_exit_codes():
        handle = default_client().group(group)
        after = handle.cancel(timeout=timeout)
        counts = ", ".join(f"{n} {status.lower()}" for status, n in handle.details()["jobs_by_status"].items())
        say(f"group {handle.record.id[:12]} is {handle.status().value}: {counts if after else 'no jobs'}")


@app.command("close")
def close(group: Id) -> None:
    """Accept no more jobs; existing ones keep running."""
    with errors_as_exit_codes():
        handle = default_client().group(group)
        done = handle.close()
        note = "" if done else " already"
        say(f"group {handle.record.id[:12]} is {handle.status().value}{note}")


@app.command("callback")
def callback(
    group: Id,
    again: Annotated[
        bool, typer.Option("--again", help="Run it again, even though it may already have taken effect.")
    ] = False,
) -> None:
    """Show the state of a group's callback.

    --again runs a callback again that failed or was interrupted.
    """
    with errors_as_exit_codes():
        core = default_client()
        handle = core.group(group)
        record = handle.record
        if again:
            if not record.callback or not record.callback_importable:
                raise GroupError(f"group {record.title} has no callback that can be imported by name")
            function = resolve(record.callback)
            if not ledger_callbacks.allow_again(core.ledger, record.id):
                raise GroupError(f"the callback of group {record.title} did not fail; it is {record.callback_state}")
            handle.call_back(function, handle.stored(handle.wait(timeout=0)))
        told = handle.details()["callback"]
        say(f"{told['function']}: {told['state']} {told['note']}".rstrip() if told else "no callback")
