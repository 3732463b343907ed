"""The allowed contents of `POST /jobs` and `POST /jobs/group`. Rules: request models of `qbraid-core` 0.6.37."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qflows.sandbox.errors import Refusal
from qflows.sandbox.qbraid import catalog
from qflows.sandbox.qbraid.catalog import Device
from qflows.sandbox.vendor import Call

FORMATS = (
    "qasm2", "qasm3", "qir.bc", "qir.ll", "analog", "pulser.sequence", "quil", "ionq.circuit.v0", "problem", "gst",
)  # fmt: skip
MAX_CIRCUITS = 2_000
MAX_TTL_S = 86_400
DEFAULT_TTL_S = 3_600
DEFAULT_SHOTS = 100


@dataclass(frozen=True)
class Submission:
    """A checked submission."""

    device: Device
    programs: list[dict[str, Any]]
    is_batch: bool
    shots: int
    name: str | None
    tags: dict[str, Any]
    options: dict[str, Any]
    group: str | None
    rates: tuple[float, float, float] | None


def bad(*where: str, message: str) -> Refusal:
    """422, as the REST pages say of a body that fails validation."""
    return Refusal(422, f"{'.'.join(where)}: {message}", code="VALIDATION_ERROR", keys=where)


def read(call: Call) -> Submission:
    """Check the body of a submission. Raises Refusal naming the member."""
    body = call.document()
    if not isinstance(body, dict):
        raise bad("body", message="must be an object")
    device = _device(call, body.get("deviceQrn"))
    programs, is_batch = _programs(call, body.get("program"), device)
    shots = body.get("shots")
    shots = DEFAULT_SHOTS if shots is None else shots
    if type(shots) is not int or shots < 0:
        raise bad("body", "shots", message="must be a whole number from 0")
    if not device.min_shots <= shots <= device.max_shots:
        bounds = f"{device.min_shots} to {device.max_shots}"
        raise Refusal(
            call.switch("shots_status"), f"{device.name} takes {bounds} shots, not {shots}", code="BAD_REQUEST"
        )
    for name in ("name", "groupJobQrn"):
        if not isinstance(body.get(name), str | None):
            raise bad("body", name, message="must be text")
    options = _object(body, "runtimeOptions")
    return Submission(
        device=device,
        programs=programs,
        is_batch=is_batch,
        shots=shots,
        name=body.get("name"),
        tags=read_tags(body),
        options=options,
        group=body.get("groupJobQrn"),
        rates=_rates(call, device, options),
    )


def _device(call: Call, qrn: Any) -> Device:
    if not isinstance(qrn, str):
        raise bad("body", "deviceQrn", message="is required")
    device = catalog.DEVICES.get(qrn)
    if device is None:
        raise Refusal(call.switch("unknown_device_status"), f"Device not found: {qrn}", code="NOT_FOUND")
    if device.status != "ONLINE" and call.switch("offline_submit") == "refuse":
        raise Refusal(400, f"device {qrn} is {device.status}", code="DEVICE_UNAVAILABLE")
    if is_closed(call, device):
        raise Refusal(403, f"no access to device {qrn}", code="FORBIDDEN")
    return device


def is_closed(call: Call, device: Device) -> bool:
    """True for a device that the account may not use directly."""
    return device.qrn in str(call.switch("closed_devices")).split(",")


def whole(call: Call, name: str, default: int, most: int) -> int:
    """A whole number in the query, 1 to `most`."""
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= most:
        raise bad("query", name, message=f"must be a whole number in 1..{most}")
    return int(text)


def _programs(call: Call, value: Any, device: Device) -> tuple[list[dict[str, Any]], bool]:
    is_batch = isinstance(value, list)
    programs = value if isinstance(value, list) else [value]
    if not 0 < len(programs) <= MAX_CIRCUITS:
        raise bad("body", "program", message=f"must hold 1 to {MAX_CIRCUITS} programs")
    for program in programs:
        if not isinstance(program, dict) or "data" not in program:
            raise bad("body", "program", message="must have format and data")
        if program.get("format") not in FORMATS:
            raise bad("body", "program", "format", message=f"must be one of {', '.join(FORMATS)}")
        if program["format"] not in device.formats:
            raise Refusal(400, f"{device.qrn} takes {', '.join(device.formats)}", code="BAD_REQUEST")
        if program["format"].startswith("qasm") and not isinstance(program["data"], str):
            raise bad("body", "program", "data", message="must be text")
    if is_batch and not device.has_batch:
        raise Refusal(call.switch("no_batch_status"), f"{device.qrn} takes no batch jobs", code="BATCH_NOT_SUPPORTED")
    return programs, is_batch


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise bad("body", name, message="must be an object")
    return value


def read_tags(body: dict[str, Any]) -> dict[str, Any]:
    """Tags: name to text, whole number or truth value."""
    tags = _object(body, "tags")
    for name, value in tags.items():
        if not isinstance(value, str | int | bool):
            raise bad("body", "tags", name, message="must be text, a whole number or true or false")
    return tags


def _rates(call: Call, device: Device, options: dict[str, Any]) -> tuple[float, float, float] | None:
    model = options.get("noiseModel")
    if model is not None and model not in device.noise_models:
        raise Refusal(400, f"noise model {model!r} is none of {device.qrn}", code="BAD_REQUEST")
    if model not in (None, "ideal"):
        return catalog.NOISY
    return device.rates if call.switch("qpu_noise") else None


def read_ttl(body: dict[str, Any]) -> int:
    """Number of seconds a group stays open."""
    ttl = body.get("maxTTL")
    ttl = DEFAULT_TTL_S if ttl is None else ttl
    if type(ttl) is not int or not 1 <= ttl <= MAX_TTL_S:
        raise bad("body", "maxTTL", message=f"must be in 1..{MAX_TTL_S}")
    return ttl


def client_key(document: Any) -> str | None:
    """The caller's key in the tags: `qflows_key`."""
    tags = document.get("tags") if isinstance(document, dict) else None
    key = tags.get("qflows_key") if isinstance(tags, dict) else None
    return key if isinstance(key, str) else None
