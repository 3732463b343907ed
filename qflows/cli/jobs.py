"""`qflows jobs`: what was bought, where it is, and decisions that only a person can make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qflows.cli import completion
from qflows.cli.connection import default_client, default_ledger
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, progress_line, say
from qflows.core import lists
from qflows.errors import ProgramRejected
from qflows.model import Job, versions_of
from qflows.pages import job_page
from qflows.pages.text import JOB_COLUMNS, job_row
from qflows.states import JobStatus

if TYPE_CHECKING:
    from qflows.core.client import Client
    from qflows.core.tagging import Tagged

app = typer.Typer(help="Jobs in the ledger.", no_args_is_help=True, rich_markup_mode=None)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str,
    typer.Argument(
        autocompletion=completion.jobs, help="Job key, a unique prefix of it (8 characters or more), or vendor id."
    ),
]


@app.command("ls")
def ls(
    run_key: Annotated[list[str] | None, typer.Option("--run-key", "--run", help="Only jobs of this run.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only this status, such as in_doubt or queued; or live, or over.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.devices, help="Only this device.")
    ] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only this vendor.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag: NAME or NAME=VALUE.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Only with this name.")] = None,
    project: Annotated[list[str] | None, typer.Option(help="Only of this project.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Only of this session, by the vendor's id.")] = None,
    batch: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.batches, help="Only of this batch.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.groups, help="Only of this group.")
    ] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Only bought, imported or rebuilt jobs.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Created until, in the same form.")] = None,
    order: Annotated[str | None, typer.Option(help="created, finished, cost, ...; prefix - for descending.")] = None,
    limit: Annotated[int, typer.Option(help="Show at most this many.")] = 50,
    offset: Annotated[int, typer.Option(help="Skip this many first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first. Repeat an option to allow several values."""
    with errors_as_exit_codes():
        found = lists.jobs(
            default_ledger(),
            run=run_key,
            status=status,
            device=device,
            provider=provider,
            tag=tag,
            name=name,
            project=project,
            session=session,
            batch=batch,
            group=group,
            origin=origin,
            since=since,
            until=until,
            order=order,
            limit=limit,
            offset=offset,
        )
        rows = [_full(job) for job in found] if as_json else [job_row(job) for job in found]
        print_rows(rows, JOB_COLUMNS, as_json=as_json, empty="no jobs; try `qflows run FILE.qasm`")
        if found.next_offset is not None and not as_json:
            say(f"{len(found)} of {found.total}; --offset {found.next_offset} shows more")


@app.command("refresh")
def refresh(
    job: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=completion.jobs, help="Job keys or vendor ids; all live ones unless given."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the vendors about jobs now.

    One round of bulk requests, within the vendors' rate limits. The counts of finished jobs are fetched.
    """
    with errors_as_exit_codes():
        core = default_client()
        keys = (
            [core.find(name).key for name in job] if job else [one.key for one in core.jobs(status="live", limit=None)]
        )
        found = core.refresh(keys)
        rows = [_full(found[key]) if as_json else job_row(found[key]) for key in keys]
        print_rows(rows, JOB_COLUMNS, as_json=as_json, empty="no live jobs")


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(autocompletion=completion.devices, help="A device, or a vendor for all devices of its account."),
    ],
    ids: Annotated[list[str] | None, typer.Argument(help="Vendor ids of the jobs.", metavar="[ID]...")] = None,
    since: Annotated[
        str | None, typer.Option(help="Jobs created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Jobs created until, in the same form.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this vendor tag: NAME or NAME=VALUE.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Import jobs that were bought elsewhere.

    Select them by vendor ID, or by time and tag. qflows stores their counts in its own bit order, their times and cost,
    and the circuit if the vendor returns it. Imported jobs are read-only: qflows never sends, cancels or changes them
    at the vendor. Importing them again changes nothing.
    """
    with errors_as_exit_codes():
        show_progress = progress_line()
        found = default_client().import_jobs(
            source,
            ids=ids or (),
            since=since,
            until=until,
            tag=tag,
            on_entered=lambda number: show_progress(f"{number} jobs imported"),
            on_pause=lambda vendor, pause_s: show_progress(f"{vendor} asks for fewer requests; on in {pause_s:.0f} s"),
        )
        show_progress("")
        if as_json:
            print_json(
                {
                    "imported": [_full(job) for job in found.jobs],
                    "known": [job.key for job in found.known],
                    "left_out": dict(found.left_out),
                }
            )
            return
        print_rows([job_row(job) for job in found.jobs], JOB_COLUMNS, as_json=False, empty="nothing new")
        say(f"{len(found.jobs)} imported, {len(found.known)} known before, {len(found.left_out)} left out")
        for vendor_id, why in found.left_out.items():
            say(f"  {vendor_id}: {why}")


@app.command("show")
def show(
    job: Name,
    full: Annotated[bool, typer.Option("--full", help="Show long values in full.")] = False,
    progress: Annotated[
        bool, typer.Option("--progress", help="Ask the vendor how many circuits of a running job are done (IonQ).")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show one job: status, times, cost and result.

    Also shows its device, circuits and history. Long values are shortened unless --full is given; --json shows
    everything the ledger has.
    """
    with errors_as_exit_codes():
        from qflows.ledger import reads  # not above: lists do without what it imports

        core = default_client()
        found = core.find(job)
        counted = core.progress(found.key) if progress else None
        if as_json:
            told = {"progress": {status.value: n for status, n in counted.items()}} if counted is not None else {}
            print_json(_everything(core, found) | told)
            return
        about = reads.provenance(core.ledger, found.key)
        lines = job_page.lines(
            found,
            reads.items(core.ledger, found.key),
            circuits=reads.program_names(core.ledger, found.key),
            options=core.submitter.spec(found.key).options,
            history=reads.history(core.ledger, found.key),
            versions=versions_of(about),
            is_full=full,
        )
        if counted is not None:
            lines.insert(1, ("progress", ", ".join(f"{n:,} {status.value.lower()}" for status, n in counted.items())))
        for name, value in lines:
            say(f"{name:>10}  {value}")


@app.command("cancel")
def cancel(
    job: Annotated[list[str], typer.Argument(autocompletion=completion.jobs, help="Job keys or vendor ids.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the vendor to confirm.")] = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Cancel jobs at the vendor and verify that they ended."""
    with errors_as_exit_codes():
        core = default_client()
        handles = core.cancel([core.find(name).key for name in job], timeout=timeout)
        rows = [job_row(one) for one in handles.values()]
        print_rows(rows, JOB_COLUMNS, as_json=as_json, empty="")
        late = [one for one in handles.values() if one.status is JobStatus.COMPLETED]
        if late and not as_json:
            say(f"{len(late)} had already finished: too late to cancel, the counts are in the ledger")


@app.command("tag")
def tag(
    job: Name,
    labels: Annotated[
        list[str] | None,
        typer.Argument(help="TAG=VALUE adds or overwrites; name=TEXT renames.", metavar="TAG=VALUE..."),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Remove this tag; repeatable.")] = None,
    ledger_only: Annotated[bool, typer.Option("--ledger-only", help="Change the ledger only, not the vendor.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Change the tags and the name of a job.

    Changes them in the ledger, and at the vendor where possible, and shows the result in both places. IBM and Braket
    accept changes after the submission, also for finished jobs; IonQ and qBraid keep what was submitted. The key by
    which qflows finds the job is never changed. If the connection broke before the vendor was told, repeat the command.
    """
    with errors_as_exit_codes():
        tags, name = read_labels(labels)
        changed = default_client().tag(job, tags, title=name, remove=remove or (), at_vendor=not ledger_only)
        if as_json:
            print_json(tagged_row(changed))
            return
        say("\n".join(f"{what:>10}  {text}" for what, text in tagged_row(changed).items() if text))


@app.command("abandon")
def abandon(
    job: Name,
    reason: Annotated[str, typer.Option(help="Reason, kept with the job.")],
) -> None:
    """Give up on a live job, in the ledger only.

    The vendor is not contacted and may still run and bill the job. The ledger keeps what is known about it.
    """
    with errors_as_exit_codes():
        if not reason.strip():
            raise ProgramRejected("give a reason: --reason TEXT")
        ended = default_client().abandon(job, reason=reason)
        say(f"job {ended.key[:12]} is {ended.status.value}: {ended.error_message}")
        if ended.vendor_id:
            say(f"{ended.provider} may still run and bill {ended.vendor_id}; cancel it there if it should not")


@app.command("decode")
def decode(job: Name, as_json: JsonFlag = False) -> None:
    """Decode a job's stored answer again, offline."""
    with errors_as_exit_codes():
        found, stored = default_client().decode(job)
        results = [{"counts": item.counts, "error": item.error.message if item.error else None} for item in found.items]
        if as_json:
            print_json({"stored": stored, "results": results})
            return
        for index, item in enumerate(results):
            say(f"result {index}  {item['counts'] or item['error'] or ''}")
        say("the job now has these counts" if stored else "the ledger is unchanged")


@app.command("resolve")
def resolve(
    job: Name,
    submitted: Annotated[
        str | None, typer.Option(help="The vendor has the job under this id.", metavar="VENDOR_ID")
    ] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="The vendor does not have the job; it may be sent again.")
    ] = False,
) -> None:
    """Tell qflows what became of a job in doubt.

    Check the vendor's console first. This is only needed for vendors that cannot look up a job by its key, or whose
    lists are unreliable; qflows settles all other doubts itself.
    """
    with errors_as_exit_codes():
        if (submitted is None) == (not absent):
            raise ProgramRejected(f"job {job}: give either --submitted VENDOR_ID or --absent")
        found = default_client().resolve(job, vendor_id=submitted)
        say(f"job {found.key[:12]} is {found.status}" + (f" as {found.vendor_id}" if found.vendor_id else ""))


def read_labels(texts: list[str] | None) -> tuple[dict[str, str], str | None]:
    """(tags, name) from words of the form TAG=VALUE. Raises ProgramRejected."""
    found: dict[str, str] = {}
    for text in texts or ():
        label, equals, value = text.partition("=")
        if not equals or not label:
            raise ProgramRejected(f"{text!r} must have the form TAG=VALUE")
        found[label] = value
    name = found.pop("name", None)
    return found, name


def tagged_row(changed: Tagged) -> dict[str, Any]:
    """What the ledger and the vendor hold, for printing."""
    return {
        "job": changed.job.key,
        "name": changed.job.name,
        "ledger": dict(changed.job.tags),
        "vendor": None if changed.vendor_tags is None else list(changed.vendor_tags),
        "note": changed.note,
    }


def _full(job: Job) -> dict[str, Any]:
    return {
        "key": job.key,
        "run_key": job.run_key,
        "name": job.name,
        "device": job.device,
        "shots": job.shots,
        "status": job.status,
        "vendor_id": job.vendor_id,
        "origin": job.origin,
        "emulated": "by an emulator on this machine, not by the vendor" if job.is_emulated else None,
        "error": job.error_message,
        "cost": f"{job.cost.amount:g} {job.cost.unit}" if job.cost else None,
        "tags": dict(job.tags),
        "times": {
            "created": job.timeline.created,
            "submitted": job.timeline.submitted,
            "started": job.timeline.started,
            "finished": job.timeline.finished,
            "qpu_s": job.timeline.qpu_s,
            "expected_start": job.timeline.expected_start,
            "expected_end": job.timeline.expected_end,
            "steps": [{"name": s.name, "at": s.at, "reported": s.is_reported} for s in job.timeline.steps],
        },
    }


def _everything(core: Client, job: Job) -> dict[str, Any]:
    from qflows.ledger import reads

    items = reads.items(core.ledger, job.key)
    spec = core.submitter.spec(job.key)
    return _full(job) | {
        "provider": job.provider,
        "account": job.account,
        "device_id": job.device_id,
        "label": job.label,
        "ordinal": job.ordinal,
        "options": dict(spec.options),
        "session_id": job.session_id,
        "vendor_status": job.word,
        "queue": {"position": job.queue_position, "note": job.queue_note},
        "error_code": job.error_code,
        "circuits": [
            {
                "name": program.name,
                "digest": program.digest,
                "qubits": program.n_qubits,
                "metadata": dict(program.metadata),
                "observables": [observable.to_json() for observable in spec.observables_of(place)],
            }
            for place, program in enumerate(spec.programs)
        ],
        "history": reads.history(core.ledger, job.key),
        "provenance": reads.provenance(core.ledger, job.key),
        "programs": reads.program_digests(core.ledger, job.key),
        "results": [
            {
                "counts": item.counts,
                "probabilities": item.probabilities,
                "expectations": [[e.value, e.std_error] for e in item.expectations or ()],
                "error": item.error.message if item.error else None,
                "memory": list(item.memory) if item.memory is not None else None,
                "metadata": dict(item.metadata),
            }
            for item in items
        ],
    }
