"""Versions of the libraries in this process, to store with what they did."""

from __future__ import annotations

import platform
import sys
from typing import Any

_NAMED = ("qflows", "qiskit", "qiskit_aer", "qiskit_ibm_runtime", "boto3", "httpx")


def versions() -> dict[str, Any]:
    """By package, and of Python; only what is already loaded, so that nothing is imported for it."""
    found = {"python": platform.python_version()}
    for name in _NAMED:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return {"versions": found}
