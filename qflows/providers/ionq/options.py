"""What IonQ takes for one job beyond the circuit, with the vendor's own defaults where they cost money.

Sources: OpenAPI description of API v0.4 dated 2026-09-02; quotes of a paying account, 2026-08.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from qflows.errors import ProgramRejected
from qflows.protocol import VendorOptions

NoiseModel = Literal["ideal", "harmony", "harmony-1", "harmony-2", "aria-1", "aria-2", "forte-1", "forte-enterprise-1"]
SIMULATOR = "simulator"
IDEAL = "ideal"
MIN_DEBIASING_SHOTS = 500  # docs.ionq.com, error mitigation


class _Shared(VendorOptions):
    memory: bool = Field(default=False, description="Keep the outcome of every shot in order.")
    opt: int | None = Field(default=None, ge=0, le=2, description="IonQ's compiler: effort, 0 for none.")
    precision: str | None = Field(
        default=None,
        pattern=r"^\d+(\.\d+)?[eE]-?\d+$",
        description="IonQ's compiler: rotations below this angle are dropped, e.g. 1E-3.",
    )
    gate_basis: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_]{1,32}$", description="IonQ's compiler: two-qubit gate to use, such as ZZ."
    )
    service_version: str | None = Field(
        default=None,
        pattern=r"^v[0-9.]{1,16}$",
        description="IonQ's compiler service; mid-circuit jobs are sent with v0.4, as IonQ's own client does.",
        json_schema_extra={"vendor_default": "not pinned: register names of mid-circuit jobs may be lost"},
    )


class IonQSimulatorOptions(_Shared):
    """Options of a job on IonQ's simulator, which is free."""

    noise_model: NoiseModel = Field(default="ideal", description="Errors of a QPU generation; ideal has none.")


class IonQQpuOptions(_Shared):
    """Options of a job on an IonQ QPU.

    Both error mitigations are sent with every job, false unless asked for: left out, IonQ switches them on for
    abstract circuits from 500 shots.
    """

    debiasing: bool = Field(
        default=False,
        description="Error mitigation by several compiled variants; needs 500 shots.",
        json_schema_extra={
            "vendor_default": "on for abstract circuits from 500 shots",
            "costs": "minimum price of a job on Forte: 168.20 USD instead of 25.79 (dry-run quotes, 2026-08)",
        },
    )
    symmetry_verification: bool = Field(
        default=False,
        description="Error mitigation that discards outcomes of the wrong symmetry.",
        json_schema_extra={"vendor_default": "the platform's", "costs": "shots that were paid for are discarded"},
    )
    dry_run: bool = Field(default=False, description="Compile and price without running: costs nothing, no counts.")


def model_of(device_id: str) -> type[IonQSimulatorOptions] | type[IonQQpuOptions]:
    """The options of a backend."""
    return IonQSimulatorOptions if device_id == SIMULATOR else IonQQpuOptions


def read(device_id: str, options: Mapping[str, Any]) -> IonQSimulatorOptions | IonQQpuOptions:
    """The checked options of a job. Raises ProgramRejected naming the option, the given value and the allowed ones."""
    model = model_of(device_id)
    if "sharpen" in options:
        raise ProgramRejected(
            "sharpen is another view of a debiased job, not another purchase: leave it out and read the item's "
            "metadata['sharpened'] beside its counts"
        )
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        there = ", ".join(sorted(model.model_fields))
        raise ProgramRejected(f"ionq {device_id} has no option {name[:80]!r}; the options are {there}")
    raise ProgramRejected(f"ionq option {name}: {first['msg']}, not {str(first['input'])[:80]!r}")


def is_exact(device_id: str, options: Mapping[str, Any]) -> bool:
    """True if IonQ computes probabilities and takes no shots. Also reads options of older ledgers."""
    return device_id == SIMULATOR and options.get("noise_model", IDEAL) == IDEAL
