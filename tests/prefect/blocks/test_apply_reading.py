"""What `qflows apply` reads out of a document, and what it says of one that is wrong. No Prefect server here."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from qflows.cli.app import app
from qflows.errors import DocumentError, PrefectMissing
from qflows.prefect.blocks import apply
from qflows.prefect.blocks.apply import Action

Write = Callable[..., Path]
CANARY = "canary-7f3a-not-to-be-seen"
DEVICE = "kind: device\nname: mine\nprovider: local\ndevice: aer\n"
RECIPE = "kind: automation\nname: mine\nwhen: [failed, held]\nnotify: slack-webhook/mine\n"
MAIL = "kind: notification\nname: mine\nblock: sendgrid-email\nfields:\n  api_key: ${MY_KEY}\n"
IONQ = "kind: credentials\nname: mine\nblock: qflows-ionq-credentials\nfields:\n  api_key: ${MY_KEY}\n"


@pytest.fixture(autouse=True)
def no_api() -> Iterator[None]:
    """Whatever the developer's profile says, there is no server."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a document and returns its path."""

    def to(text: str, name: str = "one.yaml") -> Path:
        path = tmp_path / "documents" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return to


def refusal(path: Path, environment: dict[str, str] | None = None) -> str:
    """What is said of a document; nothing about it may show a value."""
    with pytest.raises(DocumentError) as caught:
        apply.read(path, environment or {})
    everything = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert CANARY not in everything
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_device_becomes_a_block_with_its_defaults(write: Write) -> None:
    wanted = apply.read(write(DEVICE + "price: {per_shot: 0.5, source: a page, date: 2026-09-02}\n"), {})
    assert wanted.reference == "qflows-device-profile/mine"
    assert wanted.block.min_shots == 1
    assert wanted.block.price.date == "2026-09-02"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (DEVICE + "max_shot: 5\n", "line 5, key 'max_shot': unknown key; did you mean 'max_shots'?"),
        (DEVICE + "price:\n  per_job: 1\n  per_shots: 2\n", "line 7, key 'price.per_shots'"),
        (DEVICE + "qubits: minus two\n", "line 5, key 'qubits'"),
        (DEVICE + "gates: [h, 3]\n", "line 5, key 'gates.1'"),
        (DEVICE + "credentials: prod\n", "line 5, key 'credentials'"),
        (DEVICE.replace("device: aer\n", ""), "key 'device': is missing; add it"),
        (DEVICE.replace("mine", "Not A Name"), "line 2, key 'name'"),
        (DEVICE.replace("device: aer", "device: ${DEVICE}"), "line 4, key 'device': variables are not"),
        (DEVICE.replace("kind: device", "kind: flow"), "line 1, key 'kind'"),
        (RECIPE.replace("held", "helt"), "line 3, key 'when.1': choose from failed, in doubt, held"),
        (RECIPE.replace("[failed, held]", "failed"), "line 3, key 'when': list the events to act on"),
        (RECIPE.replace("slack-webhook/mine", "mine"), "line 4, key 'notify': a block as type/name"),
        (RECIPE.replace("slack-webhook/", "pager/"), "line 4, key 'notify': choose from the types slack-webhook"),
        (RECIPE.split("notify")[0], "has nothing to do; add notify (a block), run or pause (a deployment)"),
        (RECIPE + "runs: a/b\n", "line 5, key 'runs': unknown key; did you mean 'run'?"),
        (RECIPE + "parameters: {a: 1}\n", "line 5, key 'parameters': parameters belong to `run`"),
        (MAIL.replace("${MY_KEY}", "key"), "line 5, key 'fields.api_key': a document must not contain a secret"),
        (MAIL.replace("sendgrid-email", "pager"), "line 3, key 'block': choose from the types slack-webhook"),
        (IONQ + "surplus: 1\n", "line 6, key 'surplus'"),
        (IONQ.replace("api_key", "api_kye"), "line 5, key 'fields.api_kye': unknown key; did you mean 'api_key'?"),
        (IONQ.replace("ionq-c", "acme-c"), "line 3, key 'block'"),
        (IONQ.replace("qflows-ionq-credentials", "qflows-device-profile"), "line 3, key 'block'"),
        (IONQ.split("fields")[0], "key 'fields'"),
        (IONQ + "  timeout_s: -1\n", "line 6, key 'fields.timeout_s'"),
        (IONQ + "  api_url: http://${HOST}/v0.4\n", "line 6, key 'fields.api_url': a variable must be the whole value"),
    ],
)
def test_mistake_is_told_with_file_line_and_key(write: Write, text: str, where: str) -> None:
    assert where in refusal(write(text), {"MY_KEY": CANARY})


@pytest.mark.parametrize("value", [CANARY, f"${{MY_KEY}}{CANARY}", "12345", "[a]"])
def test_secret_that_stands_in_the_document_is_refused_and_not_repeated(write: Write, value: str) -> None:
    said = refusal(write(IONQ.replace("${MY_KEY}", value)), {"MY_KEY": CANARY})
    assert "line 5, key 'fields.api_key': a document must not contain a secret" in said


@pytest.mark.parametrize("environment", [{}, {"MY_KEY": ""}, {"MY_KEY": " \n"}])
def test_variable_that_is_not_set_is_named(write: Write, environment: dict[str, str]) -> None:
    assert "line 5, key 'fields.api_key': not set in the environment: MY_KEY" in refusal(write(IONQ), environment)


def test_secret_comes_from_the_environment_and_shows_nowhere(write: Write) -> None:
    wanted = apply.read(write(IONQ + "  api_url: ${MY_URL}\n"), {"MY_KEY": CANARY + "\n", "MY_URL": "http://x/v0.4"})
    assert wanted.block.api_key.get_secret_value() == CANARY
    assert wanted.block.api_url == "http://x/v0.4"
    assert CANARY not in repr(wanted) + str(wanted.block) + wanted.block.model_dump_json()


def test_two_documents_for_one_block_are_refused(write: Write) -> None:
    first, second = write(DEVICE, "a.yaml"), write(DEVICE, "b.yaml")
    outcomes = apply.check([first.parent], {})
    failed = [one for one in outcomes if one.action is Action.FAILED]
    assert [one.file for one in failed] == [str(second)]
    assert str(first) in failed[0].note


def test_without_an_api_documents_are_checked_and_nothing_is_saved(write: Write) -> None:
    path = write(IONQ)
    assert [one.action for one in apply.check([path], {"MY_KEY": CANARY})] == [Action.CHECKED]
    with pytest.raises(PrefectMissing, match="PREFECT_API_URL"):
        apply.apply([path], {"MY_KEY": CANARY})


def test_path_without_documents_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DocumentError, match="no YAML documents"):
            apply.check([path], {})


def test_command_without_an_api_says_how_to_get_one(write: Write) -> None:
    done = CliRunner().invoke(app, ["apply", str(write(DEVICE))])
    assert done.exit_code == 2
    assert "prefect server start" in done.stderr


def test_dry_run_prints_names_and_never_values(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    write(IONQ)
    folder = write(DEVICE + "wrong: 1\n", "two.yaml").parent
    done = CliRunner().invoke(app, ["apply", str(folder), "--dry-run"])
    assert done.exit_code == 2
    assert "qflows-ionq-credentials/mine" in done.stdout
    assert "two.yaml, line 5, key 'wrong'" in done.stderr
    assert CANARY not in done.output

    rows = json.loads(CliRunner().invoke(app, ["apply", str(folder), "--dry-run", "--json"]).stdout)
    assert [row["action"] for row in rows] == ["failed", "checked"]
