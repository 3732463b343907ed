"""Device profiles: what a name such as `local-aer` refers to, and what its device accepts."""

from __future__ import annotations

import csv
import difflib
import logging
import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from qflows.core import documents, rules
from qflows.core.documents import Document
from qflows.errors import DocumentError, ProgramRejected, UnknownDevice
from qflows.programs import Feature
from qflows.protocol import Limits
from qflows.providers import homes
from qflows.providers import names as vendor_names

log = logging.getLogger("qflows.devices")

_VENDOR_DEVICE = re.compile(r"([a-z0-9_]+):(\S+)")


class Price(BaseModel):
    """What the vendor asks; labeled with where it was read and when."""

    model_config = ConfigDict(extra="forbid")

    per_job: float = Field(default=0.0, ge=0, description="Per job, whatever it contains.")
    per_shot: float = Field(default=0.0, ge=0, description="Per shot of each program.")
    per_minute: float = Field(default=0.0, ge=0, description="Per minute of device time.")
    unit: str = Field(default="usd", description="usd, or the vendor's own unit such as credits.")
    source: str | None = Field(default=None, description="Source of the price.")
    # text, because some pages give only the year
    date: Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))] = Field(
        default=None, pattern=r"^\d{4}(-\d\d(-\d\d)?)?$", description="Date of the source: year, month, day."
    )


class DeviceFields(BaseModel):
    """What is known of a device, whatever name it goes by. Limits that are None are left to the vendor to check."""

    description: str = Field(default="", description="One line, shown in listings.")
    provider: str = Field(description="Vendor, as in `qflows devices`: local, ionq, ibm, braket, qbraid or another.")
    device: str = Field(description="The vendor's own name of the device.")
    qubits: int | None = Field(default=None, gt=0, description="Widest circuit.")
    max_shots: int | None = Field(default=None, gt=0, description="Maximum shots per program.")
    min_shots: int = Field(default=1, gt=0, description="Minimum shots per program.")
    max_programs: int | None = Field(
        default=None, gt=0, description="Maximum programs per job; 1 if the device takes one circuit per job."
    )
    max_total_shots: int | None = Field(
        default=None, gt=0, description="Maximum shots per job, summed over its programs."
    )
    labels: str | None = Field(
        default=None,
        pattern=r"^\d{1,4}(-\d{1,4})?(, ?\d{1,4}(-\d{1,4})?)*$",
        description="The vendor's qubit numbers if they are not 0 to n-1, as ranges: 0-7, 9-107.",
    )
    exact: bool = Field(default=False, description="Can run without shots.")
    mid_circuit: bool = Field(default=False, description="Supports reset, and gates after a measurement.")
    gates: tuple[str, ...] | None = Field(
        default=None, description="Accepted gates, if neither the vendor nor qflows compiles."
    )
    simulator: bool | None = Field(default=None, description="True if no quantum hardware is involved.")
    credentials: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Credentials block as type/name, such as qflows-ionq-credentials/prod; empty takes the "
        "vendor's environment variables.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options for every job on this device, such as a noise model."
    )
    price: Price | None = Field(default=None, description="What the vendor charges, with source and date.")
    # text, because YAML parses a bare date and some pages give only the month
    retired: Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))] = Field(
        default=None, pattern=r"^\d{4}(-\d\d(-\d\d)?)?$", description="When the vendor retired it: year, month, day."
    )
    nearest: str | None = Field(default=None, description="The closest replacement for a retired device.")

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
            max_total_shots=self.max_total_shots,
            labels=_numbers(self.labels) if self.labels else None,
        )

    def narrowed(self, told: Limits) -> Limits:
        """The device's own limits, or the profile's where they are stricter: a profile never widens."""
        ours = self.limits()
        takes_mid_circuit = told.mid_circuit or Feature.MID_CIRCUIT in (told.takes or ())
        takes, terms = told.takes, told.terms
        if takes is not None and not ours.mid_circuit:
            left_out = takes & {Feature.MID_CIRCUIT, Feature.RESET, Feature.FEED_FORWARD}
            takes -= left_out
            terms = {**terms, **dict.fromkeys(left_out, "its profile says mid_circuit: false")}
        width = _least(ours.max_qubits, told.max_qubits)
        if ours.max_qubits is not None and told.labels and ours.max_qubits > len(told.labels):
            # with qubit i as the device's qubit i, a program is as wide as its highest number
            width = min(ours.max_qubits, told.labels[-1] + 1)
        return Limits(
            max_qubits=width,
            max_shots=_least(ours.max_shots, told.max_shots),
            min_shots=max(ours.min_shots, told.min_shots),
            gates=_both(ours.gates, told.gates),
            max_programs=_least(ours.max_programs, told.max_programs),
            exact=ours.exact and told.exact,
            mid_circuit=ours.mid_circuit and takes_mid_circuit,
            max_total_shots=_least(ours.max_total_shots, told.max_total_shots),
            max_unfinished=told.max_unfinished,
            # a capture may be older than the device: lost qubits are lost, and the device knows its own numbers
            labels=told.labels or ours.labels,
            measures_all=told.measures_all,
            takes=takes,
            terms=terms,
        )


def _least(one: int | None, other: int | None) -> int | None:
    return min((n for n in (one, other) if n is not None), default=None)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return other if one is None else one if other is None else one & other


def _numbers(spans: str) -> tuple[int, ...]:
    """The numbers in a text such as "0-7, 9-107", ascending."""
    found: set[int] = set()
    for span in spans.split(","):
        first, _, last = span.strip().partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


class DeviceProfile(DeviceFields):
    """A device by name."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["device"] = "device"
    name: str


def documents_folder() -> Path:
    """The folder of the shipped documents: inside the wheel, or beside the package in a checkout."""
    here = Path(__file__).parent.parent
    return here / "_documents" if (here / "_documents").is_dir() else here.parent / "blocks"


class RuleDocument(BaseModel):
    """A rule by name, which `device=` takes as it takes a device."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["rule"] = "rule"
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)
    description: str = Field(default="", description="One line, shown in listings.")
    rule: str = Field(max_length=1000, description="Such as cheapest(ibm-*, ionq-*; qubits>=20, queue<2h).")


def rule_from_document(document: Document) -> RuleDocument:
    """A rule. Raises DocumentError naming file, line and key of the first mistake."""
    try:
        made = RuleDocument.model_validate(dict(document.body))
        rules.read(made.rule)
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)
    except ProgramRejected as error:
        raise document.error(["rule"], str(error)) from None
    else:
        return made
    raise documents.invalid(document, said, lambda place: RuleDocument.model_fields)


@cache
def _shipped_documents() -> tuple[DeviceProfile | RuleDocument, ...]:
    found = map(documents.load, sorted(documents_folder().glob("devices/*.yaml")))
    return tuple(rule_from_document(one) if one.body.get("kind") == "rule" else from_document(one) for one in found)


def shipped_rules() -> dict[str, RuleDocument]:
    """The rules that come with qflows, by name."""
    return {one.name: one for one in _shipped_documents() if isinstance(one, RuleDocument)}


@cache
def shipped() -> dict[str, DeviceProfile]:
    """The device profiles shipped with qflows and with other packages' vendors, by name.

    Another package keeps them in `devices/*.yaml` beside its adapter. It can add names, not take them over: a profile
    with a known name, of another vendor, or with a mistake is skipped with a warning.
    """
    found = {one.name: one for one in _shipped_documents() if isinstance(one, DeviceProfile)}
    for vendor, folder in homes():
        for path in sorted(folder.glob("devices/*.yaml")):
            try:
                profile = read(path)
            except DocumentError as error:
                log.warning("skipping a device profile of %s: %s", vendor, error)
                continue
            if profile.provider != vendor or profile.name in found:
                reason = "the name is taken" if profile.name in found else f"its vendor is {profile.provider}"
                log.warning("skipping device profile %s of %s: %s", profile.name, vendor, reason)
                continue
            found[profile.name] = profile
    return found


@cache
def retired() -> dict[str, DeviceProfile]:
    """Retired devices, by their name here, by the vendor's name and by `vendor:device-id`."""
    found: dict[str, DeviceProfile] = {}
    with (documents_folder() / "retired.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            for name in (row["name"], row["device"], f"{row['provider']}:{row['device']}"):
                found[name] = DeviceProfile.model_validate(row | {"name": name})
    return found


def read(path: Path) -> DeviceProfile:
    """A device profile from a YAML document. Raises DocumentError naming file, line and key."""
    return from_document(documents.load(path))


def from_document(document: Document) -> DeviceProfile:
    """A device profile. Raises DocumentError naming file, line and key of the first mistake."""
    try:
        made = DeviceProfile.model_validate(dict(document.body))
    except ValidationError as error:
        said = error.errors(include_input=False, include_url=False)
    else:
        if made.provider not in vendor_names():
            alike = difflib.get_close_matches(made.provider, vendor_names(), n=1)
            meant = f"did you mean {alike[0]!r}?" if alike else f"installed: {', '.join(vendor_names())}"
            raise document.error(["provider"], f"no vendor {made.provider!r:.80}; {meant}")
        return made
    raise documents.invalid(
        document, said, lambda place: Price.model_fields if len(place) > 1 else DeviceProfile.model_fields
    )


def find(name: str) -> DeviceProfile | None:
    """The shipped profile of this name, or a bare one for `vendor:device-id`, whose limits only the vendor knows.

    None if the name is neither. A vendor device without a profile has no limits here. A retired device is found by its
    name here, its vendor's and both; see `check_living`.
    """
    known = shipped().get(name) or retired().get(name)
    if known is not None:
        return known
    vendor = _VENDOR_DEVICE.fullmatch(name)
    if vendor and vendor[1] in vendor_names():
        return DeviceProfile(name=name, provider=vendor[1], device=vendor[2])
    return None


def is_bare(profile: DeviceProfile) -> bool:
    """True for `vendor:device-id`, whose limits only the vendor knows."""
    return profile.name == f"{profile.provider}:{profile.device}" and profile.name not in shipped()


def check_living(profile: DeviceProfile) -> None:
    """Raise UnknownDevice for a retired device, naming its nearest successor."""
    if profile.retired is not None and str(profile.retired) <= date.today().isoformat():
        nearest = f"; nearest: {profile.nearest}" if profile.nearest else ""
        when = f"on {profile.retired}" if len(profile.retired) == len("2026-01-31") else f"by {profile.retired}"
        raise UnknownDevice(f"{profile.name} was retired {when}{nearest}; `qflows devices` lists the current ones")


def unknown(name: str) -> UnknownDevice:
    """The error for an unknown device name, with similar names."""
    alike = difflib.get_close_matches(name.lower(), shipped(), n=3, cutoff=0.5)
    meant = f"did you mean {', '.join(alike)}? " if alike else ""
    return UnknownDevice(
        f"no device {name!r}; {meant}`qflows devices` lists the names; any other device is "
        "vendor:device-id, with one of the vendors "
        f"{', '.join(vendor_names())}"
    )
