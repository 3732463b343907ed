"""Which IBM Quantum account, instance and address to use: as the vendor's own client chooses, and never half a sandbox.

Order of qiskit-ibm-runtime 0.51.0 (accounts/management.py): arguments, `QISKIT_IBM_*`, the saved default account in
`~/.qiskit/qiskit-ibm.json`. A loopback address means the sandbox: then everything, including IAM and search, must be on
loopback, in this process and in any other that reads the same settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qflows.errors import CredentialsMissing
from qflows.privacy.accounts import account_name
from qflows.privacy.redaction import protect

CHANNELS = ("ibm_quantum_platform", "ibm_cloud")
REGIONS = ("us-east", "eu-de")
SERVICE_VARIABLES = ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# the paths at which one loopback origin serves IBM Cloud's other services, unless the variables say otherwise
_SANDBOX_PATHS = {"IAM_URL": "/iam", "GLOBAL_SEARCH_URL": "/search", "GLOBAL_CATALOG_URL": "/catalog/api/v1"}


@dataclass(frozen=True)
class Access:
    """Resolved settings. `base_url` is None for IBM's own address, which depends on the instance's region."""

    token: str = field(repr=False)
    instance: str | None
    channel: str
    base_url: str | None
    region: str | None
    services: Mapping[str, str]  # variables of ibm-cloud-sdk-core, set while the client is created; empty: IBM's own

    @property
    def is_sandbox(self) -> bool:
        """True if everything must stay on loopback."""
        return self.base_url is not None and is_loopback(self.base_url)

    @property
    def account(self) -> str:
        """A name for the instance, or else the credentials, without revealing them. A new key for an instance keeps it.

        Only a CRN is unique to an instance: names such as "open-instance" occur in many accounts, so the key that finds
        the instance by its name is part of it.
        """
        instance = self.instance or ""
        holder = instance if instance.startswith("crn:") else "\n".join(filter(None, (instance, self.token)))
        return account_name(self.base_url or "ibm", holder)


def is_loopback(url: str) -> bool:
    """True if the address is on this machine."""
    return (urlsplit(url).hostname or "") in _LOOPBACK


def find_access(given: Mapping[str, Any] | None) -> Access:
    """Settings from fields of a credentials block, else environment, else saved account. Makes no request.

    Raises CredentialsMissing naming what to set, also if a sandbox is only half configured.
    """
    fields = {name: _plain(value) for name, value in (given or {}).items()}
    saved: Mapping[str, str] = {}
    if not fields.get("token"):
        token = os.environ.get("QISKIT_IBM_TOKEN")
        saved = {} if token else _saved_account()
        fields["token"] = token or saved.get("token")
        fields["instance"] = fields.get("instance") or os.environ.get("QISKIT_IBM_INSTANCE") or saved.get("instance")
    if not fields.get("token"):
        raise CredentialsMissing(
            "no IBM Quantum API key: set QISKIT_IBM_TOKEN (and QISKIT_IBM_INSTANCE), or save a "
            "qflows-ibm-credentials block and name it in the device profile; without an account, "
            "`qflows sandbox start` gives an IBM Quantum API to try"
        )
    protect(fields["token"])
    url = fields.get("url") or os.environ.get("QISKIT_IBM_URL") or saved.get("url")
    channel = fields.get("channel") or os.environ.get("QISKIT_IBM_CHANNEL") or saved.get("channel") or CHANNELS[0]
    _check(channel, CHANNELS, "channel")
    region = fields.get("region")
    if region:
        _check(region, REGIONS, "region")
    instance = fields.get("instance")
    access = Access(
        token=str(fields["token"]),
        instance=None if instance in (None, "", "auto") else instance,
        channel=channel,
        base_url=_base(url),
        region=region,
        services=_services(url),
    )
    _refuse_half_a_sandbox(access)
    return access


def _check(value: str, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        raise CredentialsMissing(f"IBM Quantum {name} {value!r}: the choices are {', '.join(allowed)}")


def _plain(value: Any) -> str | None:
    value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return str(value) if value else None


def _base(url: str | None) -> str | None:
    """The runtime API's address for a loopback url; None for other urls, which the client's own resolver handles."""
    if url is None:
        return None
    parts = urlsplit(url)
    if not is_loopback(url):
        if parts.scheme != "https":
            raise CredentialsMissing(f"the IBM address {url} is not https; an API key must not be sent unencrypted")
        return None if parts.hostname == "cloud.ibm.com" else url.rstrip("/")
    return url.rstrip("/") if "/api/v" in parts.path else f"{url.rstrip('/')}/api/v1"


def _services(url: str | None) -> dict[str, str]:
    if url is None or not is_loopback(url):
        return {}
    parts = urlsplit(url)
    own = {name: os.environ.get(name, "") for name in SERVICE_VARIABLES}
    return {
        name: own[name] if own[name] and is_loopback(own[name]) else f"{parts.scheme}://{parts.netloc}{path}"
        for name, path in _SANDBOX_PATHS.items()
    }


def _refuse_half_a_sandbox(access: Access) -> None:
    """Refuse a half-configured sandbox, so that it never sends a request to IBM, nor an IBM key to a sandbox's IAM."""
    if access.is_sandbox:
        return
    for name in ("QISKIT_IBM_URL", *SERVICE_VARIABLES):
        if is_loopback(os.environ.get(name, "")):
            raise CredentialsMissing(
                f"{name} names a sandbox on this machine, but the IBM credentials name a real host; "
                f"unset {name}, or set url (QISKIT_IBM_URL) to the sandbox too"
            )


def _saved_account() -> Mapping[str, str]:
    """The account the client would load from disk, or an empty one."""
    path = Path.home() / ".qiskit" / "qiskit-ibm.json"
    try:
        accounts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise CredentialsMissing(f"the saved IBM accounts in {path} cannot be read; correct or remove it") from None
    known = {name: one for name, one in accounts.items() if isinstance(one, dict) and one.get("channel") in CHANNELS}
    chosen = next((one for one in known.values() if one.get("is_default_account")), None)
    chosen = chosen or next(
        (known[f"default-{c.replace('_', '-')}"] for c in CHANNELS if f"default-{c.replace('_', '-')}" in known), None
    )
    return {name: str(value) for name, value in (chosen or {}).items() if isinstance(value, str)}
