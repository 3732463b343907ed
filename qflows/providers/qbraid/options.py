"""The options of a job at qBraid: what may be said, checked by type before anything is recorded or sent."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from qflows.errors import ProgramRejected
from qflows.protocol import JobSpec, VendorOptions

MAX_RUNTIME_OPTIONS_BYTES = 100_000


class QbraidOptions(VendorOptions):
    """Options on every device."""

    runtime_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Members of `runtimeOptions`, sent as they are, false and null included; what they mean is the "
        "device's own.",
    )
    bit_order: Literal["c0_right", "c0_left"] = Field(
        default="c0_right",
        description="Order of bits in the vendor's counts. c0_right on all devices since 2026-09-21; c0_left for "
        "older results of qir-sv, Rigetti and OQC. Not sent.",
    )

    @field_validator("runtime_options")
    @classmethod
    def _is_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            size = len(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"must be JSON: {str(error)[:100]}") from None
        if size > MAX_RUNTIME_OPTIONS_BYTES:
            raise ValueError(f"must not be longer than {MAX_RUNTIME_OPTIONS_BYTES} bytes")
        return value


class SimulatorOptions(QbraidOptions):
    """Options on a simulator."""

    noise_model: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="One of the device's noise models (`noiseModels` in its document), sent as `noiseModel`.",
        json_schema_extra={"vendor_default": "ideal; the Pioneer model on qbraid:quobly:sim:alloy-forge"},
    )


def options_model(device_id: str) -> type[QbraidOptions]:
    """The options that jobs on this device take: noise models are for simulators."""
    return QbraidOptions if ":qpu:" in device_id else SimulatorOptions


def options_of(spec: JobSpec) -> QbraidOptions:
    """The options of a job. Raises ProgramRejected naming the first unknown or wrong one."""
    model = options_model(spec.device_id)
    try:
        return model.model_validate(dict(spec.options))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "options"
    if first["type"] == "extra_forbidden":
        raise ProgramRejected(
            f"{spec.device_id} has no option {name!r}; the options are {', '.join(model.model_fields)}"
        )
    raise ProgramRejected(f"option {name} of {spec.device_id}: {first['msg']}")
