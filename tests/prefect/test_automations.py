"""Automation recipes on a real Prefect server: each shipped one fires on what really happened, once, and says what."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect_records import flow_runs_of, until
from prefect_server import PrefectServer
from typer.testing import CliRunner

import qflows
from qflows import flows
from qflows.cli.app import app
from qflows.core import profiles
from qflows.errors import OverBudget, ResultsHeld
from qflows.ledger import Ledger, budgets, measurements
from qflows.ledger.budgets import MICRO, Budget
from qflows.prefect.blocks import apply
from qflows.prefect.blocks.apply import Action
from qflows.prefect.client import client
from qflows.sandbox import Sandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

BLOCKS = profiles.documents_folder()
DEVICE = "ionq-simulator"
ONE = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
WHY = 'the mirror is "dirty" </script>'


@dataclass
class Receiver:
    """Somebody's own service: keeps every body that it is sent."""

    url: str
    port: int
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def told(self, event: str, *, about: str = "") -> list[dict[str, Any]]:
        """What it was told of this event, once it was; then whatever else comes in a second."""
        until(lambda: self._of(event, about))
        time.sleep(1.0)
        return self._of(event, about)

    def _of(self, event: str, about: str) -> list[dict[str, Any]]:
        return [one for one in self.bodies if one.get("event") == event and about in one["id"]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            made.bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: tests look at the bodies."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_port}/told", server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_automations() -> Iterator[None]:
    """The suite's server is shared: none of these may go on to act on what other tests do."""
    yield
    with get_client(sync_client=True) as api:
        for one in api.read_automations():
            api.delete_automation(one.id)


@pytest.fixture(scope="module")
def desks() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ionq", "qbraid")) as running:
        yield running


@pytest.fixture
def vendors(desks: Sandbox, own_ledger: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    desks.admin.reset()
    desks.admin.clock("instant")
    for name, value in desks.env.items():
        monkeypatch.setenv(name, value)
    return desks


@pytest.fixture
def applied(receiver: Receiver, vendors: Sandbox, no_automations: None, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The shipped recipes for a webhook, in place as a user puts them there."""
    monkeypatch.setenv("QFLOWS_WEBHOOK_URL", receiver.url)
    wanted = ["notifications/webhook.yaml", "automations/trouble-webhook.yaml", "automations/batches-webhook.yaml"]
    done = CliRunner().invoke(app, ["apply", *wanted])
    assert done.exit_code == 0, done.output
    assert receiver.url not in done.output
    return receiver


def fails(vendors: Sandbox) -> str:
    vendors.admin.fault("fail_job", "ionq.submit", code="InvalidInput", message=WHY)
    job = qflows.submit(ONE, device=DEVICE, shots=20, run_key="fails", name="one")
    qflows.wait([job], timeout=20)
    return job.key


def loses_the_answer(vendors: Sandbox) -> str:
    vendors.admin.fault("drop_after", "ionq.submit")
    vendors.admin.fault("status", "ionq.list", status=503, times=None)
    return qflows.submit(ONE, device=DEVICE, shots=20, run_key="lost", name="one").key


def is_withheld(vendors: Sandbox) -> str:
    vendors.admin.switches("qbraid", finished_as="HOLD")
    job = qflows.submit(ONE, device="qbraid-qir-sv", shots=20, run_key="held", name="one")
    with pytest.raises(ResultsHeld):
        qflows.wait([job], timeout=20)
    return job.key


def runs_into_a_budget(vendors: Sandbox) -> str:
    budgets.put(client().ledger, Budget("team", MICRO, "usd", period="total", policy="refuse"))
    for _ in range(2):
        with pytest.raises(OverBudget):
            qflows.submit(ONE, device="ionq-forte-1", shots=100, run_key="dear")
    return "qflows.budget.team"


def worse_than_before(ledger: Ledger, run_key: str) -> None:
    """Twelve nights before this run on which all was better."""
    found = measurements.of_run(ledger, run_key)
    assert found
    for night in range(1, 13):
        better = [
            replace(
                one,
                run_key=f"night {night}",
                at=one.at - timedelta(days=night),
                value=1e-4 * night if "error" in one.name else 0.999,
                std_error=1e-3,
            )
            for one in found
        ]
        measurements.record(ledger, better, {})


def is_held_back() -> str:
    assert qflows.gate("local-noisy", shots=200, run_key="good") is None
    worse_than_before(client().ledger, "good/gate-0")
    for _ in range(2):
        assert qflows.gate("local-noisy", shots=200, run_key="bad").name == "HeldBack"
    return "qflows.device.local-noisy"


def ends_a_batch(vendors: Sandbox) -> str:
    found = qflows.batch([ONE] * 3, device=DEVICE, shots=20, as_batch=False, run_key="batch", name="three")
    found.result(timeout=30)
    return found.id


@pytest.mark.parametrize(
    ("happens", "event", "what", "why"),
    [
        (fails, "qflows.job.failed", "one on ionq-simulator", WHY),
        (loses_the_answer, "qflows.job.in-doubt", "one on ionq-simulator", ""),
        (is_withheld, "qflows.job.results-withheld", "one on qbraid-qir-sv", "account"),
        (runs_into_a_budget, "qflows.budget.reached", "budget team", "does not fit"),
        (ends_a_batch, "qflows.batch.finished", "three on ionq-simulator", ""),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_shipped_recipe_fires_once_on_what_happened(
    happens: Callable[[Sandbox], str], event: str, what: str, why: str, applied: Receiver, vendors: Sandbox
) -> None:
    about = happens(vendors)
    (said,) = applied.told(event, about=about)
    assert said["what"] == what
    assert why in said["why"]


@pytest.mark.slow(reason="two runs of the shipped flows and the events that the server makes of them")
def test_noise_is_told_by_the_gate_once_and_by_the_report_once_for_each_value(applied: Receiver) -> None:
    about = is_held_back()
    (held,) = applied.told("qflows.gate.held", about=about)
    assert held["what"] == "device local-noisy"
    assert "worse than" in held["why"]
    for _ in range(2):
        flows.report(since="2h")
    told = applied.told("qflows.device.drifted", about=about)
    assert any("sigma" in one["why"] and one["what"].endswith("of local-noisy") for one in told)
    assert len({(one["what"], one["run_key"]) for one in told}) == len(told)


def test_batch_that_is_run_again_finishes_again_and_says_what_has_no_counts(
    vendors: Sandbox, applied: Receiver
) -> None:
    vendors.admin.fault("fail_job", "ionq.submit", code="InvalidInput", message="once")
    found = qflows.batch([ONE] * 3, device=DEVICE, shots=20, as_batch=False, run_key="again")
    qflows.wait(found, timeout=30)
    assert len(applied.told("qflows.batch.finished", about=found.id)) == 1
    found.rerun_failed()
    qflows.wait(found, timeout=30)
    until(lambda: len(applied.told("qflows.batch.finished", about=found.id)) == 2)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_finished_batch_starts_a_deployment_with_its_id_and_a_full_budget_pauses_one(
    vendors: Sandbox, no_automations: None, tmp_path: Path
) -> None:
    @flow(name="analysis")
    def analysis(batch: str) -> str:
        return batch

    with get_client(sync_client=True) as api:
        flow_id = api.create_flow(analysis)
        nightly, dear = (
            api.create_deployment(flow_id, name=name, enforce_parameter_schema=False) for name in ("nightly", "dear")
        )
    said = "kind: automation\nname: {}\nwhen: [{}]\n{}"
    run = 'run: analysis/nightly\nparameters: {batch: "{{ event.payload.batch }}"}\n'
    write(tmp_path, "a.yaml", said.format("analyze", "batch finished", run))
    write(tmp_path, "b.yaml", said.format("save-money", "budget reached", "pause: analysis/dear\n"))
    assert {one.action for one in apply.apply([tmp_path], {})} == {Action.CREATED}
    assert {one.action for one in apply.apply([tmp_path], {})} == {Action.UNCHANGED}

    id_ = ends_a_batch(vendors)
    (started,) = until(lambda: flow_runs_of(nightly))
    assert started.parameters == {"batch": id_}
    runs_into_a_budget(vendors)

    def is_paused() -> bool:
        with get_client(sync_client=True) as api:
            return api.read_deployment(dear).paused

    until(is_paused)


def test_texts_go_to_a_notification_block(
    vendors: Sandbox, receiver: Receiver, no_automations: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = f"hostname: 127.0.0.1\n  port: {receiver.port}\n  token: ${{CHAT_TOKEN}}\n"
    write(tmp_path, "n.yaml", f"kind: notification\nname: chat\nblock: mattermost-webhook\nfields:\n  {block}")
    write(tmp_path, "a.yaml", "kind: automation\nname: chat\nwhen: [failed]\nnotify: mattermost-webhook/chat\n")
    environment = {"CHAT_TOKEN": "canary-51ac"}
    dry = apply.check([tmp_path], environment)
    assert [one.action for one in dry] == [Action.CREATED, Action.CREATED]
    assert "canary" not in repr([dry, apply.apply([tmp_path], environment)])
    key = fails(vendors)
    (said,) = until(lambda: list(receiver.bodies))
    assert "one on ionq-simulator" in said["text"]
    assert 'the mirror is "dirty"' in said["text"]
    assert key not in said["text"]  # its run key tells more


def test_recipe_keeps_off_what_its_owner_switched_off_and_follows_its_document(
    applied: Receiver, tmp_path: Path
) -> None:
    with get_client(sync_client=True) as api:
        (there,) = api.read_automations_by_name("qflows-trouble-webhook")
        api.pause_automation(there.id)
    path = BLOCKS / "automations" / "trouble-webhook.yaml"
    assert [one.action for one in apply.apply([path], {})] == [Action.UNCHANGED]
    text = path.read_text().replace("gate held, drift]", "drift]")
    (outcome,) = apply.apply([write(tmp_path, "t.yaml", text)], {})
    assert (outcome.action, outcome.fields) == (Action.UPDATED, ("trigger",))
    with get_client(sync_client=True) as api:
        (now,) = api.read_automations_by_name("qflows-trouble-webhook")
    assert (now.id, now.enabled) == (there.id, False)
    assert "qflows.gate.held" not in now.trigger.expect


def test_recipe_whose_block_is_not_there_says_so(
    no_automations: None, prefect_api: PrefectServer, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.yaml", "kind: automation\nname: x\nwhen: [failed]\nnotify: slack-webhook/nobody\n")
    for outcomes in (apply.check([path], {}), apply.apply([path], {})):
        assert [one.action for one in outcomes] == [Action.FAILED]
        assert "slack-webhook/nobody is not there" in outcomes[0].note
    with get_client(sync_client=True) as api, contextlib.suppress(KeyError):
        assert api.read_automations_by_name("x") == []
