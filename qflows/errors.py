"""The error hierarchy. The type says whether a call may be repeated, so code never has to parse a message.

A message says what happened, to which job or device, and what to do next. Secrets and control characters are removed
from messages and fields when an error is created, wherever the text came from.
"""

from __future__ import annotations

import linecache
import sys
import sysconfig
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ClassVar

from qflows.privacy.redaction import clean

_HERE = str(Path(__file__).parent)
_NOT_THE_USERS = (_HERE, *{sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class QflowsError(Exception):
    """Base class of every error that qflows raises deliberately.

    Keyword fields become attributes and survive pickling, because errors travel between processes.
    """

    remedy: ClassVar[str] = "Read the message: it names the problem and the next step."

    fields: tuple[str, ...] = ()
    longest: dict[str, int] = {}  # characters kept of the message ("") and of fields

    def __init__(self, message: str = "", **fields: Any) -> None:
        said = message or (self.__doc__ or type(self).__name__).splitlines()[0]
        super().__init__(clean(said, cap=self.longest.get("")))
        unknown = set(fields) - set(self.fields)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {sorted(unknown)}")
        for name in self.fields:
            value = fields.get(name)
            setattr(self, name, clean(value, cap=self.longest.get(name)) if isinstance(value, str) else value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], {name: getattr(self, name) for name in self.fields})

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows, line by line: the user's own lines and the message. IPython calls this by name.

        `%tb Verbose`, or `%xmode Verbose` beforehand, shows every frame.
        """
        if (whole := _verbose_traceback(self)) is not None:
            return whole
        shown = [line for frame, number in _frames(self.__traceback__) for line in _lines_of(frame, number)]
        return [
            *shown,
            f"{type(self).__name__}: {self}",
            "",
            "(your own lines only; %tb Verbose shows all)",
        ]


def _rebuild(kind: type[QflowsError], message: str, fields: dict[str, Any]) -> QflowsError:
    return kind(message, **fields)


def _verbose_traceback(error: QflowsError) -> list[str] | None:
    """IPython's full traceback if its user selected verbose mode; None otherwise."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    if shell is None or shell.InteractiveTB.mode != "Verbose":
        return None
    return list(shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__, tb_offset=1))


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of the user's own code, outermost first: not of qflows, Python or an installed package."""
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if not name.startswith(_NOT_THE_USERS) and not name.startswith("<frozen "):
            yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _lines_of(frame: FrameType, number: int) -> list[str]:
    """One frame: where it is, and its line."""
    name = frame.f_code.co_filename
    cell = sys.modules.get("IPython") is not None and "ipykernel_" in name
    place = "this notebook" if cell else name
    inside = "" if frame.f_code.co_name == "<module>" else f", in {frame.f_code.co_name}"
    line = linecache.getline(name, number, frame.f_globals).strip()
    return [f"{place}, line {number}{inside}", *([f"----> {line}"] if line else []), ""]


class ProgramRejected(QflowsError):
    """Our own check failed; nothing was sent and nothing was recorded."""

    remedy = "Fix the call; nothing was bought. The message names the argument or circuit and what the device accepts."


class RunKeyMissing(QflowsError):
    """Outside a flow, run_key= is required."""

    remedy = 'Pass `run_key="a-name"`; the same key later continues the run. Inside a flow it is optional.'


class UnknownDevice(QflowsError):
    """There is no device profile with this name, and it is not of the form vendor:device-id."""

    remedy = "`qflows devices` lists the names; any other device is `vendor:device-id`."


class NoDeviceFits(UnknownDevice):
    """No device meets the conditions of a rule; the message gives the reason for each. Nothing was bought."""

    remedy = "Run `qflows devices choose RULE --program FILE` to see every device's numbers, then loosen a condition."


class CredentialsMissing(QflowsError):
    """No credentials for this vendor: neither a block nor the vendor's environment variables."""

    remedy = "Export the vendor's variables, or save a credentials block and name it in the device profile."


class OtherAccount(QflowsError):
    """The job, session or group belongs to another account of the vendor; it was not touched and continues there."""

    remedy = (
        "Use the credentials of the account that the message names, or `qflows accounts same` "
        "if both keys belong to one account."
    )

    fields = ("provider", "account", "pending")
    provider: str | None
    account: str | None
    pending: tuple[str, ...] | None


class PrefectMissing(QflowsError):
    """The request needs Prefect, and no API is configured."""

    remedy = "Set PREFECT_API_URL, or start a server with `qflows up`."


class SettingsInvalid(QflowsError, ValueError):
    """A `QFLOWS_*` variable cannot be used, or is misspelled; nothing was sent."""

    remedy = "Correct or unset the variable that the message names; the reference of settings lists all."


class OverBudget(QflowsError):
    """A budget has no room for the purchase; nothing was sent.

    Amounts are decimal text in `currency`. `asked` is None if the maximum cost of the purchase is unknown.
    `policy` is `ask` if a person may approve it; see `qflows budgets approve`. `denied`: who did not, and why.
    """

    fields = ("budget", "period", "currency", "limit", "spent", "reserved", "asked", "policy", "run_key", "denied")
    budget: str | None
    period: str | None
    currency: str | None
    limit: str | None
    spent: str | None
    reserved: str | None
    asked: str | None
    policy: str | None
    run_key: str | None
    denied: str | None

    @property
    def needed(self) -> Decimal:
        """By how much the budget must be exceeded: `asked`, and more if bills have overdrawn it."""
        asked, spent, reserved, limit = (
            Decimal(one or 0) for one in (self.asked, self.spent, self.reserved, self.limit)
        )
        return max(asked, spent + reserved + asked - limit)


class ProviderError(QflowsError):
    """A request to a vendor failed, or its answer is not a result."""

    remedy = "See the vendor's code and message in the fields; `qflows lanes ls` shows its last answer."

    fields = ("provider", "http_status", "vendor_code", "vendor_message", "retry_after_s", "body")
    longest = {"": 4_000, "vendor_code": 200, "vendor_message": 2_000, "body": 4_000}
    provider: str | None
    http_status: int | None
    vendor_code: str | None
    vendor_message: str | None
    retry_after_s: float | None
    body: str | None


class Refused(ProviderError):
    """The vendor said no; nothing runs there. Never retry unchanged."""

    remedy = (
        "Fix what the vendor objects to: permissions, credit, options or the circuit. The "
        "next attempt of the run may submit again."
    )


class VendorGroupClosed(Refused):
    """The vendor's group that the job names takes no more jobs; nothing runs there."""


class NotSent(ProviderError):
    """The request provably never left this machine. Retry freely."""

    remedy = "Repeat the call; nothing left this machine. Check the network and the vendor's address."


class Throttled(NotSent):
    """The vendor rate-limited the request before accepting anything. Retry after `retry_after_s`."""

    remedy = "Wait for `retry_after_s`, or let `wait` do it. `qflows lanes ls` shows when the next request is due."


class Ambiguous(ProviderError):
    """The vendor may have accepted the request. It is settled by look-up and never sent again automatically."""

    remedy = "Do not repeat the call: `wait` or the reconciler asks the vendor and settles it."


class Unreadable(ProviderError):
    """The answer does not match the documented format. The body is kept for inspection."""

    remedy = "The answer is kept. `qflows jobs decode KEY` decodes it again, for example after updating qflows."


class JobFailed(QflowsError):
    """The vendor ran the job and it failed, or cancelled it. Counts may still exist for parts of it."""

    remedy = (
        "Read `reason` and `vendor_code`. `resubmit=1` allows one new purchase; `qflows batches rerun "
        "ID` buys only the missing circuits."
    )

    fields = ("key", "vendor_id", "reason", "vendor_code", "provider", "retryable")
    key: str | None
    vendor_id: str | None
    reason: str | None
    vendor_code: str | None
    provider: str | None
    retryable: bool | None


class JobCancelled(JobFailed):
    """The job was cancelled before it produced counts."""

    remedy = "Submit again with another `label=`, or with `resubmit=1`."


class InDoubt(QflowsError):
    """Only a person can determine whether the vendor has this job, and record that with `qflows jobs resolve`."""

    remedy = "Look for the job in the vendor's console, then `qflows jobs resolve KEY --submitted ID` or `--absent`."

    fields = ("key", "provider")
    key: str | None
    provider: str | None


class WaitTimeout(QflowsError, TimeoutError):
    """The deadline passed first; jobs at the vendor keep running, and the next wait continues with all of them."""

    remedy = (
        "Call again with the same run key, or `qflows.attach(KEY)`: jobs at the vendor keep running, and the next wait "
        "sends those that were not sent. `qflows jobs show KEY` shows their status."
    )

    fields = ("pending",)
    pending: tuple[str, ...] | None


class ResultsHeld(QflowsError):
    """The jobs are at the vendor, but their results cannot be read: withheld, in an unknown format, or not told of."""

    remedy = (
        "Remove the reason named (an unpaid bill, private results, a vendor outage), then wait again; it buys nothing."
    )

    fields = ("pending",)
    pending: tuple[str, ...] | None


class UnknownJob(QflowsError, LookupError):
    """The ledger has no job with this key or vendor id."""

    remedy = "`qflows jobs ls` lists the jobs in this ledger; `qflows ledger where` shows which ledger it is."


class SeveralFit(UnknownJob):
    """The given id prefix matches more than one thing; give more characters."""

    remedy = "Give more characters of the id."


class LedgerError(QflowsError):
    """The ledger could not do its work; nothing was sent."""

    remedy = "Nothing was sent; see the message, then repeat the call."


class LedgerUnavailable(LedgerError):
    """The ledger cannot be opened, read or written."""

    remedy = "Check `qflows ledger where`, the disk, and for PostgreSQL the server and the password."


class ArchiveMissing(LedgerError):
    """A job's results are in an archive file that is not here, cannot be read, or could not be written."""

    remedy = "Put the file that the message names into the folder of archives, or set QFLOWS_ARCHIVE to its folder."


class LedgerVersionError(LedgerError):
    """The ledger's schema has another version."""

    remedy = "`qflows ledger upgrade`, or update qflows on this machine."


class StaleClaim(LedgerError):
    """Another process has taken over this job; this process must drop it."""

    remedy = "Nothing to do: another process has the job. Wait for it, or attach to it."


class KeyReused(LedgerError):
    """The key already belongs to a different job: two different runs use the same run key."""

    remedy = "Use another run key; this one belongs to a run with different contents."


class IllegalTransition(LedgerError):
    """The state table does not allow this transition."""

    remedy = "Please report it with `qflows jobs show KEY --json`."


class DocumentError(QflowsError):
    """A YAML document is invalid; the message gives file, line and key."""

    remedy = "Fix the document at the file, line and key in the message."


class GroupError(QflowsError):
    """The group cannot do this in its present state."""

    remedy = "`qflows groups show ID` shows the group's state and jobs."

    fields = ("group_id", "state")
    group_id: str | None
    state: str | None


class GroupClosed(GroupError):
    """The group accepts no more jobs; nothing was bought and nothing was recorded."""

    remedy = "Open a group with another name, or pass a longer `max_ttl=`."


class CallbackFailed(GroupError):
    """The function registered with `on_all_complete` raised; jobs and counts are not affected."""

    remedy = "Fix the function, then run `qflows groups callback ID --again`."
