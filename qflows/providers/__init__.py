"""Vendors, one folder each, found by entry point and imported on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qflows.errors import UnknownDevice
from qflows.protocol import Provider

GROUP = "qflows.providers"


@cache
def names() -> tuple[str, ...]:
    """The installed vendors, sorted."""
    return tuple(sorted(entry.name for entry in entry_points(group=GROUP)))


def homes() -> Iterator[tuple[str, Path]]:
    """The vendors that other packages bring, each with the folder of its adapter. Imports no adapter."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.module.rpartition(".")[0]
        if not package or package.startswith(f"{__name__}."):
            continue
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):  # half removed: `connect` says what is wrong with it
            continue
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield entry.name, Path(folder)


def connect(name: str, credentials: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Provider:
    """The provider of a vendor.

    `credentials`: the fields of its credentials block; None takes the vendor's own environment variables. Makes no
    request. Raises UnknownDevice for a vendor that is not installed, CredentialsMissing where they are needed.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise UnknownDevice(f"no vendor {name!r}; installed: {', '.join(names())}")
    return found[0].load()(credentials, timeout_s=timeout_s)
