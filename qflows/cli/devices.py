"""`qflows devices`: what `--device` may say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic.fields import FieldInfo

from qflows.cli import completion
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, say
from qflows.core import profiles
from qflows.errors import ProgramRejected

if TYPE_CHECKING:
    from qflows.core.cards import DeviceCard
    from qflows.core.live import Standing
    from qflows.core.profiles import Price
    from qflows.protocol import Limits

_ALL = "all"
_COLUMNS = ("device", "vendor", "vendor's name", "profiles", "qubits", "max shots", "state", "queue", "about")
_LIVE_COLUMNS = tuple(name for name in _COLUMNS if name not in ("vendor", "vendor's name"))  # `device` says both

app = typer.Typer(
    help="List devices: shipped profiles, or --live ones.", invoke_without_command=True, rich_markup_mode=None
)


@app.callback()
def devices(
    context: typer.Context,
    live: Annotated[
        str | None, typer.Option(help="Ask this vendor (ionq, ibm, braket, qbraid), or all, for its devices now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List devices: shipped profiles, or --live ones.

    --live asks a vendor, or all that have credentials here, for its own list, and marks what is gone from it. What
    cannot be asked is told in a line; the rest is shown.
    """
    if context.invoked_subcommand:
        return
    with errors_as_exit_codes():
        troubles: tuple[str, ...] = ()
        if live:
            rows, troubles = _live(live)
        else:
            as_row = _as_data if as_json else _profile_row
            rows = [as_row(profile) for profile in profiles.shipped().values()]
        print_rows(rows, _LIVE_COLUMNS if live else _COLUMNS, as_json=as_json, empty="no devices")
        for line in troubles:
            say(f"qflows: not shown: {line}", err=True, fg="yellow")
        if not as_json and not live:
            say("any other device: vendor:device-id, e.g. ionq:qpu.forte-1; `--live VENDOR` lists the vendor's devices")


def _as_data(profile: profiles.DeviceProfile) -> dict[str, Any]:
    """A row with what programs want besides: limits as numbers, batches, price."""
    limits = profile.limits()
    return _profile_row(profile) | {
        "limits": _limits_row(limits),
        "takes_batches": limits.max_programs is None or limits.max_programs > 1,
        "price": profile.price.model_dump(mode="json", exclude_none=True) if profile.price is not None else None,
    }


def _profile_row(profile: profiles.DeviceProfile) -> dict[str, str]:
    return {
        "device": profile.name,
        "vendor": profile.provider,
        "vendor's name": profile.device,
        "qubits": str(profile.qubits or ""),
        "max shots": ("exact, " if profile.exact else "") + str(profile.max_shots or ""),
        "about": profile.description,
    }


def _live(vendor: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    from qflows import providers
    from qflows.cli.connection import default_client
    from qflows.core import live

    names = providers.names() if vendor == _ALL else (vendor,)
    found = live.look(default_client().vendors, names, is_chosen=vendor != _ALL)
    return [_live_row(one) | _live_data(one) for one in found.standings], found.troubles


def _live_row(one: Standing) -> dict[str, str]:
    info = one.info
    queue = "" if info is None else str(info.queue_length or "")
    if info is not None and info.queue_s is not None:
        queue = f"{info.queue_s:.0f} s"
    return {
        "device": f"{one.vendor}:{one.device_id}",
        "vendor": one.vendor,
        "vendor's name": one.device_id,
        "profiles": ", ".join(one.names),
        "qubits": str(info.n_qubits or "") if info is not None else "",
        "state": one.state,
        "queue": queue,
        "about": one.note,
    }


def _live_data(one: Standing) -> dict[str, Any]:
    info = one.info
    if info is None:
        return {"queue_s": None, "queue_length": None, "available": False}
    return {"queue_s": info.queue_s, "queue_length": info.queue_length, "available": info.is_available}


@app.command("show")
def show(
    device: Annotated[
        str,
        typer.Argument(autocompletion=completion.devices, help="A device from `qflows devices`, or vendor:device-id."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a device: limits, price, and the options it takes.

    Limits are the device's own as of now, narrowed by its profile. Options come with the vendor's own defaults, those
    that cost money marked. Needs the vendor's credentials, because they may depend on the account.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client

        core = default_client()
        target = core.device(device)
        options = [
            _option_row(name, field)
            for name, field in target.provider.options_model(target.profile.device).model_fields.items()
        ]
        profile = target.profile.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        limits = _limits_row(target.limits)  # a device that the vendor does not know is refused here
        if as_json:
            now = core.card(device).to_dict()
            print_json(
                {"device": target.profile.name, "profile": profile, "limits": limits, "now": now, "options": options}
            )
            return
        if target.profile.price is not None:
            profile["price"] = _price(target.profile.price)
        now = core.card(device)
        told = {"batches": _batches(now), "queue": _queue(now), "state": now.state}
        told = {name: value for name, value in told.items() if value}
        for name, value in (profile | limits | told).items():
            say(f"{name.replace('_', ' '):>16}  {value}")
        say("")
        print_rows(options, ("option", "default", "costs money", "about"), as_json=False, empty="no options")


@app.command("takes")
def takes(
    devices: Annotated[
        list[str], typer.Argument(autocompletion=completion.devices, help="Devices from `qflows devices`.")
    ],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what devices take beyond gates.

    That is barriers, delays, resets, branches, native gates, physical qubits and verbatim programs, each with the
    vendor's own reason or terms. The vendors are asked now, so credentials for them are needed.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client
        from qflows.pages import takes as page

        core = default_client()
        found = [page.row(core.device(name)) for name in devices]
        if as_markdown:
            say(page.markdown(found), nl=False)
            return
        if as_json:
            print_json(found)
            return
        rows = [
            {"device": one["device"], "feature": name, "taken": "yes" if one[name]["taken"] else "no"}
            | {"terms": one[name]["terms"]}
            for one in found
            for name in page.COLUMNS
        ]
        print_rows(rows, ("device", "feature", "taken", "terms"), as_json=False, empty="no devices")


@app.command("choose")
def choose(
    rule: Annotated[str, typer.Argument(help="A rule such as 'cheapest(ionq-*; queue<2h)', or the name of one.")],
    program: Annotated[
        list[Path] | None, typer.Option(help="An OpenQASM 2 or 3 file; repeatable, several are priced as one batch.")
    ] = None,
    shots: Annotated[int, typer.Option(help="Shots per circuit; 0 evaluates exactly where the device can.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a rule would choose now.

    Lists every device with its numbers, or the reason why it is excluded. Nothing is bought or recorded. The exit code
    is 1 if no device fits.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client
        from qflows.core.choice import asking
        from qflows.pages import choices as page

        core = default_client()
        wanted = core.rule(rule)
        if wanted is None:
            raise ProgramRejected(
                f"{rule!r} is not a rule, which chooses among devices; write, for example, 'cheapest(ibm-*; queue<2h)'"
            )
        for path in program or []:
            if not path.is_file():
                raise ProgramRejected(f"no such file: {path}; give the path of an OpenQASM 2 or 3 file")
        sources = list(program or [])
        asked = asking.for_programs(sources if len(sources) > 1 else sources[0], shots or None, {}) if sources else None
        fitting, everyone = core.chooser.look(wanted, asked or asking.for_a_place("cli"))
        rank = {one.device: place for place, one in enumerate(fitting, start=1)}
        found = [one.row(rank.get(one.device)) for one in (*fitting, *(one for one in everyone if one.out))]
        if as_json:
            print_json({"rule": str(wanted), "device": fitting[0].device if fitting else None, "candidates": found})
        else:
            rows = page.rows(found)
            columns = [name for name in page.COLUMNS if any(row[name] for row in rows)]
            print_rows(rows, columns, as_json=False, empty="no devices")
            say(f"{wanted} would choose {fitting[0].device}" if fitting else f"no device fits {wanted}")
        if not fitting:
            raise typer.Exit(1)


def _batches(card: DeviceCard) -> str:
    if not card.takes_batches:
        return "one circuit a job; a list becomes several jobs"
    return f"up to {card.max_programs:,} circuits a job" if card.max_programs else "several circuits a job"


def _queue(card: DeviceCard) -> str:
    jobs = f"{card.queue_length:,} jobs" if card.queue_length is not None else ""
    wait = f"about {card.queue_s:,.0f} s" if card.queue_s is not None else ""
    return ", ".join(filter(None, (jobs, wait)))


def _limits_row(limits: Limits) -> dict[str, Any]:
    """Limits by the names that profiles have for them, unknown ones left out."""
    told = {
        "qubits": limits.max_qubits,
        "min_shots": limits.min_shots if limits.min_shots > 1 else None,
        "max_shots": limits.max_shots,
        "max_programs": limits.max_programs,
        "max_total_shots": limits.max_total_shots,
    }
    return {name: value for name, value in told.items() if value is not None}


def _price(price: Price) -> str:
    parts = ((price.per_job, "a job"), (price.per_shot, "a shot"), (price.per_minute, "a minute"))
    text = " + ".join(f"{amount:g} {price.unit} {each}" for amount, each in parts if amount)
    told = ", ".join(word for word in (price.source, str(price.date or "")) if word)
    return f"{text or 'free'}{f' ({told})' if told else ''}"


def _option_row(name: str, field: FieldInfo) -> dict[str, str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    ours = "" if default is None or default == {} else str(default)
    return {
        "option": name,
        "default": str(extra.get("vendor_default", ours)),
        "costs money": str(extra.get("costs", "")),
        "about": field.description or "",
    }
