"""Block documents on a real Prefect server: saved once, found by devices, and no secret anywhere but in its block."""

from __future__ import annotations

import base64
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as running
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_API_URL, temporary_settings
from prefect_records import flow_run, task_runs, until
from prefect_server import PrefectServer
from typer.testing import CliRunner

import qflows
from qflows.cli.app import app
from qflows.core import profiles
from qflows.core.client import Client
from qflows.errors import CredentialsMissing, DocumentError, NotSent, QflowsError
from qflows.ledger import Ledger, spending
from qflows.ledger.budgets import MICRO
from qflows.prefect import client as prefect_client
from qflows.prefect.blocks import apply
from qflows.prefect.blocks import device as device_block
from qflows.prefect.blocks.apply import Action, Outcome
from qflows.prefect.blocks.collection import IonQCredentials
from qflows.prefect.blocks.device import DeviceProfileBlock
from qflows.prefect.client import SavedBlocks
from qflows.sandbox import Sandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api", "own_ledger")]

CANARY = "canary-91c4-not-to-be-seen"
PLAIN = "canary-in-a-field-that-is-no-secret"
BELL = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
DEVICE = "kind: device\nname: {name}\nprovider: local\ndevice: aer\nmax_shots: {shots}\nsimulator: true\n"
IONQ = "kind: credentials\nname: {name}\nblock: qflows-ionq-credentials\nfields:\n  api_key: ${{MY_KEY}}\n"


def documents(folder: Path, **texts: str) -> Path:
    """A folder with one document per keyword."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def actions(outcomes: list[Outcome]) -> dict[str, Action]:
    return {outcome.block: outcome.action for outcome in outcomes}


def document_ids() -> dict[str, tuple[str, str]]:
    """Id and time of the last change of every saved block."""
    with get_client(sync_client=True) as api:
        found = api._client.post("/block_documents/filter", json={}).json()
    return {f"{one['block_type']['slug']}/{one['name']}": (one["id"], one["updated"]) for one in found}


def test_second_apply_changes_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    folder = documents(tmp_path / "d", a=DEVICE.format(name="twice", shots=5), b=IONQ.format(name="twice"))
    first = CliRunner().invoke(app, ["apply", str(folder)])
    assert (first.exit_code, first.stdout.count("created")) == (0, 3)  # two rows and the sum
    before = document_ids()

    second = CliRunner().invoke(app, ["apply", str(folder)])
    assert (second.exit_code, "2 unchanged: nothing to do" in second.stdout) == (0, True)
    assert document_ids() == before
    assert CANARY not in first.output + second.output


def test_shipped_documents_are_unchanged_after_they_were_applied() -> None:
    folder = profiles.documents_folder() / "devices"
    assert apply.apply([folder], {})
    assert {one.action for one in apply.apply([folder], {})} == {Action.UNCHANGED}


def test_applied_budget_is_a_block_and_in_force_until_a_changed_document_is_applied(
    tmp_path: Path, own_ledger: dict[str, str]
) -> None:
    ledger = Ledger.open(own_ledger["QFLOWS_LEDGER_URL"])
    shipped = profiles.documents_folder() / "budgets"
    applied = CliRunner().invoke(app, ["apply", str(shipped)])
    assert applied.exit_code == 0, applied.output
    assert "qflows-budget/month" in document_ids()
    (standing,) = spending.standing(ledger)
    assert (standing.budget.name, standing.limit) == ("month", 1000 * MICRO)

    smaller = (shipped / "month.yaml").read_text().replace("amount: 1000", "amount: 20")
    changed = CliRunner().invoke(app, ["apply", str(documents(tmp_path / "d", month=smaller))])
    assert "updated" in changed.output
    assert [one.limit for one in spending.standing(ledger)] == [20 * MICRO]

    wrong = smaller.replace("policy: refuse", "policy: shout")
    refused = CliRunner().invoke(app, ["apply", str(documents(tmp_path / "wrong", month=wrong))])
    assert refused.exit_code == 2
    assert "policy" in refused.output
    assert [one.limit for one in spending.standing(ledger)] == [20 * MICRO]
    ledger.close()


def test_changed_document_is_updated_in_place_by_the_fields_that_differ(tmp_path: Path) -> None:
    folder = documents(tmp_path / "d", a=DEVICE.format(name="grows", shots=5), b=IONQ.format(name="grows"))
    apply.apply([folder], {"MY_KEY": "old"})
    before = document_ids()
    documents(folder, a=DEVICE.format(name="grows", shots=6).replace("simulator: true\n", "qubits: 3\n"))

    planned = apply.check([folder], {"MY_KEY": "new"})
    assert document_ids() == before
    done = apply.apply([folder], {"MY_KEY": "new"})
    assert done == planned
    assert {one.block: one.fields for one in done} == {
        "qflows-ionq-credentials/grows": ("api_key",),
        "qflows-device-profile/grows": ("max_shots", "qubits", "simulator"),
    }
    assert {key: one[0] for key, one in document_ids().items()} == {key: one[0] for key, one in before.items()}
    assert IonQCredentials.load("grows").api_key.get_secret_value() == "new"
    assert DeviceProfileBlock.load("grows").simulator is None


def test_document_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    folder = documents(
        tmp_path / "d",
        a=IONQ.format(name="no-variable"),
        b=DEVICE.format(name="misspelt", shots=5) + "qubit: 3\n",
        c=DEVICE.format(name="fine", shots=5),
    )
    done = CliRunner().invoke(app, ["apply", str(folder), "--json"])
    assert done.exit_code == 2
    rows = {Path(row["file"]).stem: row for row in json.loads(done.stdout)}
    assert {name: row["action"] for name, row in rows.items()} == {"a": "failed", "b": "failed", "c": "created"}
    assert "MY_KEY" in rows["a"]["note"]
    assert "line 7, key 'qubit'" in rows["b"]["note"]
    assert DeviceProfileBlock.load("fine").max_shots == 5


def test_device_that_names_credentials_nobody_saved_is_pointed_out(tmp_path: Path) -> None:
    text = DEVICE.format(name="lonely", shots=5) + "credentials: qflows-ionq-credentials/nobody\n"
    done = apply.apply([documents(tmp_path / "d", a=text)], {})
    assert "qflows-ionq-credentials/nobody" in done[0].note


def test_saved_device_wins_over_the_shipped_one(tmp_path: Path) -> None:
    assert prefect_client.prefect_client().device("local-exact").limits.exact
    apply.apply([documents(tmp_path / "d", a=DEVICE.format(name="local-exact", shots=7))], {})
    try:
        saved = prefect_client.prefect_client().device("local-exact")
        assert (saved.profile.device, saved.limits.max_shots, saved.limits.exact) == ("aer", 7, False)
        assert Client().device("local-exact").limits.exact  # the core knows no Prefect
    finally:
        DeviceProfileBlock.delete("local-exact")


def test_change_of_a_saved_device_is_seen_by_a_process_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = prefect_client.prefect_client()
    apply.apply([documents(tmp_path / "d", a=DEVICE.format(name="moves", shots=5))], {})
    assert core.device("moves").limits.max_shots == 5
    apply.apply([documents(tmp_path / "d", a=DEVICE.format(name="moves", shots=6))], {})
    assert core.device("moves").limits.max_shots == 5  # asked once a minute
    monkeypatch.setattr(prefect_client, "_FRESH_S", 0.0)
    assert core.device("moves").limits.max_shots == 6


def test_saved_document_that_is_no_profile_is_an_error_that_names_block_and_key(tmp_path: Path) -> None:
    apply.apply([documents(tmp_path / "d", a=DEVICE.format(name="spoilt", shots=5))], {})
    with get_client(sync_client=True) as api:
        saved = api.read_block_document_by_name("spoilt", "qflows-device-profile")
        api.update_block_document(saved.id, BlockDocumentUpdate(data={"qubits": -1, "of_an_older_version": 1}))
    with pytest.raises(DocumentError, match=r"qflows-device-profile/spoilt, key 'qubits'"):
        prefect_client.prefect_client().device("spoilt")
    # apply puts it right, and is then content
    assert apply.apply([tmp_path / "d"], {})[0].fields == ("of_an_older_version", "qubits")
    assert apply.apply([tmp_path / "d"], {})[0].action is Action.UNCHANGED
    assert prefect_client.prefect_client().device("spoilt").profile.qubits is None


def test_fresh_process_loads_any_block_by_its_slug_and_registers_every_type(
    prefect_api: PrefectServer, tmp_path: Path
) -> None:
    apply.apply([documents(tmp_path / "d", a=IONQ.format(name="elsewhere"))], {"MY_KEY": CANARY})
    code = (
        "import runpy, sys\n"
        "from prefect.blocks.core import Block\n"
        "block = Block.load('qflows-ionq-credentials/elsewhere')\n"
        "print(type(block).__module__, len(block.api_key.get_secret_value()), block)\n"
        "sys.argv = ['prefect', 'block', 'register', '-m', 'qflows']\n"
        "runpy.run_module('prefect', run_name='__main__')\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | prefect_api.env
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    printed = done.stdout + done.stderr
    assert f"qflows.prefect.blocks.collection {len(CANARY)}" in printed
    assert "Successfully registered 7 blocks" in printed
    assert CANARY not in printed


# -- the API out of reach ---------------------------------------------------------------------------------------


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["closed", "deaf"])
def test_api_that_does_not_answer_costs_a_moment_and_sends_nothing(
    kind: str, deaf_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_block, "_LOOK_UP_S", 0.3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = deaf_port if kind == "deaf" else probe.getsockname()[1]
    began = time.monotonic()
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}),
        pytest.raises(NotSent, match="unset PREFECT_API_URL"),
    ):
        prefect_client.prefect_client().device("local-aer")
    assert time.monotonic() - began < PREFECT_API_REQUEST_TIMEOUT.value()  # Prefect's own patience


def test_without_an_api_shipped_devices_are_found_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_block, "impatient_client", pytest.fail)  # it would start a server
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert prefect_client.prefect_client().device("local-aer").profile.device == "aer"


class _Nothing(http.server.BaseHTTPRequestHandler):
    """An API without any block."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_run_outlives_a_restart_of_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_block, "_PAUSE_S", 0.05)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}
    monkeypatch.setattr(device_block, "_RESTART_S", 0.1)
    with temporary_settings(url), FlowRunContext.model_construct(), pytest.raises(NotSent, match="nothing was sent"):
        device_block.saved_profile("local-aer")
    monkeypatch.setattr(device_block, "_RESTART_S", 30.0)
    servers: list[http.server.HTTPServer] = []

    def start() -> None:
        servers.append(http.server.HTTPServer(("127.0.0.1", port), _Nothing))
        servers[0].serve_forever(poll_interval=0.05)

    restart = threading.Timer(0.4, start)
    restart.start()
    try:
        with temporary_settings(url), FlowRunContext.model_construct():
            assert device_block.saved_profile("local-aer") is None  # answered: nothing is saved
    finally:
        servers[0].shutdown()
        servers[0].server_close()


def test_api_that_stops_answering_changes_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_client, "_FRESH_S", 0.0)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    core = prefect_client.prefect_client()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
        assert core.device("local-aer").profile.device == "aer"
        server.shutdown()
        server.server_close()
        assert core.device("local-aer").profile.device == "aer"
        with pytest.raises(NotSent):
            core.device("local-noisy")


# -- credentials, against the vendors' emulated APIs ----------------------------------------------------------------


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    """All four vendors in one process."""
    with Sandbox(vendors=("ionq", "ibm", "braket", "qbraid")) as running:
        yield running


@pytest.fixture
def no_stack_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """IBM's client walks the stack for every request to say who calls, which is slow below pytest."""
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")


@pytest.mark.usefixtures("no_stack_walk")
def test_sandbox_devices_run_with_saved_credentials_and_no_environment(vendors: Sandbox) -> None:
    folder = profiles.documents_folder() / "sandbox"
    assert Action.FAILED not in actions(apply.apply([folder], vendors.env)).values()
    assert not [name for name in os.environ if name.startswith(("IONQ_", "QISKIT_IBM", "AWS_", "QBRAID_"))]
    devices = ("sandbox-ionq-simulator", "sandbox-ibm-manila", "sandbox-braket-sv1", "sandbox-qbraid-bell-1")
    for device in devices:
        counts = qflows.run(BELL, device=device, shots=200, run_key=f"with {device}").counts
        assert sum(counts.values()) == 200
        assert counts.get("00", 0) + counts.get("11", 0) > 140
    assert vendors.admin.count_jobs() == len(devices)


def test_command_reaches_the_account_that_a_saved_device_names(
    vendors: Sandbox, prefect_api: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = "kind: device\nname: bought-here\nprovider: ionq\ndevice: simulator\n"
    folder = documents(
        tmp_path / "d",
        key=IONQ.format(name="bought-here") + f"  api_url: {vendors.urls['ionq']}/v0.4\n",
        device=device + "credentials: qflows-ionq-credentials/bought-here\n",
    )
    apply.apply([folder], {"MY_KEY": "an account that is in no variable"})
    monkeypatch.setenv("PREFECT_API_URL", prefect_api.url)  # commands look there before they import Prefect
    vendors.admin.clock("frozen")
    try:
        job = qflows.submit(BELL, device="bought-here", shots=10, run_key="to be cancelled")
        done = CliRunner().invoke(app, ["jobs", "cancel", job.key])
        assert "CANCELLED" in done.stdout, done.output
        assert vendors.admin.job(str(job.vendor_id))["phase"] == "cancelled"
    finally:
        vendors.admin.clock("instant")


def test_credentials_block_that_is_not_saved_is_named(tmp_path: Path) -> None:
    text = DEVICE.format(name="keyless", shots=5) + "credentials: qflows-ionq-credentials/nobody\n"
    apply.apply([documents(tmp_path / "d", a=text)], {})
    with pytest.raises(CredentialsMissing, match="qflows-ionq-credentials/nobody"):
        prefect_client.prefect_client().device("keyless")


def _save_unchecked(name: str, like: str, data: dict[str, str]) -> None:
    """A credentials block as an older version, or another program, may have left it."""
    with get_client(sync_client=True) as api:
        good = api.read_block_document_by_name(like, "qflows-ionq-credentials")
        ids = {"block_schema_id": good.block_schema_id, "block_type_id": good.block_type_id}
        api.create_block_document(BlockDocumentCreate(name=name, data=data, **ids))


def test_credentials_block_that_is_not_valid_is_named_and_not_quoted(tmp_path: Path) -> None:
    apply.apply([documents(tmp_path / "d", a=IONQ.format(name="half"))], {"MY_KEY": "k"})
    # not the canary of the last test: Prefect's events show fields that are no secrets
    _save_unchecked("spoilt-keys", "half", {"api_url": PLAIN, "timeout_s": PLAIN})
    with pytest.raises(CredentialsMissing, match="spoilt-keys") as caught:
        SavedBlocks().credentials("qflows-ionq-credentials/spoilt-keys")
    everything = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert PLAIN not in "".join(everything)
    assert caught.value.__context__ is None


def test_refusal_of_the_api_is_reported_without_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Prefect's own error has the body of the request in its text
    monkeypatch.setattr(apply, "_registered", lambda kind, url: (uuid4(), uuid4()))  # ids the server does not know
    monkeypatch.setenv("MY_KEY", CANARY)
    done = CliRunner().invoke(app, ["apply", str(documents(tmp_path / "d", a=IONQ.format(name="refused")))])
    assert done.exit_code == 2
    assert "the Prefect API answered" in done.stderr
    assert CANARY not in done.output + repr(done.exception)


# -- a secret is in its block and nowhere else ----------------------------------------------------------------------


def _forms(secret: str) -> list[bytes]:
    """As text, in base64 at any alignment, and as hexadecimal digits."""
    encoded = [base64.b64encode(b"x" * n + secret.encode())[4 : -(-len(secret) // 3) * 3] for n in range(3)]
    return [secret.encode(), secret.encode().hex().encode(), *encoded]


def test_canary_secret_is_found_nowhere(
    prefect_api: PrefectServer,
    vendors: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    own_ledger: dict[str, str],
) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    device = "kind: device\nname: watched\nprovider: ionq\ndevice: simulator\ncredentials: {block}\n"
    url = f"  api_url: {vendors.urls['ionq']}/v0.4\n"
    folder = documents(
        tmp_path / "d",
        key=IONQ.format(name="watched") + url,
        device=device.format(block="qflows-ionq-credentials/watched"),
        wrong=IONQ.format(name="wrong") + "  timeout_s: never\n",
    )
    said = [CliRunner().invoke(app, ["apply", str(folder), *more]).output for more in ([], ["--dry-run"], ["--json"])]
    assert IonQCredentials.load("watched").api_key.get_secret_value() == CANARY

    ids: list[str] = []

    @flow(name="watched")
    def watched() -> None:
        ids.append(running.id)
        block = IonQCredentials.load("watched")
        get_run_logger().warning("with %s", block)
        qflows.run(BELL, device="watched", shots=10)
        for kind, route, more in (("status", "ionq.submit", {"status": 401}), ("truncate", "ionq.submit", {})):
            vendors.admin.fault(kind, route, **more)
            try:
                qflows.run(BELL, device="watched", shots=20, label=kind, timeout=20)
            except QflowsError as error:
                said.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
        raise RuntimeError(f"in the end: {block!r}")

    with pytest.raises(RuntimeError, match="in the end"):
        watched()
    assert flow_run(ids[0]).state_name == "Failed"
    assert task_runs(ids[0])
    until(lambda: b"with IonQCredentials" in _bytes_of(prefect_api))  # logs arrive a moment later

    places = {
        "prefect": _bytes_of(prefect_api),
        "server log": prefect_api.log.read_bytes(),
        "ledger": b"".join(path.read_bytes() for path in sorted(Path(tmp_path).glob("ledger.db*"))),
        "said": "\n".join(said).encode(),
        "log": caplog.text.encode(),
    }
    assert b"watched" in places["prefect"]
    assert b"simulator" in places["ledger"]
    for place, content in places.items():
        for form in _forms(CANARY):
            assert form not in content, place


def _bytes_of(server: PrefectServer) -> bytes:
    """Everything the server has on disk, the write-ahead log included."""
    return b"".join(path.read_bytes() for path in sorted(server.home.glob("prefect.db*")))
