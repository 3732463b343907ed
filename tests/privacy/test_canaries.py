"""Vendors send back every header and body in every error: no verb, page, error, repr, ledger or archive shows a key."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from canaries import archive_bytes, credentials, found_in, ledger_bytes  # noqa: E402
from hostile_vendors import BELL, VENDORS, Vendor, echo_server  # noqa: E402

from qflows.cli.app import app  # noqa: E402
from qflows.core.client import Client  # noqa: E402
from qflows.ledger import lanes  # noqa: E402
from qflows.pages import morning, own_page, wall  # noqa: E402
from qflows.primitives import EstimatorV2, SamplerV2  # noqa: E402
from qflows.privacy import redaction  # noqa: E402
from qflows.sandbox import Sandbox  # noqa: E402
from qflows.settings import Settings  # noqa: E402

WAYS_IN = VENDORS | {"qbraid token": replace(VENDORS["qbraid"], secrets=("QBRAID_ACCESS_TOKEN",))}
NEVER_SENT = "AWS_SECRET_ACCESS_KEY"
NOTHING = r"(?!)"
DOORS = r"^(?!/(iam|search|catalog))"  # without their answers some clients never ask the rest


@pytest.fixture(scope="module")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(VENDORS)) as running:
        yield running


@dataclass
class Desk:
    """One vendor behind the echo, credentials of the test's own, and all that was shown."""

    vendor: Vendor
    echo: Any
    core: Client
    secrets: dict[str, str]
    bell: str
    sent: list[bytes] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)

    def command(self, *words: str) -> str:
        """Runs a command; keeps what it printed, and the traceback of an error that left it."""
        lanes.free(self.core.ledger, self.vendor.name)
        done = CliRunner().invoke(app, list(words), prog_name="qflows")
        left = done.exception if not isinstance(done.exception, SystemExit) else None
        said = done.output + "".join(traceback.format_exception(left) if left else ())
        return self.keep(" ".join(words), said)

    def call(self, name: str, act: Callable[[], Any]) -> None:
        """Keeps what a person sees of a value or of an error, with everything that caused it."""
        lanes.free(self.core.ledger, self.vendor.name)
        try:
            value = act()
        except Exception as error:  # noqa: BLE001 - which one is the matter of other tests
            told = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
            self.keep(name, "\n".join(told))
        else:
            page = getattr(value, "_repr_html_", lambda: "")()
            self.keep(name, f"{value!r}\n{value!s}\n{page}")

    def keep(self, name: str, text: str) -> str:
        number = sum(key.startswith(name) for key in self.shown)
        self.shown[f"{name} #{number}"] = text
        return text

    def leaks(self) -> dict[str, list[str]]:
        """What shows a credential, by the place where it does."""
        every = [*self.secrets.values(), *self.echo.tokens]
        return {name: hits for name, text in self.shown.items() if (hits := found_in(every, text))}


@pytest.fixture(params=WAYS_IN)
def desk(
    request: pytest.FixtureRequest, all_vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    vendor, secrets = WAYS_IN[request.param], credentials(WAYS_IN[request.param].secrets)
    all_vendors.admin.reset()
    with echo_server.running() as echo:
        echo.only, echo.behind = NOTHING, all_vendors.urls[vendor.name]
        env = {**vendor.more, **secrets, **{name: echo.url + path for name, path in vendor.urls.items()}}
        if vendor.name == "ibm":
            env["QISKIT_IBM_INSTANCE"] = all_vendors.env["QISKIT_IBM_INSTANCE"]
        env |= {"QFLOWS_HOME": str(tmp_path), "QFLOWS_SETTLE_S": "0.1", "QFLOWS_POLL_MIN_S": "0.01"}
        env |= {"QFLOWS_HTTP_TIMEOUT_S": "5", "PREFECT_HOME": str(tmp_path / "prefect"), "COLUMNS": "400"}
        for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        core = Client(Settings())
        (tmp_path / "bell.qasm").write_text(BELL)
        made = Desk(vendor, echo, core, secrets, str(tmp_path / "bell.qasm"))
        answer = echo.answer

        def remembered(*asked: Any) -> Any:
            given = answer(*asked)
            made.sent.append(given[2])
            return given

        echo.answer = remembered
        yield made
        core.ledger.close()


def _ask(desk: Desk, number: int) -> None:
    """Commands that ask the vendor."""
    name, device = desk.vendor.name, desk.vendor.device
    for words in (
        ["run", desk.bell, "--device", device, "--shots", "20", "--timeout", "0.2", "--run-key", f"n{number}"],
        ["jobs", "import", name, "--since", "1h"],
        ["jobs", "import", name, "some-id"],
        ["ledger", "rebuild", name, "--since", "1h"],
        ["doctor", name],
        ["doctor", name, "--json"],
        ["price", desk.bell, "--device", device],
        ["devices", "--live", name],
        ["devices", "show", device],
        ["devices", "takes", device],
        ["devices", "choose", f"cheapest({device}; queue<1h)"],
        ["reconcile"],
    ):
        desk.command(*words)


def _tell(desk: Desk, folder: Path) -> None:
    """Commands and files that tell of what was recorded."""
    archive = folder / "study.zip"
    for words in (
        ["status"],
        ["status", "--json"],
        ["jobs", "ls", "--json"],
        ["jobs", "show", desk.core.jobs()[0].key, "--json"],
        ["lanes", "ls"],
        ["report", "--out", str(folder / "report")],
        ["archive", str(archive), "--since", "1d"],
        ["verify", str(archive)],
    ):
        desk.command(*words)
    pages = [*(folder / "report").iterdir()]
    assert len(pages) == 3
    for page in pages:
        desk.keep(page.name, page.read_text())
    for kind, parts in (("archive", archive_bytes(archive)), ("ledger", ledger_bytes(desk.core.ledger))):
        for part in parts:
            desk.keep(kind, part.decode("latin-1"))


def _calls(desk: Desk, number: int) -> None:
    core, device, name = desk.core, desk.vendor.device, desk.vendor.name
    bell = QuantumCircuit(2, name="bell")
    bell.h(0)
    bell.cx(0, 1)
    measured = bell.copy()
    measured.measure_all()
    buys: dict[str, Any] = {"run_key": f"p{number}", "client": core}
    now = datetime.now(UTC)
    for what, act in {
        "sampler": lambda: SamplerV2(device, shots=10, **buys).run([measured]).result(timeout=0.5),
        "estimator": lambda: (
            EstimatorV2(device, shots=10, **buys).run([(bell, SparsePauliOp("ZZ"))]).result(timeout=0.5)
        ),
        "import": lambda: core.import_jobs(name, since="1h"),
        "rebuild": lambda: core.rebuild([name], since="1h"),
        "price": lambda: core.price(BELL, device=device, shots=10),
        "card": lambda: core.card(device),
        "session": lambda: core.open_session(desk.vendor.session_device or device, f"s{number}", max_time_s=600),
        "jobs": core.jobs,
        "runs": core.runs,
        "a job": lambda: core.jobs()[0],
        "client": lambda: core,
        "settings": lambda: core.settings,
        "vendors": lambda: core.vendors,
        "provider": lambda: core.provider(name),
        "provider's parts": lambda: vars(core.provider(name)),
        "device": lambda: core.device(device),
        "wall": lambda: wall.compose(core.ledger),
        "own page": lambda: own_page.compose(core.ledger, list(core.jobs()), "page"),
        "morning": lambda: morning.to_html(
            morning.compose(morning.gather(core.ledger, now - timedelta(days=1), now + timedelta(minutes=1), []))
        ),
    }.items():
        desk.call(what, act)


@pytest.mark.slow(reason="every verb, in every place where a vendor could send a credential back")
def test_no_verb_shows_a_credential_that_the_vendor_sent_back(
    desk: Desk, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    bought = desk.command("run", desk.bell, "--device", desk.vendor.device, "--shots", "20", "--run-key", "good")
    assert "completed" in bought.lower(), bought
    for number, (shape, only) in enumerate((("400 json", ""), ("200 words", DOORS))):
        desk.echo.shape, desk.echo.only = shape, only
        _ask(desk, number)
        _calls(desk, number)
    _tell(desk, Path(desk.bell).parent)
    desk.keep("log", "\n".join(caplog.handler.format(record) for record in caplog.records))
    desk.keep("terminal", "".join(capfd.readouterr()))
    echoed = b"\n".join(desk.sent)
    assert all(found_in([secret], echoed) for name, secret in desk.secrets.items() if name != NEVER_SENT)
    assert desk.leaks() == {}
    assert sum(redaction.MARK in text for text in desk.shown.values()) > 3


def test_without_the_redactor_they_are_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.echo.shape, desk.echo.only = "400 json", "/jobs|/quantum-task"
    desk.core.provider(desk.vendor.name)
    monkeypatch.setattr(redaction._secrets, "forms", ())
    monkeypatch.setattr(redaction._Secrets, "add", lambda self, secret: None)
    desk.command("jobs", "import", desk.vendor.name, "--since", "1h")
    desk.call("import", lambda: desk.core.import_jobs(desk.vendor.name, since="1h"))
    assert desk.leaks() != {}


def test_pennylane_device_shows_none_either(desk: Desk) -> None:
    qml = pytest.importorskip("pennylane")

    def evaluate() -> Any:
        device = qml.device("qflows", device=desk.vendor.device, wires=2, shots=20, run_key="qml", client=desk.core)
        return qml.QNode(lambda: qml.expval(qml.Z(0)), device)()

    desk.core.provider(desk.vendor.name)
    desk.echo.shape, desk.echo.only = "400 json", DOORS
    desk.call("execute", evaluate)
    assert desk.sent
    assert desk.leaks() == {}
    assert "Refused" in desk.shown["execute #0"] or "JobFailed" in desk.shown["execute #0"]
