"""The checks that cost nothing: this machine, the ledger, and each vendor as far as its account allows."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from qflows import providers
from qflows.core.client import Client
from qflows.core.doctor import network
from qflows.errors import CredentialsMissing, LedgerError, ProviderError, QflowsError, Refused, Throttled
from qflows.ledger import engine as ledger_engine
from qflows.ledger.tables import HEAD
from qflows.protocol import DiagnosedProvider, Finding, Provider, Verdict
from qflows.settings import Settings

_FREE_BYTES = 200_000_000  # less may not hold a night of results
LOCK_WAIT_S = 5.0
_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
MACHINE, LEDGER = "qflows", "ledger"


@dataclass(frozen=True)
class Section:
    """Findings on one subject: qflows, ledger, prefect, or a vendor."""

    subject: str
    findings: tuple[Finding, ...]

    @property
    def is_ok(self) -> bool:
        """True unless something is wrong."""
        return all(finding.verdict is not Verdict.WRONG for finding in self.findings)


@dataclass
class Diagnosis:
    """Everything that was checked."""

    sections: list[Section] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        """True unless something is wrong somewhere."""
        return all(section.is_ok for section in self.sections)

    def section(self, subject: str) -> Section:
        """The findings on one subject."""
        return next(section for section in self.sections if section.subject == subject)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "ok": self.is_ok,
            "sections": [
                {
                    "subject": section.subject,
                    "ok": section.is_ok,
                    "findings": [
                        {"check": f.check, "verdict": f.verdict.value, "seen": f.seen, "remedy": f.remedy}
                        for f in section.findings
                    ],
                }
                for section in self.sections
            ],
        }


def examine(core: Client, vendors: Sequence[str] = (), *, credentials: str | None = None) -> Diagnosis:
    """Check this machine, the ledger and these vendors; without names, all that have credentials here.

    `credentials`: a saved block as type/name, instead of the environment. Buys nothing and changes nothing: a missing
    ledger is not created. Raises UnknownDevice for a vendor that is not installed.
    """
    for name in vendors:
        if name not in providers.names():
            providers.connect(name)  # raises, naming those that are installed
    found = Diagnosis([Section(MACHINE, tuple(machine())), Section(LEDGER, tuple(ledger(core.settings)))])
    for name in vendors or providers.names():
        found.sections.append(
            Section(name, tuple(vendor(core, name, credentials=credentials, is_asked_for=bool(vendors))))
        )
    return found


def machine() -> Iterator[Finding]:
    """Versions of the software that runs here."""
    yield Finding("version", Verdict.OK, f"qflows {_version('qflows')}, Python {platform.python_version()}")
    names = ("qiskit", "qiskit-aer", "prefect", "sqlalchemy", "httpx")
    yield Finding("libraries", Verdict.OK, ", ".join(f"{name} {found}" for name in names if (found := _version(name))))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def ledger(settings: Settings) -> Iterator[Finding]:
    """Findings on the ledger: its location, schema, whether it can be written, and how durably it stores data."""
    url = settings.resolved_ledger_url()
    try:
        parsed = make_url(url)
    except ArgumentError:
        yield Finding(
            "address", Verdict.WRONG, "cannot be parsed", "QFLOWS_LEDGER_URL, such as sqlite:////path/file.db"
        )
        return
    yield Finding("address", Verdict.OK, parsed.render_as_string(hide_password=True))
    path = Path(parsed.database).expanduser() if parsed.get_backend_name() == "sqlite" and parsed.database else None
    if path is not None:
        yield from _place(path)
        if not path.exists():
            return
    try:
        engine = ledger_engine.engine_for(url, busy_s=LOCK_WAIT_S)
    except LedgerError as error:
        yield Finding("opens", Verdict.WRONG, str(error), "see the message")
        return
    try:
        yield from _database(engine, is_sqlite=path is not None)
    except LedgerError as error:
        yield Finding(
            "opens", Verdict.WRONG, str(error), "fix what the message names; nothing can be bought without the ledger"
        )
    finally:
        engine.dispose()


def _place(path: Path) -> Iterator[Finding]:
    folder = next((one for one in (path.parent, *path.parent.parents) if one.exists()), path.parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("folder", Verdict.WRONG, f"{folder} cannot be written", "set QFLOWS_HOME or QFLOWS_LEDGER_URL")
        return
    free = shutil.disk_usage(folder).free
    if free < _FREE_BYTES:
        yield Finding(
            "disk", Verdict.ADVICE, f"{free / 1e6:.0f} MB are free", "free some space; results are stored here"
        )
    else:
        yield Finding("disk", Verdict.OK, f"{free / 1e9:.1f} GB are free")
    if not path.exists():
        yield Finding("schema", Verdict.OK, "no ledger yet; the first job creates it")
        return
    mode = path.stat().st_mode
    if mode & _OTHERS_MAY:
        yield Finding(
            "mode",
            Verdict.ADVICE,
            f"other users of this machine may read it ({stat.filemode(mode)})",
            f"chmod 600 {path}",
        )


def _database(engine: sa.Engine, *, is_sqlite: bool) -> Iterator[Finding]:
    found = ledger_engine.version_of(engine)
    if found is None:
        yield Finding("schema", Verdict.OK, "the database is empty; the first job creates the tables")
    elif found == HEAD:
        yield Finding("schema", Verdict.OK, found)
    else:
        is_older = found < HEAD
        remedy = "`qflows ledger upgrade`" if is_older else "install the qflows that wrote it, or a newer one"
        yield Finding("schema", Verdict.WRONG, f"{found}, this qflows needs {HEAD}", remedy)
    with ledger_engine.faults_as_sentences(engine), engine.connect() as connection:
        writing = connection.execution_options(ledger_write=True)
        with writing.begin() as transaction:
            # a no-op change: takes the lock, touches the file, and is rolled back
            if found is not None:
                writing.execute(sa.text("update qflows_version set version_num = version_num"))
            transaction.rollback()
        yield Finding("writable", Verdict.OK, "yes")
        if is_sqlite:
            yield from _sqlite(connection)
        else:
            kept = str(connection.execute(sa.text("show synchronous_commit")).scalar())
            if kept == "off":
                remedy = "alter role … set synchronous_commit = on: a job that was bought must survive a power cut"
                yield Finding("durable", Verdict.ADVICE, "synchronous_commit is off", remedy)
            else:
                yield Finding("durable", Verdict.OK, f"synchronous_commit {kept}")


def _sqlite(connection: sa.Connection) -> Iterator[Finding]:
    mode = str(connection.exec_driver_sql("pragma journal_mode").scalar())
    if mode == "wal":
        yield Finding("journal", Verdict.OK, "WAL")
    else:
        remedy = (
            "the file system may not support WAL (network drives): put the ledger on a local disk, or on PostgreSQL"
        )
        yield Finding("journal", Verdict.ADVICE, f"{mode}, not WAL: readers wait for writers", remedy)


def vendor(core: Client, name: str, *, credentials: str | None = None, is_asked_for: bool = True) -> Iterator[Finding]:
    """Findings on one vendor: credentials, each address it needs, and the checks of its own adapter.

    `is_asked_for`: missing credentials are then an error, not just a fact.
    """
    try:
        provider = core.provider(name, credentials)
    except CredentialsMissing as error:
        verdict = Verdict.WRONG if is_asked_for else Verdict.UNKNOWN
        yield Finding("credentials", verdict, "none here", str(error))
        return
    except QflowsError as error:
        yield Finding("credentials", Verdict.WRONG, str(error), "fix what the message names")
        return
    except ImportError as error:
        yield Finding("client", Verdict.WRONG, f"cannot be imported: {error}", f"pip install 'qflows[{name}]'")
        return
    yield Finding("credentials", Verdict.OK, f"account {provider.account}")
    if not isinstance(provider, DiagnosedProvider):
        yield Finding("checks", Verdict.OK, "its adapter has no further checks")
        return
    answered = True
    for what, address in provider.addresses().items():
        for finding in network.examine(what, address, timeout_s=min(core.settings.http_timeout_s, 15.0)):
            answered = answered and not (finding.verdict is Verdict.WRONG and "clock" not in finding.check)
            yield finding
    if not answered:
        yield Finding("account", Verdict.UNKNOWN, "not checked: the vendor cannot be reached")
        return
    for finding in _asked(provider, provider.diagnose()):
        answered = answered and finding.verdict is not Verdict.WRONG
        yield finding
    if answered:
        yield from _devices(provider)


def _asked(provider: Provider, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The adapter's findings; an error that stops them is one more."""
    try:
        yield from findings
    except ProviderError as error:
        yield failed("account", error)
    except Exception as error:  # noqa: BLE001  (boundary to vendors' libraries: the other checks go on)
        yield Finding("account", Verdict.WRONG, f"{provider.name}: {type(error).__name__}: {str(error)[:300]}")


def failed(check: str, error: ProviderError) -> Finding:
    """A finding for a question that was not answered properly."""
    if isinstance(error, Throttled):
        wait = f"in {error.retry_after_s:.0f} s" if error.retry_after_s else "later"
        return Finding(check, Verdict.ADVICE, str(error), f"try again {wait}")
    remedy = (
        "see the message"
        if isinstance(error, Refused)
        else "try again; if the problem persists, check the vendor's status page"
    )
    return Finding(check, Verdict.WRONG, str(error), remedy)


def _devices(provider: Provider) -> Iterator[Finding]:
    try:
        found = list(provider.devices())
    except ProviderError as error:
        yield failed("devices", error)
        return
    usable = sum(info.is_available for info in found)
    verdict = Verdict.OK if found else Verdict.WRONG
    remedy = "" if found else "ask the vendor for access to a device"
    yield Finding("devices", verdict, f"{len(found)} seen, {usable} available now", remedy)
