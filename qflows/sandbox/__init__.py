"""Loopback emulators of quantum vendors' HTTP APIs, good enough for the vendors' own clients.

Standalone: imports nothing else of qflows, so an emulator can never agree with an adapter by sharing its mistakes.
A vendor is a sub-package of this one; see README.md beside this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qflows.sandbox.admin_client import Admin, AdminError
    from qflows.sandbox.launch import Sandbox, SandboxError

__all__ = ["Admin", "AdminError", "Sandbox", "SandboxError"]


def __getattr__(name: str) -> object:
    """Load a public name on first use: `python -m qflows.sandbox` must not pay for the client side."""
    if name in ("Sandbox", "SandboxError"):
        from qflows.sandbox import launch

        return getattr(launch, name)
    if name in ("Admin", "AdminError"):
        from qflows.sandbox import admin_client

        return getattr(admin_client, name)
    raise AttributeError(name)
