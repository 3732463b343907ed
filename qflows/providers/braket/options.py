"""The options of one Braket task, by kind of device."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from qflows.errors import ProgramRejected
from qflows.protocol import VendorOptions

# set process-wide by `braket.aws.DirectReservation` (amazon-braket-sdk 1.127.5, aws_session.py)
_CONTEXT_DEVICE = "AMZN_BRAKET_RESERVATION_DEVICE_ARN"
_CONTEXT_RESERVATION = "AMZN_BRAKET_RESERVATION_TIME_WINDOW_ARN"
_RESERVATION = r"^arn:aws[a-z-]*:braket:[a-z0-9-]+:\d{12}:reservation/.+$"


class BraketOptions(VendorOptions):
    """Options of tasks on the managed simulators."""

    memory: bool = Field(default=False, description="Keep the outcome of every shot, in order.")
    literal_angles: bool = Field(
        default=False,
        description="Write angles into the program, for a device that takes no inputs; otherwise they travel apart.",
    )


class QpuOptions(BraketOptions):
    """Options of tasks on quantum processors."""

    verbatim: bool = Field(
        default=False,
        description="Run the gates as written, compiled by nobody: qubit i of the circuit is physical qubit i.",
    )
    disable_qubit_rewiring: bool | None = Field(
        default=None,
        description="true: the program names the device's own qubits and stays on them; qubit i is physical qubit i. "
        "Left out: true for verbatim programs, else false.",
    )
    reservation_arn: str | None = Field(
        default=None,
        pattern=_RESERVATION,
        max_length=256,
        description="Braket Direct reservation to run in; tasks then cost nothing beyond the reservation.",
    )


class IonqOptions(QpuOptions):
    """Options of tasks on IonQ's processors."""

    error_mitigation: Literal["debias"] | None = Field(
        default=None, description="Debiasing, for single circuits of 2,500 shots or more; off unless asked for."
    )


class IqmOptions(QpuOptions):
    """Options of tasks on IQM's processors."""

    experimental_capabilities: Literal["ALL", "NONE"] | None = Field(
        default=None,
        description="Braket's experimental capabilities. Left out: ALL for programs with measurements before the end "
        "or feed-forward, which need them.",
    )


def model_of(device_id: str) -> type[BraketOptions]:
    """The options that tasks on this device take."""
    if "/qpu/" not in device_id:
        return BraketOptions
    return IonqOptions if "/ionq/" in device_id else IqmOptions if "/iqm/" in device_id else QpuOptions


def check_reservation_context(device_id: str, reservation_arn: str | None) -> None:
    """Raise ProgramRejected inside a `DirectReservation` context of this device that the job does not name.

    The job may be sent by another process, which would then buy on demand what was meant for the reservation.
    """
    arn = os.environ.get(_CONTEXT_RESERVATION)
    if not arn or reservation_arn or os.environ.get(_CONTEXT_DEVICE, device_id) != device_id:
        return
    raise ProgramRejected(
        f"a DirectReservation context is open for this device, and a context does not reach the process that sends "
        f"the job: pass options={{'reservation_arn': {arn!r}}}, or leave the context to buy on demand"
    )
