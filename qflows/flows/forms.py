"""What the forms of deployments show: devices to choose from, circuits as text; and how runs are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import WithJsonSchema

from qflows.core.profiles import shipped
from qflows.pages.text import shots_text

_SHIPPED = sorted(name for name, one in shipped().items() if one.retired is None)
_CHOICE: dict[str, Any] = {
    "anyOf": [
        {
            "type": "string",
            "title": "a device that ships with qflows",
            "enum": _SHIPPED,
        },
        {"type": "string", "title": "another: a saved profile, vendor:device-id, or a rule such as best(ibm-*)"},
    ]
}

# a choice in the form, any text for the server: saved profiles and vendor:device-id are devices too
DeviceName = Annotated[str, WithJsonSchema(_CHOICE)]
# two lists, not one list of choices, which Prefect's older UI shows as JSON
DeviceNames = Annotated[
    list[str],
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": one, "minItems": 1, "title": title}
                for one, title in (
                    ({"type": "string", "enum": _SHIPPED}, "devices that ship with qflows"),
                    ({"type": "string"}, "others too: saved profiles, vendor:device-id, rules"),
                )
            ]
        }
    ),
]
GateForm = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "title": "once, or within 6h every 30m",
                    "pattern": "^\\s*([Oo]nce|[Ww]ithin .*\\d.*)?\\s*$",
                },
                {
                    "type": "object",
                    "title": "settings",
                    "additionalProperties": False,
                    "properties": {
                        "within": {
                            "type": ["string", "number"],
                            "description": 'How long to probe a bad device again, e.g. "6h"; empty: once.',
                        },
                        "every": {
                            "type": ["string", "number"],
                            "description": 'Time between two probes, e.g. "30m".',
                        },
                        "shots": {"type": "integer", "minimum": 1, "description": "Per circuit of the probe."},
                        "options": {"type": "object", "description": "Vendor options of the probe's jobs."},
                        "timeout": {"type": "number", "minimum": 0, "description": "Seconds to wait for a probe."},
                        "reference": {"description": "Circuits of your own instead of the probe's."},
                    },
                },
                {"type": "null", "title": "no gate"},
            ]
        }
    ),
]
Circuits = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "title": "several circuits", "items": {"type": "string", "format": "json-string"}},
                {"type": "string", "title": "one circuit"},
                {"title": "anything else, as JSON"},
            ]
        }
    ),
]

# without a type of its own the form is a JSON field, which Prefect's newer UI shows empty whatever the default is
ShotsOfEach = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "title": "one number for all"},
                {"type": "array", "items": {"type": "integer", "minimum": 1}, "title": "one per circuit"},
                {"type": "null", "title": "exact values"},
            ]
        }
    ),
]

NameOrJson = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string", "title": "a name"}, {"title": "anything else, as JSON"}]})
]


def circuit_name(circuit: Any) -> str:
    """The name of a circuit that has one worth showing, else an empty text."""
    if isinstance(circuit, Path):
        return circuit.stem
    if isinstance(circuit, tuple) and circuit:
        return circuit_name(circuit[0])
    name = getattr(circuit, "name", None)
    return str(name) if isinstance(name, str) and name != "qasm" and not name.startswith("circuit-") else ""


def circuits_named(circuits: Any, count: str) -> str:
    """ "bell on", "bell and 2 more", or how many there are where they have no names."""
    listed: Sequence[Any] = circuits if isinstance(circuits, list) else [circuits]
    first = circuit_name(listed[0])[:60] if listed else ""
    if not first:
        return count
    return f"{first} and {len(listed) - 1} more" if len(listed) > 1 else first


def run_name(what: str, parameters: Any) -> str:
    """ "WHAT on DEVICE, 1,000 shots"."""
    shots = parameters.get("shots")
    said = "shots of their own" if isinstance(shots, list | tuple) else shots_text(shots)
    return f"{what} on {parameters.get('device')}, {said}"
