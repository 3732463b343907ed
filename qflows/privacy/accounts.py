"""Account names: the same for the same credentials at the same address, without revealing them.

An address on this machine belongs to an emulator. The names of its accounts say so, and so do the records of all jobs,
sessions and groups that it answered.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address
from urllib.parse import urlsplit

EMULATED = "sandbox:"


def is_loopback(address: str | None) -> bool:
    """True for a URL on this machine."""
    try:
        host = (urlsplit(address or "").hostname or "").rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def account_name(address: str | None, holder: str) -> str:
    """The account of `holder`, a key or something that stays with it, at `address`; None: the vendor's own.

    Sixteen hexadecimal digits, after `sandbox:` if the address is an emulator's.
    """
    name = hashlib.sha256(f"{address or ''}|{holder}".encode()).hexdigest()[:16]
    return EMULATED + name if is_loopback(address) else name


def is_emulated(account: str) -> bool:
    """True if an emulator answered for this account."""
    return account.startswith(EMULATED)
