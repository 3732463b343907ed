"""Secrets and hostile text, removed where text enters: errors, log records, the ledger, pages and terminals.

An adapter registers its secrets with `protect` when it connects, and again when it gets new ones: tokens, temporary
keys. From then on `redact` finds them in any text, also in the forms in which a server may send them back: quoted for a
URL, JSON or HTML, in hexadecimal, or as any part of a Base64 text; and truncated, as long as half of the secret is
left. `visible` shows control characters as escapes: an ANSI sequence or a change of writing direction in a vendor's
text must not reach a terminal, where it could hide or forge lines.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, quote_plus

MARK = "[secret]"
_PACKAGE = str(Path(__file__).parents[1]) + os.sep
SHORTEST = 8  # shorter ones are placeholders in a test or a sandbox, and may be ordinary words
_CUT_FROM = 16  # a shorter secret is only found whole: half of it may be an ordinary word
_SHORTEST_CUT = 12
_MOST = 512  # temporary keys change by the hour; the oldest ones have long expired

# a credential by its form: the scheme of an Authorization header, and the signature of a request or of a signed URL
_BY_FORM = re.compile(
    r"(?i)(\bbearer\s+|\bbasic\s+(?=[A-Za-z0-9+/]*[0-9A-Z+/=])|\bsignature\s*[=:]\s*[\"']?)[A-Za-z0-9+/%._~-]{16,}=*"
)
# C0 and C1 without tab and line feed, marks and overrides of direction, line separators, byte order and annotation
# marks, invisible tags, and lone surrogates, which no terminal or database can encode
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class _Secrets:
    """What must not be shown, with the texts to search for. One per process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self.forms: tuple[tuple[str, str], ...] = ()  # (beginning to search, whole), longest first

    def add(self, secret: str) -> None:
        with self._lock:
            if secret in self._known:
                self._known.move_to_end(secret)
                return
            self._known[secret] = tuple(dict.fromkeys(_forms(secret)))
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
            every = {form for forms in self._known.values() for form in forms}
            self.forms = tuple((_beginning(form), form) for form in sorted(every, key=lambda form: (-len(form), form)))


_secrets = _Secrets()


def protect(*secrets: Any) -> None:
    """Never show these again: texts, or pydantic's `SecretStr`; None and placeholders are ignored."""
    _clean_log_records()
    for secret in secrets:
        value = secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret
        text = str(value or "").strip()
        if len(text) >= SHORTEST:
            _secrets.add(text)


def holds_secret(text: str) -> bool:
    """True if a known secret, or half of one, is in the text."""
    return any(beginning in text for beginning, _ in _secrets.forms)


def redact_known(text: str) -> str:
    """The text with every known secret replaced by a mark, and nothing else changed."""
    forms = _secrets.forms
    for beginning, _ in forms:
        at = text.find(beginning)
        while at >= 0:
            # notations of one secret begin alike and part later
            end = at + max(_common(text, at, form) for _, form in forms if form[:SHORTEST] == beginning[:SHORTEST])
            text = text[:at] + MARK + text[end:]
            at = text.find(beginning, at + len(MARK))
    return text


def _common(text: str, at: int, form: str) -> int:
    length = 0
    while length < len(form) and at + length < len(text) and text[at + length] == form[length]:
        length += 1
    return length


def redact(text: str) -> str:
    """As `redact_known`, and without anything that has the form of a credential. For texts that people read."""
    known = redact_known(text)
    lower = known.lower()
    if not any(word in lower for word in ("bearer", "basic", "signature")):  # the pattern is slow
        return known
    return _BY_FORM.sub(lambda found: found[1] + MARK, known)


def redact_bytes(data: bytes) -> bytes:
    """As `redact_known`, for an answer stored unchanged. Returns the same object if there is nothing to hide."""
    text = data.decode("latin-1")
    return redact_known(text).encode("latin-1") if holds_secret(text) else data


def visible(text: str) -> str:
    """The text with control characters as escapes, such as \\x1b; tabs and line feeds stay."""
    return _CONTROL.sub(_escape, text)


def clean(text: Any, *, cap: int | None = None) -> str:
    """Text from elsewhere, fit to show and store: redacted, visible, and of at most `cap` characters."""
    shown = visible(redact(str(text)))
    return shown if cap is None or len(shown) <= cap else shown[: cap - 1] + "…"


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _beginning(form: str) -> str:
    if len(form) < _CUT_FROM:
        return form
    return form[: max(_SHORTEST_CUT, len(form) // 2)]


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    for quoted in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield quoted
        yield quoted.replace("/", "\\/")
    escaped = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    yield escaped
    yield escaped.replace("'", "&#x27;")
    data = secret.encode("utf-8", "surrogatepass")
    yield data.decode("latin-1")  # as `redact_bytes` reads it
    yield data.hex()
    yield data.hex().upper()
    for before in range(3):
        # inside a longer text it starts at any of three places of a group; characters that also depend on the
        # neighbors are left out
        encoded = base64.b64encode(bytes(before) + data).decode()
        unpadded = encoded.rstrip("=")
        core = unpadded[(0, 2, 3)[before] : len(unpadded) - (unpadded != encoded)]
        yield core
        yield core.replace("+", "-").replace("/", "_")


_factory_lock = Lock()
_is_installed = False


def _clean_log_records() -> None:
    """Clean log records as they are created, once per process.

    A filter would have to be on every logger: those of parents do not see the records of their children. This also
    covers libraries: at the level DEBUG some of them log the headers they send.
    """
    global _is_installed
    with _factory_lock:
        if _is_installed:
            return
        _is_installed = True
        make = logging.getLogRecordFactory()

        def make_clean(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = make(*args, **kwargs)
            _clean_record(record)
            return record

        logging.setLogRecordFactory(make_clean)


def _clean_record(record: logging.LogRecord) -> None:
    # a flow's own logger has Prefect's name
    is_ours = record.name == "qflows" or record.name.startswith("qflows.") or record.pathname.startswith(_PACKAGE)
    try:
        said = record.getMessage()
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
    except Exception:  # noqa: BLE001  (arguments that do not fit: logging itself reports that)
        return
    shown = clean(said) if is_ours else redact(said)
    if shown != said:
        record.msg, record.args = shown, None
    shown = clean(trace) if is_ours else redact(trace)
    if shown != trace:
        record.exc_text = shown.rstrip("\n")
