"""Secrets and control characters are taken out of errors, log records, the ledger and tables, in all their forms."""

from __future__ import annotations

import base64
import html
import json
import logging
import pickle
import uuid
from collections.abc import Callable
from urllib.parse import quote_plus

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from qflows import errors
from qflows.ledger import Ledger
from qflows.pages.text import cell, escape
from qflows.privacy import redaction
from qflows.privacy.redaction import clean, protect, redact, redact_bytes, visible

ANSI = "\x1b[2J\x1b[31mno\x1b[0m \x9b1m \u202etxt.exe\u2066\r\x00\x7f \ud800"


@pytest.fixture
def secret() -> str:
    """A secret that no other test knows, with characters that every notation writes in its own way."""
    text = f'q+/{uuid.uuid4().hex}"&<é>='
    protect(text)
    return text


WRAPPED: dict[str, Callable[[str], str]] = {
    "plain": lambda s: f"key {s} has expired",
    "url": lambda s: f"?apikey={quote_plus(s)}&x=1",
    "json": lambda s: json.dumps({"headers": {"x-key": s}}),
    "json, not ASCII": lambda s: json.dumps({"headers": {"x-key": s}}, ensure_ascii=False),
    "html": lambda s: f"<pre>{html.escape(s)}</pre>",
    "hex": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64, one byte on": lambda s: base64.b64encode(f"u{s}".encode()).decode(),
    "basic": lambda s: base64.b64encode(f"me:{s}:".encode()).decode(),
    "urlsafe": lambda s: base64.urlsafe_b64encode(f"user:{s}".encode()).decode(),
    "cut": lambda s: s[: len(s) * 2 // 3],
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_secret_is_found_in_every_notation(secret: str, wrap: Callable[[str], str]) -> None:
    text = wrap(secret)
    found = redact(text)
    assert found != text
    assert redaction.MARK in found
    core = base64.b64encode(secret.encode()).decode()
    for form in (secret, secret[3:35], quote_plus(secret), secret.encode().hex()[6:60], core[4:40]):
        assert form not in found


def test_text_without_a_secret_is_unchanged(secret: str) -> None:
    text = f"nothing of it here: {secret[:8]} {secret[4:14]}, bearer of news, basic gates"
    assert redact(text) == text
    assert redact_bytes(text.encode()) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "{'authorization': 'Basic dXNlcjpwYXNzd29yZC0xMjM='}",
        "https://bucket/key?X-Amz-Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ],
)
def test_credential_that_nobody_named_is_known_by_its_form(text: str) -> None:
    found = clean(text)
    assert "eyJ" not in found
    assert "dXNl" not in found
    assert "5d672d" not in found


@pytest.mark.parametrize("placeholder", ["", None, "sandbox", "test", "  \n"])
def test_placeholder_is_no_secret(placeholder: str | None) -> None:
    protect(placeholder)
    assert clean("the sandbox of this test") == "the sandbox of this test"


def test_secret_with_a_line_feed_at_its_end_is_found_without_it(secret: str) -> None:
    protect(SecretStr(f"{secret[::-1]}\n"))
    assert secret[::-1] not in clean(f"Illegal header value b'{secret[::-1]}'")


def test_control_characters_become_escapes() -> None:
    shown = visible(ANSI)
    assert shown == ("\\x1b[2J\\x1b[31mno\\x1b[0m \\x9b1m \\u202etxt.exe\\u2066\\x0d\\x00\\x7f \\ud800")
    assert visible(shown) == shown
    assert visible("Zürich\t日本\n👩‍🔬") == "Zürich\t日本\n👩‍🔬"


@pytest.mark.parametrize("show", [cell, escape])
def test_pages_show_escapes(show: Callable[[str], str], secret: str) -> None:
    assert not set(show(ANSI)) & set(ANSI) - set(" no1mtx.e[2J3;0")
    assert secret not in show(secret)


@pytest.mark.parametrize(
    "kind", [errors.Refused, errors.Ambiguous, errors.Throttled, errors.Unreadable, errors.NotSent]
)
def test_error_keeps_neither_secret_nor_control_character(kind: type[errors.ProviderError], secret: str) -> None:
    said = f"{secret} {ANSI}" + "x" * 10_000
    error = kind(said, provider="v", vendor_code=said, vendor_message=said, body=said)
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        texts = (str(one), one.vendor_code, one.vendor_message, one.body, repr(one), repr(vars(one)))
        assert not [text for text in texts if text is None or secret in text or "\x1b" in text]
        assert [len(text or "") for text in texts[:4]] == [4_000, 200, 2_000, 4_000]


def test_failed_job_and_other_errors_are_cleaned_too(secret: str) -> None:
    failed = errors.JobFailed(f"job: {secret}", reason=f"\x1b]0;{secret}\x07", key="k", retryable=False)
    assert failed.reason == "\\x1b]0;[secret]\\x07"
    assert failed.retryable is False
    assert secret not in str(failed)
    assert "\x1b" not in str(errors.UnknownDevice("no device \x1b[2J"))


def test_log_records_are_cleaned_with_their_tracebacks(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    try:
        raise ValueError(f"{secret} \x1b[2J")
    except ValueError:
        logging.getLogger("qflows.some.child").exception("failed: %s %s", secret, ANSI)
    logging.getLogger("some.library").debug("headers %s", {"Authorization": secret})
    logging.getLogger("qflows.some.child").warning("100%% of %d", 7)
    formatted = "\n".join(caplog.handler.format(record) for record in caplog.records)
    assert caplog.messages[-1] == "100% of 7"
    assert secret not in formatted
    assert secret[3:35] not in formatted
    assert "\x1b" not in formatted
    assert "ValueError: [secret] \\x1b[2J" in formatted


def test_nothing_secret_is_written_into_the_ledger(ledger: Ledger, secret: str) -> None:
    from qflows.ledger.tables import events, jobs, programs

    with ledger.write() as connection:
        connection.execute(sa.insert(programs), [{"digest": "a", "text": f"// {secret}"}, {"digest": "b", "text": "x"}])
        ledger.record_event(connection, "said", "subject", text=f"{secret} {ANSI[:20]}", deep=[{"x": secret}])
    with ledger.read() as connection:
        texts = connection.execute(sa.select(programs.c.text).order_by(programs.c.digest)).scalars().all()
        detail = connection.execute(sa.select(events.c.detail)).scalar_one()
        bound = connection.execute(sa.select(sa.literal(ANSI, jobs.c.error_message.type))).scalar_one()
    assert texts == ["// [secret]", "x"]
    assert detail["deep"] == [{"x": "[secret]"}]
    assert detail["text"].startswith("[secret] \x1b")
    assert bound == visible(ANSI)


def test_raw_answer_loses_its_secrets_and_nothing_else(secret: str) -> None:
    body = b"\x00\xff" + secret.encode() + b"\xfe\x01"
    assert redact_bytes(body) == b"\x00\xff[secret]\xfe\x01"
    assert redact_bytes(bytes(range(256))) == bytes(range(256))
