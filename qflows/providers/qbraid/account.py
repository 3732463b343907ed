"""Which qBraid account and address to use: the same answer as the vendor's own client gives.

Order of `qbraid-core` 0.6.37 (config.py and sessions.py, read 2026-11), first wins. Key and token: argument, config
file, environment. Address: argument, `QBRAID_API_URL`, the host inside the key, config file, qBraid's own.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qflows.errors import CredentialsMissing
from qflows.privacy.accounts import account_name
from qflows.privacy.redaction import protect

PRODUCTION = "https://api-v2.qbraid.com/api/v1"
_KEY_WITH_HOST = re.compile(r"[a-z0-9]+_([a-z2-7]{2,405})\.[0-9a-f]{64}")
_HOSTNAME = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


@dataclass(frozen=True)
class Account:
    """An address and the header that opens it. The repr shows no secret."""

    base_url: str
    header: str
    secret: str = field(repr=False)

    @property
    def name(self) -> str:
        """A name for the credentials that does not reveal them."""
        return account_name(self.base_url, self.secret)


def find_account(given: Mapping[str, Any]) -> Account:
    """The account of these fields (`api_key`, `access_token`, `api_url`), otherwise of config file and environment.

    Raises CredentialsMissing naming what to set.
    """
    has_secret = any(_plain(given.get(name)) for name in ("api_key", "access_token"))
    saved = _config_file()
    key = _plain(given.get("api_key")) or saved.get("api-key") or os.environ.get("QBRAID_API_KEY")
    token = _plain(given.get("access_token"))
    if not has_secret:  # an explicitly given key must take precedence over any token found elsewhere
        token = saved.get("access-token") or os.environ.get("QBRAID_ACCESS_TOKEN")
    protect(key, token)
    url = _plain(given.get("api_url")) or os.environ.get("QBRAID_API_URL")
    url = url or (None if token else _host_in(key)) or saved.get("url") or PRODUCTION
    secret = token or key
    if not secret:
        raise CredentialsMissing(
            "no qBraid API key: set QBRAID_API_KEY, or save a qflows-qbraid-credentials block and name it in the "
            "device profile; without an account, `qflows sandbox start` gives a qBraid API to try"
        )
    return Account(url.rstrip("/"), "X-Access-Token" if token else "X-API-Key", secret)


def _plain(value: Any) -> str | None:
    value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return str(value) if value else None


def _config_file() -> dict[str, str]:
    path = Path(os.environ.get("QBRAID_CONFIG_FILE") or Path.home() / ".qbraid" / "qbraidrc")
    # without interpolation: its errors would show the value, which may be a key
    parser = configparser.ConfigParser(interpolation=None)
    if not _read(parser, path):  # raised out here: the parser's error, which quotes the file, must not be its context
        raise CredentialsMissing(f"the qBraid config file {path} cannot be read; correct or remove it")
    return {k: v for k, v in parser["default"].items() if v} if parser.has_section("default") else {}


def _read(parser: configparser.ConfigParser, path: Path) -> bool:
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeError, configparser.Error):
        return False
    return True


def _host_in(key: str | None) -> str | None:
    """The host in a key: keys of deployments under another name carry it in base32, `<prefix>_<host>.<64 hex>`."""
    match = _KEY_WITH_HOST.fullmatch(key or "")
    if match is None:
        return None
    text = match[1].upper()
    try:
        host = base64.b32decode(text + "=" * (-len(text) % 8)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return f"https://{host}/api/v1" if _HOSTNAME.fullmatch(host) else None
