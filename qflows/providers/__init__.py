"""Vendors, one folder each, found by entry point and imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qflows.errors import UnknownDevice
from qflows.protocol import JobSpec, Provider, RawAnswer, VendorResult

GROUP = "qflows.providers"


@cache
def names() -> tuple[str, ...]:
    """The installed vendors, sorted."""
    return tuple(sorted(entry.name for entry in entry_points(group=GROUP)))


def homes() -> Iterator[tuple[str, Path]]:
    """The vendors that other packages provide, each with the folder of its adapter. Imports no adapter."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.module.rpartition(".")[0]
        if not package or package.startswith(f"{__name__}."):
            continue
        try:
            spec = find_spec(package)
        except (ImportError, ValueError):  # half removed: `connect` reports what is wrong with it
            continue
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield entry.name, Path(folder)


@dataclass(frozen=True, slots=True)
class Decoder:
    """Reads stored answers of a vendor. `runs_here`: its jobs need no answer; they are run again."""

    decode: Callable[[RawAnswer, JobSpec, str], VendorResult]
    runs_here: bool

    def __call__(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """What the answer says, as `Provider.decode`. Raises Unreadable."""
        return self.decode(raw, spec, key)


def decoder(name: str) -> Decoder | None:
    """How answers of a vendor are read without an account: the function `decode_kept` in the module that its entry
    point names. A module whose jobs run on this machine sets `RUNS_HERE = True`. None if there is none."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                home = import_module(entry.module)
            except ImportError:
                return None
            decode: Callable[[RawAnswer, JobSpec, str], VendorResult] | None = getattr(home, "decode_kept", None)
            return Decoder(decode, bool(getattr(home, "RUNS_HERE", False))) if decode else None
    return None


def connect(name: str, credentials: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Provider:
    """The provider of a vendor.

    `credentials`: the fields of its credentials block; None takes the vendor's own environment variables. Makes no
    request. Raises UnknownDevice for a vendor that is not installed, CredentialsMissing if credentials are needed.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise UnknownDevice(f"no vendor {name!r}; installed: {', '.join(names())}")
    return found[0].load()(credentials, timeout_s=timeout_s)
