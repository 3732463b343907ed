"""Control characters and markup in any text of any vendor: never as such on a terminal, in a page or in a log line."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_vendors import BELL, VENDORS, Vendor, behind_a_proxy  # noqa: E402

from qflows.cli.app import app  # noqa: E402
from qflows.cli.screen import print_json, print_rows, say  # noqa: E402
from qflows.core.client import Client  # noqa: E402
from qflows.ledger import lanes  # noqa: E402
from qflows.pages import morning, own_page, wall  # noqa: E402
from qflows.pages.text import code, escape, json_text  # noqa: E402
from qflows.sandbox import Sandbox  # noqa: E402
from qflows.settings import Settings  # noqa: E402

CONTROL = "\x1b\x07\r\x08\x7f\x9b\u202e\u2066\u200f"
MARKUP = "<script>x</script>[a](http://evil.example) www.evil.example [red]b[/red] **c**"
EVIL = f"\x1b[2J\x1b]0;owned\x07\r\x08\x7f\x9b31m\u202egnp\u2066\u200f {MARKUP}"
SHOWN = "\\x1b[2J"

# by kind of text, the members of answers that have it, of whichever vendor
FIELDS = {
    "names": r"name|jobname|display_name|vendorname|providername",
    "messages": r"message|error|reason|failurereason|statustext|statusmsg|notes?|description|detail",
    "tags": r"tags|metadata|job_tags|environment",
    "statuses": r"status|state|statustext",
    "codes": r"code|errorcode|reason_code|failurecode",
    "devices": r"backend|target|device|devicename|devicestatus|status_msg|degraded_reason|characterization|deviceqrn",
}
# Braket: tasks have no name, and nothing of a device's entry but its ARN is read. qBraid: jobs are rebuilt from the
# list, and have the names of their programs once their runs adopt them.
NOT_SHOWN = {("braket", "names"), ("qbraid", "names")}
FAILED = {"completed": "failed", "COMPLETED": "FAILED", "Completed": "Failed"}


def _spoilt(value: Any, wanted: re.Pattern[str], key: str = "", *, is_in: bool = False) -> Any:
    """The document with hostile text at the end of each wanted member's own."""
    is_wanted = is_in or wanted.fullmatch(key.lower()) is not None
    if isinstance(value, dict):
        made = {name: _spoilt(one, wanted, name, is_in=is_wanted) for name, one in value.items()}
        return made | {"more": EVIL} if is_wanted else made
    if isinstance(value, list):
        made_list = [_spoilt(one, wanted, key, is_in=is_wanted) for one in value]
        return [*made_list, EVIL] if is_wanted and all(isinstance(one, str) for one in value) else made_list
    if isinstance(value, str) and is_wanted:
        return value + EVIL
    return EVIL if value is None and is_wanted else value


def _failed(value: Any) -> Any:
    """The document with finished jobs as failed ones, with a reason in each place where a vendor gives one."""
    if isinstance(value, list):
        return [_failed(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {name: _failed(one) for name, one in value.items()}
    if isinstance(made.get("status"), str):
        made["status"] = FAILED.get(made["status"], made["status"])
        said = {"error": EVIL, "code": EVIL, "message": EVIL}
        made |= {"failure": said, "failureReason": EVIL, "statusText": EVIL, "statusMsg": EVIL}
    if isinstance(made.get("state"), dict) and "status" in made["state"]:
        made["state"] |= {"reason": EVIL, "reason_code": EVIL}
    return made


def _answers(field: str) -> Callable[[Any, int, str, bytes], None]:
    wanted = re.compile(FIELDS[field])

    def write(handler: Any, status: int, kind: str, body: bytes) -> None:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if document is not None:
            made = _spoilt(document, wanted)
            body = json.dumps(_failed(made) if field in ("messages", "codes") else made).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return write


@pytest.fixture(scope="module")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(VENDORS)) as running:
        yield running


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.fixture
def proxy(vendor: Vendor, all_vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    all_vendors.admin.reset()
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), "SETTLE_S": "0.1", "POLL_MIN_S": "0.01", "HTTP_TIMEOUT_S": "5"}.items():
        monkeypatch.setenv(f"QFLOWS_{name}", value)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with behind_a_proxy(vendor, all_vendors, monkeypatch) as running:
        monkeypatch.delenv("QFLOWS_LEDGER_URL", raising=False)
        yield running


def _raw_control(text: str) -> list[str]:
    return [char for char in CONTROL if char in text]


def _active_html(page: str) -> bool:
    return "<script" in page.lower() or bool(_raw_control(page))


def _active_markdown(page: str) -> bool:
    links = re.findall(r"(?<!\\)\]\((?!data:image/png;base64,)", page)
    alone = re.search(r"https?://evil|\bwww\.evil", page)
    return bool(links or alone or re.search(r"(?<!\\)<script|(?<!\\)\*\*c", page) or _raw_control(page))


@pytest.mark.parametrize("field", FIELDS)
def test_hostile_text_is_shown_as_text(
    vendor: Vendor,
    proxy: Any,
    field: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, logger="qflows")
    (tmp_path / "bell.qasm").write_text(BELL)
    core = Client(Settings())
    shown: dict[str, str] = {}

    def command(*words: str) -> None:
        lanes.free(core.ledger, vendor.name)
        done = CliRunner().invoke(app, [word for word in words if word != "new"], prog_name="qflows")
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
        shown[" ".join(words)] = done.output

    bell, device = str(tmp_path / "bell.qasm"), vendor.device
    command("run", bell, "--device", device, "--shots", "20", "--run-key", "r", "--timeout", "0")
    [job] = core.jobs()
    proxy.spoil, proxy.spoils = _answers(field), r"^(GET|PUT|POST|PATCH) (?!/(iam|search|catalog|v2/iam))"
    for words in (
        ["reconcile"],
        ["run", bell, "--device", device, "--shots", "20", "--run-key", "s", "--timeout", "0.2"],
        ["jobs", "tag", job.key, "study=h2"],
        ["jobs", "import", vendor.name, "--since", "1h"],
        ["ledger", "rebuild", vendor.name, "--since", "1h"],
        ["devices", "--live", vendor.name],
        ["devices", "show", device],
        ["devices", "takes", device, "--markdown"],
        ["price", bell, "--device", device],
        ["doctor", vendor.name],
        ["status"],
        ["lanes", "ls"],
        ["jobs", "ls"],
        ["jobs", "show", job.key, "--full"],
    ):
        command(*words)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path / "new"))  # a ledger that knows none of it
    for words in (
        ["ledger", "rebuild", vendor.name, "--since", "1h"],
        ["jobs", "import", vendor.name, "--since", "1h"],
        ["jobs", "ls"],
        ["jobs", "ls", "--json"],
    ):
        command("new", *words)
    new = Client(Settings())
    taken_in = list(new.jobs())
    for one in taken_in[:1]:
        command("new", "jobs", "show", one.key, "--full")
    assert {words: found for words, text in shown.items() if (found := _raw_control(text))} == {}
    logged = "\n".join(caplog.handler.format(one) for one in caplog.records if one.name.startswith("qflows"))
    assert _raw_control(logged) == []
    now = datetime.now(UTC)
    page = morning.compose(morning.gather(core.ledger, now - timedelta(days=1), now + timedelta(minutes=1), []))
    jobs = [*core.jobs(), *taken_in]
    new.ledger.close()
    marked = [
        wall.compose(new.ledger),
        wall.compose(core.ledger),
        morning.to_markdown(page),
        own_page.compose(core.ledger, jobs, "page"),
    ]
    assert [text for text in marked if _active_markdown(text)] == []
    cells = [one._repr_html_() for one in (core.jobs(), new.jobs(), *jobs)]
    assert [text for text in (morning.to_html(page), *cells) if _active_html(text)] == []
    assert [one for one in map(repr, (core.jobs(), new.jobs(), *jobs)) if _raw_control(one)] == []
    assert _raw_control(morning.to_text(page)) == []
    assert any(SHOWN in text for text in (*shown.values(), *marked)) or (vendor.name, field) in NOT_SHOWN


def test_what_a_command_prints_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    say(EVIL, err=True)
    print_rows([{EVIL: EVIL}], [EVIL], as_json=False, empty="")
    print_rows([], [], as_json=False, empty=EVIL)
    print_json({EVIL: EVIL})
    printed = capsys.readouterr()
    assert _raw_control(printed.out + printed.err) == []
    assert printed.out.count("[red]b[/red]") == 6  # two lines, a heading, a cell, a name and a value of JSON
    assert json.loads(json_text({"x": EVIL})) == {"x": EVIL}


def test_no_command_prints_past_the_cleaner() -> None:
    for path in (Path(__file__).parents[2] / "qflows" / "cli").glob("*.py"):
        if path.name not in ("screen.py", "app.py", "sandbox.py"):  # the last two print texts of their own only
            assert not re.search(r"typer\.s?echo\(|\bprint\(", path.read_text()), path.name


def test_markdown_escapes_whatever_would_act() -> None:
    assert not _active_markdown(escape(EVIL))
    assert _active_markdown(MARKUP)
    assert escape("a.b 0.5 user: x") == "a.b 0.5 user: x"
    slot = "71213f18@2026-11-27T19:08:00+00:00"  # what is shown as code is there to be copied
    assert code(slot) == f"`{slot}`"
    assert code("a `b` ``") == "``` a `b` `` ```"
