"""Device profiles: what a name such as `local-aer` stands for, and what its device accepts."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qflows.errors import DocumentError, UnknownDevice
from qflows.protocol import Limits
from qflows.providers import names as vendor_names

_VENDOR_DEVICE = re.compile(r"([a-z0-9_]+):(\S+)")
_DOCUMENT_CAP = 256 * 1024


class Price(BaseModel):
    """What the vendor asks; labelled with where it was read and when."""

    model_config = ConfigDict(extra="forbid")

    per_job: float = 0.0
    per_shot: float = 0.0
    unit: str = "usd"
    source: str | None = None
    date: Any = None


class DeviceProfile(BaseModel):
    """A device by name. Limits that are None are not checked here; the vendor checks them."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["device"] = "device"
    name: str
    description: str = ""
    provider: str
    device: str
    qubits: int | None = Field(default=None, gt=0)
    max_shots: int | None = Field(default=None, gt=0)
    min_shots: int = Field(default=1, gt=0)
    max_programs: int | None = Field(default=None, gt=0)
    exact: bool = False
    mid_circuit: bool = False
    gates: tuple[str, ...] | None = None
    simulator: bool | None = None
    credentials: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    price: Price | None = None

    def limits(self) -> Limits:
        """The limits as the core checks them."""
        return Limits(
            max_qubits=self.qubits,
            max_shots=self.max_shots,
            min_shots=self.min_shots,
            gates=frozenset(self.gates) if self.gates is not None else None,
            max_programs=self.max_programs,
            exact=self.exact,
            mid_circuit=self.mid_circuit,
        )


def documents_folder() -> Path:
    """Where the shipped documents are: inside the wheel, or beside the package in a checkout."""
    here = Path(__file__).parent
    return here / "_documents" if (here / "_documents").is_dir() else here.parent / "blocks"


@cache
def shipped() -> dict[str, DeviceProfile]:
    """The device profiles that come with qflows, by name."""
    return {profile.name: profile for profile in map(read, sorted(documents_folder().glob("devices/*.yaml")))}


def read(path: Path) -> DeviceProfile:
    """A device profile from a YAML document. Raises DocumentError naming file, line and key."""
    text = path.read_text(encoding="utf-8")
    if len(text) > _DOCUMENT_CAP:
        raise DocumentError(f"{path.name}: {len(text)} characters; a device document has a few hundred")
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DocumentError(f"{path.name}: {error}") from error
    if not isinstance(body, dict):
        raise DocumentError(f"{path.name}: a device document is a mapping of keys to values")
    try:
        return DeviceProfile.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "?"
        line = next((n for n, row in enumerate(text.splitlines(), 1) if row.startswith(f"{key}:")), 1)
        raise DocumentError(f"{path.name}, line {line}, key {key!r}: {first['msg']}") from error


def find(name: str) -> DeviceProfile | None:
    """The shipped profile of this name, or a bare one for `vendor:device-id`, whose limits are the vendor's to say.

    None when the name is neither. A vendor device without profile has no limits here.
    """
    known = shipped().get(name)
    if known is not None:
        return known
    vendor = _VENDOR_DEVICE.fullmatch(name)
    if vendor and vendor[1] in vendor_names():
        return DeviceProfile(name=name, provider=vendor[1], device=vendor[2])
    return None


def is_bare(profile: DeviceProfile) -> bool:
    """True for `vendor:device-id`: the vendor must be asked for the limits."""
    return profile.name == f"{profile.provider}:{profile.device}" and profile.name not in shipped()


def unknown(name: str) -> UnknownDevice:
    """The error for a name that is no device, with what there is."""
    return UnknownDevice(
        f"no device {name!r}; there are {', '.join(shipped())}, or write vendor:device-id with one of the vendors "
        f"{', '.join(vendor_names())}"
    )
