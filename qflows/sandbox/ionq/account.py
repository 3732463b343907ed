"""The caller: the project behind an API key, and what the key may see."""

from __future__ import annotations

import uuid

from qflows.sandbox.errors import Refusal
from qflows.sandbox.vendor import Call


def token(call: Call) -> str:
    """The key of a request; empty without one."""
    scheme, _, text = call.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme == "apiKey" else ""


def project_name(key: str) -> str:
    """The project of a key: keys that are equal up to the first dot share one, so that a rotated key can be
    rehearsed."""
    return key.partition(".")[0]


def project_id(call: Call) -> str:
    """The project of the key, or the one project of all keys, by switch."""
    name = project_name(token(call)) if call.switch("accounts") == "per_key" else "project_id"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{name}"))


def authorise(call: Call) -> None:
    """Raise Refusal(401) without a key, or with an unknown one if known keys are named by switch."""
    key = token(call)
    known = [name for name in str(call.switch("known_keys")).split(",") if name]
    if not key or (known and key not in known):
        raise Refusal(401, "give an API key: Authorization: apiKey <key>" if not key else "unknown API key")
