"""Whether buying again can help, by code, with the source of each answer; a code not listed is unknown.

True: the same purchase may succeed later. False: not unchanged. None: the vendor does not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MODEL = "botocore 1.44.8, braket/2019-09-01: documentation of the exception"
_SETS = "amazon-braket-schemas 1.32.1, program_set_executable_failure: the executable says so itself"

# code of a refusal, or category of an executable that failed -> (answer, source)
BUY_AGAIN: dict[str, tuple[bool | None, str]] = {
    "ValidationException": (False, f"{_MODEL}: the input does not satisfy the constraints"),
    "AccessDeniedException": (False, f"{_MODEL}: no permission; an administrator must change it"),
    "DeviceRetiredException": (False, f"{_MODEL}: the device has been retired"),
    "ResourceNotFoundException": (False, f"{_MODEL}: the resource does not exist"),
    "DeviceOfflineException": (True, f"{_MODEL}: the device is currently offline"),
    "ServiceQuotaExceededException": (True, f"{_MODEL}: over a quota, of unfinished tasks for one"),
    "ThrottlingException": (True, f"{_MODEL}: the rate of requests was exceeded"),
    "InternalServiceException": (None, f"{_MODEL}: an unknown error"),
    # `failureReason` of a task is free text that no document lists
    "FAILED": (None, "AWS reference of GetQuantumTask: failureReason is text"),
    "CANCELLED": (True, "AWS reference of CancelQuantumTask: somebody asked for it"),
    "COMPILATION": (None, _SETS),
    "DEVICE": (None, _SETS),
    "SERVICE": (None, _SETS),
}


def helps(code: str) -> bool | None:
    """Whether another purchase may succeed after this code; None if unknown."""
    return BUY_AGAIN.get(code, (None, ""))[0]


def executable_helps(failure: Mapping[str, Any]) -> bool | None:
    """The same for one executable of a program set, which states it itself."""
    said = failure.get("retryable")
    return said if isinstance(said, bool) else helps(str(failure.get("category")))
