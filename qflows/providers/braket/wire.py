"""Braket's documents in both directions; pure functions, no socket.

Sources: botocore 1.44.8 model braket/2019-09-01; amazon-braket-schemas 1.32.1; what amazon-braket-sdk 1.88.1 sends
(measured).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from qflows.errors import ProgramRejected
from qflows.model import Cost
from qflows.protocol import JobSpec, Observation, Phase
from qflows.providers.braket import circuits, failures
from qflows.providers.braket.devices import Device

KEY = "qflows:key"
NAME = "qflows:name"
MIN_MITIGATED_SHOTS = 2_500  # docs.aws.amazon.com/braket, IonQ error mitigation (stored copy, 2026)
_MESSAGE_CAP = 2_000
# AWS-wide: 50 tags a resource, of which two are ours; names of 128 characters, values of 256
MAX_TAGS, LONGEST_NAME, LONGEST_VALUE = 48, 128, 256

# botocore 1.44.5, QuantumTaskStatus; CANCELLING is not final, the task may still complete
STATUS: dict[str, Phase] = {
    "CREATED": Phase.QUEUED,
    "QUEUED": Phase.QUEUED,
    "RUNNING": Phase.RUNNING,
    "COMPLETED": Phase.DONE,
    "FAILED": Phase.FAILED,
    "CANCELLING": Phase.RUNNING,
    "CANCELLED": Phase.CANCELLED,
}
LIVE = tuple(word for word, phase in STATUS.items() if phase in (Phase.QUEUED, Phase.RUNNING))

SIMULATOR_REGIONS = ("us-east-1", "us-west-1", "us-west-2", "eu-west-2")  # measured 2026-09-13; not eu-north-1
_PARAMETERS = "braket.device_schema."


def region_of(arn: str) -> str | None:
    """The region inside an ARN; None for managed simulators, which run in the caller's."""
    parts = arn.split(":")
    return parts[3] or None if len(parts) > 3 else None


def simulator_region(own: str) -> str:
    """Where managed simulators run: the caller's region if they are there, otherwise the nearest; the SDK also looks
    elsewhere (amazon-braket-sdk 1.127.5, aws_device.py).
    """
    if own in SIMULATOR_REGIONS:
        return own
    return "eu-west-2" if own.startswith("eu-") else "us-east-1"


def is_task(vendor_id: str) -> bool:
    """True for the ARN of a quantum task."""
    return vendor_id.startswith("arn:") and ":quantum-task/" in vendor_id and region_of(vendor_id) is not None


def is_device(device_id: str) -> bool:
    """True for the ARN of a device."""
    return device_id.startswith("arn:") and "::device/" in device_id


def is_simulator(device_id: str) -> bool:
    """True for the ARN of a managed simulator."""
    return "/quantum-simulator/" in device_id


def request(spec: JobSpec, key: str, *, device: Device, bucket: str, prefix: str) -> dict[str, Any]:
    """Parameters of CreateQuantumTask. The key is the client token, a tag, and part of the results' path.

    Raises ProgramRejected for what Braket's OpenQASM cannot say.
    """
    body: dict[str, Any] = {
        "clientToken": key,
        "deviceArn": spec.device_id,
        "shots": (spec.shots or 0) * len(spec.programs),
        "outputS3Bucket": bucket,
        "outputS3KeyPrefix": f"{prefix}/{key}",
        "action": json.dumps(circuits.action(spec, device), separators=(",", ":")),
        "tags": label_tags(spec.name, spec.tags, key),
    }
    if len(spec.programs) == 1:
        body["deviceParameters"] = json.dumps(_device_parameters(spec), separators=(",", ":"))
    if wanted := _experiments(spec):
        body["experimentalCapabilities"] = {"enabled": wanted}
    if arn := spec.options.get("reservation_arn"):
        body["associations"] = [{"arn": str(arn), "type": "RESERVATION_TIME_WINDOW_ARN"}]
    return body


def _experiments(spec: JobSpec) -> str | None:
    """ALL or NONE if the job says so, otherwise ALL for programs that need it."""
    asked = spec.options.get("experimental_capabilities")
    if not circuits.needs_experiments(spec):
        return asked
    if asked == "NONE":
        raise ProgramRejected("measurements before the end need experimental_capabilities='ALL'; leave the option out")
    return "ALL"


def _device_parameters(spec: JobSpec) -> dict[str, Any]:
    """As the SDK writes them: by vendor for IonQ, Rigetti and OQC, the simulator's class for all others."""
    family = next((name for name in ("ionq", "rigetti", "oqc") if f"/{name}/" in spec.device_id), None)
    name = f"{family}.{family}_device_parameters" if family else "simulators.gate_model_simulator_device_parameters"
    asked = spec.options.get("disable_qubit_rewiring")
    rewiring_off = any(circuits.is_physical(program, spec) for program in spec.programs) if asked is None else asked
    body: dict[str, Any] = {
        "braketSchemaHeader": {"name": _PARAMETERS + name, "version": "1"},
        "paradigmParameters": {
            "braketSchemaHeader": {"name": _PARAMETERS + "gate_model_parameters", "version": "1"},
            "qubitCount": spec.programs[0].n_qubits,
            "disableQubitRewiring": rewiring_off,
        },
    }
    if spec.options.get("error_mitigation") == "debias":
        body["errorMitigation"] = [{"type": "braket.device_schema.error_mitigation.debias.Debias"}]
    return body


def label_tags(name: str, labels: Mapping[str, str], key: str) -> dict[str, str]:
    """The user's tags as AWS takes them, and ours. AWS tag rules: letters, digits, space and + - = . _ : / @."""
    tags = {tag_name(label): _tag_text(value)[:LONGEST_VALUE] for label, value in labels.items()}
    if name:
        tags[NAME] = _tag_text(name)[:LONGEST_VALUE]
    return tags | {KEY: key}


def tag_name(label: str) -> str:
    """A label's name as AWS takes it."""
    return _tag_text(label)[:LONGEST_NAME]


def _tag_text(text: Any) -> str:
    return "".join(c if c.isalnum() or c in " +-=._:/@" else "_" for c in str(text))


def key_in(task: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """The key that a task carries: in its tag, otherwise in the path of its results, which no tag policy can drop."""
    wanted = set(keys)
    tag = (task.get("tags") or {}).get(KEY)
    if tag in wanted:
        return str(tag)
    return next((part for part in str(task.get("outputS3Directory") or "").split("/") if part in wanted), None)


def observation(task: Mapping[str, Any]) -> Observation:
    """A task of GetQuantumTask or SearchQuantumTasks. An undocumented status is UNKNOWN."""
    word = str(task.get("status"))
    queue = task.get("queueInfo") or {}
    position = str(queue.get("position", ""))
    reason = task.get("failureReason")
    phase = STATUS.get(word, Phase.UNKNOWN)
    return Observation(
        phase=phase,
        word=word,
        finished_at=moment(task.get("endedAt")),
        queue_position=int(position) if position.isdecimal() else None,
        queue_note=position if position.startswith(">") else None,
        error_message=str(reason)[:_MESSAGE_CAP] if reason else None,
        # FAILED and CANCELLED tasks cost nothing: the SDK's own tracker; a simulator's minutes are not reported
        cost=Cost(0.0, "usd", False) if phase in (Phase.FAILED, Phase.CANCELLED) else None,
        is_retryable=failures.helps(word) if phase in (Phase.FAILED, Phase.CANCELLED) else None,
        steps={name: at for name in ("createdAt", "endedAt") if (at := moment(task.get(name))) is not None},
    )


def moment(value: Any) -> datetime | None:
    """A time as boto3 gives it or as ISO 8601, or None."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) else None
