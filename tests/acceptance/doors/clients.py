"""The vendors' own clients, unmodified, reading the counts of jobs that qflows submitted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from acceptance.doors.written import Written, program_key

os.environ["QBRAID_CONFIG_FILE"] = os.devnull  # the client reads the name when it is imported; the file beats all else
os.environ.setdefault("USAGE_DATA_OPT_OUT", "True")


def _order(program: Written) -> dict[int, int]:
    """Column of each measured qubit where each is written once, by its first clbit."""
    return {qubit: place for place, qubit in enumerate(dict.fromkeys(program.bits.values()))}


def _by_columns(program: Written, key: str) -> str:
    """From a key whose first character is the first measured qubit."""
    order = _order(program)
    return "".join(key[order[qubit]] for qubit in reversed(program.bits.values()))


def _merged(counts: Mapping[str, int], read: Callable[[str], str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, n in counts.items():
        found[read(key)] = found.get(read(key), 0) + int(n)
    return found


def by_ibm(vendor_id: str, device_id: str, program: Written) -> dict[str, int]:
    """`QiskitRuntimeService().job(id).result()`."""
    from qiskit_ibm_runtime import QiskitRuntimeService

    (bits,) = QiskitRuntimeService().job(vendor_id).result()[0].data.values()
    return _merged(bits.get_counts(), program_key(program))


def by_ionq(vendor_id: str, device_id: str, program: Written) -> dict[str, int]:
    """`backend.retrieve_job(id).result()` of qiskit-ionq."""
    from qiskit_ionq import IonQProvider

    backend = IonQProvider().get_backend("ionq_simulator" if device_id == "simulator" else device_id)
    return _merged(backend.retrieve_job(vendor_id).result().get_counts(), program_key(program))


def by_braket(vendor_id: str, device_id: str, program: Written) -> dict[str, int]:
    """`AwsQuantumTask(arn).result()`."""
    from braket.aws import AwsQuantumTask

    counts: Any = AwsQuantumTask(vendor_id).result().measurement_counts
    return _merged(counts, lambda key: _by_columns(program, key))


def by_qbraid(vendor_id: str, device_id: str, program: Written) -> dict[str, int]:
    """`QbraidJob(id).result()`."""
    from qbraid.runtime import QbraidProvider
    from qbraid.runtime.native import QbraidJob

    device: Any = QbraidProvider().get_device(device_id)
    counts: Any = QbraidJob(vendor_id, device=device, client=device.client).result().data.get_counts()
    return _merged(counts, lambda key: _by_columns(program, key[::-1]))


CLIENTS: dict[str, Callable[[str, str, Written], dict[str, int]]] = {
    "ibm": by_ibm,
    "ionq": by_ionq,
    "braket": by_braket,
    "qbraid": by_qbraid,
}
