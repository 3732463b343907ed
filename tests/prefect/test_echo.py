"""Every vendor sends back every header and body in every place for text: no secret and no escape sequence stays."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import echo_server
import pytest
from deployed_flows import BELL
from echo_server import ESCAPES, SHAPES, Echo
from prefect.logging.handlers import APILogWorker
from prefect_records import artifacts, flow_run, task_runs
from prefect_server import PrefectServer
from typer.testing import CliRunner

from qflows import providers
from qflows.errors import QflowsError
from qflows.flows import run_circuits
from qflows.programs import to_program
from qflows.protocol import JobSpec
from qflows.sandbox import Sandbox

CONTROL = [char for char in ESCAPES if not char.isprintable()]


@dataclass(frozen=True)
class Vendor:
    """How a vendor is reached, and which requests are about jobs."""

    name: str
    device: str
    device_id: str
    about_jobs: str
    secrets: tuple[str, ...]  # variables
    urls: Mapping[str, str]  # variable: path
    more: Mapping[str, str] = field(default_factory=dict)


VENDORS = {
    one.name: one
    for one in (
        Vendor("ionq", "ionq:simulator", "simulator", r"/jobs", ("IONQ_API_KEY",), {"IONQ_API_URL": "/v0.4"}),
        Vendor(
            "ibm",
            "ibm:ibm_kingston",
            "ibm_kingston",
            r"/api/v1/jobs",
            ("QISKIT_IBM_TOKEN",),
            {"QISKIT_IBM_URL": "/api/v1"},
            {"QISKIT_IBM_CHANNEL": "ibm_quantum_platform"},
        ),
        Vendor(
            "braket",
            "braket-sv1",
            "arn:aws:braket:::device/quantum-simulator/amazon/sv1",
            r"/quantum-task",
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
            {"AWS_ENDPOINT_URL": ""},
            {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"},
        ),
        Vendor(
            "qbraid",
            "qbraid-qir-sv",
            "qbraid:qbraid:sim:qir-sv",
            r"/jobs",
            ("QBRAID_API_KEY",),
            {"QBRAID_API_URL": "/api/v1"},
            {"QBRAID_CONFIG_FILE": os.devnull},
        ),
        Vendor(
            "qbraid token",
            "qbraid-qir-sv",
            "qbraid:qbraid:sim:qir-sv",
            r"/jobs",
            ("QBRAID_ACCESS_TOKEN",),
            {"QBRAID_API_URL": "/api/v1"},
            {"QBRAID_CONFIG_FILE": os.devnull},
        ),
    )
}


@pytest.fixture(scope="module")
def emulators() -> Iterator[Sandbox]:
    """All vendors, for the requests that are not echoed."""
    with Sandbox(vendors=("ionq", "ibm", "braket", "qbraid")) as running:
        yield running


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The server."""
    with echo_server.running() as server:
        yield server


@dataclass
class Desk:
    """One vendor behind the echo, with secrets of the test's own in the environment."""

    vendor: Vendor
    echo: Echo
    canaries: Sequence[str]
    env: Mapping[str, str]

    def found_in(self, text: str | bytes) -> list[str]:
        """Secrets, in any notation, that a text shows."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        forms = [form for secret in (*self.canaries, *self.echo.tokens) for form in _forms(secret)]
        return [form.decode() for form in forms if form in data]

    def clean(self, text: str) -> None:
        """Fails if a secret or a control character is in the text."""
        assert self.found_in(text) == []
        assert [char for char in CONTROL if char in text] == []


def _forms(secret: str) -> list[bytes]:
    data = secret.encode()
    cores = [base64.b64encode(b"x" * before + data)[4:-4] for before in range(3)]
    return [data, quote(secret, safe="").encode(), data.hex().encode(), *cores]


@pytest.fixture(params=VENDORS)
def desk(
    request: pytest.FixtureRequest,
    echo: Echo,
    emulators: Sandbox,
    own_ledger: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """Each vendor in turn; everything is echoed."""
    vendor = VENDORS[request.param]
    canaries = [f"canary+{uuid.uuid4().hex}/{uuid.uuid4().hex}" for _ in vendor.secrets]
    if vendor.name == "braket":
        canaries[0] = f"AKIA{uuid.uuid4().hex.upper()}"  # a slash would end it in the header
    name = vendor.name.split()[0]
    env = {**vendor.more, **dict(zip(vendor.secrets, canaries, strict=True))}
    env |= {variable: echo.url + path for variable, path in vendor.urls.items()}
    if name == "ibm":
        env["QISKIT_IBM_INSTANCE"] = emulators.env["QISKIT_IBM_INSTANCE"]
    echo.behind = emulators.urls[name]
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    return Desk(vendor, echo, canaries, env | own_ledger)


def _calls(vendor: Vendor) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every verb of a provider."""
    one: Any = providers.connect(vendor.name.split()[0], None, timeout_s=10)
    spec = JobSpec(one.name, vendor.device_id, (to_program(BELL),), 20)
    yield "submit", lambda: one.submit(spec, "0" * 64)
    yield "poll", lambda: one.poll(["some-id"])
    since = datetime(2026, 1, 1, tzinfo=UTC)
    yield "find", lambda: one.find_submitted(["0" * 64], since=since, device_ids=[vendor.device_id])
    yield "exists", lambda: one.exists("some-id")
    yield "result", lambda: one.result("some-id", spec, "0" * 64)
    yield "cancel", lambda: one.cancel("some-id")
    yield "devices", lambda: one.devices()
    yield "limits", lambda: one.limits(vendor.device_id)
    if hasattr(one, "open_session"):
        yield "open", lambda: one.open_session(vendor.device_id, mode="dedicated", max_time_s=600, options={})
        yield "session", lambda: one.session("some-id")
        yield "close", lambda: one.close_session("some-id")


def test_no_error_of_a_provider_shows_what_was_sent(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)  # some libraries log headers at this level
    n_errors = 0
    for number, shape in enumerate(SHAPES):
        # in turn: only requests about jobs, which a provider reaches after others; and all
        desk.echo.shape, desk.echo.only = shape, (desk.vendor.about_jobs, "")[number % 2]
        for _, call in _calls(desk.vendor):
            try:
                call()
            except QflowsError as error:
                n_errors += 1
                shown = "".join(traceback.format_exception(error, chain=False))
                desk.clean("\n".join([shown, repr(vars(error)), *map(str, vars(error).values())]))
            except Exception:  # noqa: BLE001, S110  (which errors an adapter raises is the matter of other tests)
                pass
    assert desk.echo.n_echoed > 20
    assert n_errors > 20
    assert desk.found_in("\n".join(caplog.handler.format(record) for record in caplog.records)) == []


def _ledger(env: Mapping[str, str]) -> bytes:
    path = Path(env["QFLOWS_LEDGER_URL"].removeprefix("sqlite:///"))
    return b"".join(one.read_bytes() for one in path.parent.glob(path.name + "*"))


@pytest.mark.parametrize("shape", ["400 json", "200 words"])
def test_commands_and_ledger_show_nothing(desk: Desk, shape: str, tmp_path: Path) -> None:
    from qflows.cli.app import app

    desk.echo.shape, desk.echo.only = shape, desk.vendor.about_jobs
    (tmp_path / "bell.qasm").write_text(BELL)
    run = ["run", str(tmp_path / "bell.qasm"), "--device", desk.vendor.device, "--shots", "20", "--timeout", "1"]
    show = [["jobs", "ls"], ["jobs", "ls", "--json"], ["report"], ["devices", "--live", desk.vendor.name.split()[0]]]
    runner = CliRunner()
    said = [runner.invoke(app, words, prog_name="qflows") for words in (run, *show)]
    assert said[0].exit_code != 0
    assert desk.echo.n_echoed > 0, said[0].output
    for one in said:
        desk.clean(one.output + "".join(traceback.format_exception(one.exception) if one.exception else ()))
    assert desk.found_in(_ledger(desk.env)) == []
    for mark in (b"\x1b]0;owned", "\u202egnp".encode()):
        assert mark not in _ledger(desk.env)


@pytest.mark.server
def test_flows_leave_nothing_in_prefect(
    desk: Desk, prefect_api: PrefectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.echo.shape, desk.echo.only = "401 json", desk.vendor.about_jobs
    state: Any = run_circuits([BELL], desk.vendor.device, 20, timeout=1, return_state=True)
    run_id = str(state.state_details.flow_run_id)
    APILogWorker.drain_all(timeout=10)
    task_runs(run_id)  # all is recorded
    assert desk.echo.n_echoed > 0
    for shown in (flow_run(run_id).model_dump_json(), *(one.model_dump_json() for one in artifacts(run_id))):
        assert desk.found_in(shown) == []
    files = [path for path in prefect_api.home.rglob("*") if path.is_file()]
    assert [path.name for path in files if desk.found_in(path.read_bytes())] == []
    assert desk.found_in(_ledger(desk.env)) == []
    assert desk.found_in("".join(capsys.readouterr())) == []


@pytest.mark.parametrize("desk", ["braket"], indirect=True)
def test_a_command_s_own_process_prints_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.echo.only = desk.vendor.about_jobs
    (tmp_path / "bell.qasm").write_text(BELL)
    command = [sys.executable, "-m", "qflows.cli", "run", str(tmp_path / "bell.qasm")]
    command += ["--device", desk.vendor.device, "--shots", "20", "--timeout", "1"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(command, env={**clean, **desk.env}, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "owned" in done.stderr  # what the vendor said is shown
    desk.clean(done.stdout + done.stderr)
