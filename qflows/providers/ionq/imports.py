"""Jobs that others submitted to this IonQ project, read back.

IonQ does not return circuits. What its clients store in the metadata says how the qubits were read: `qiskit_header` of
qiskit-ionq (base64 of gzip of JSON) has the classical bits and registers, `sampler_seed` the seed with which that
client draws counts from exact probabilities. Without it all qubits are read, qubit i into clbit i.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from qflows.errors import Refused
from qflows.model import Counts
from qflows.programs import Program
from qflows.programs.unknown import unknown_program
from qflows.protocol import Foreign, JobSpec, Listed
from qflows.providers.ionq import wire
from qflows.providers.ionq.options import SIMULATOR

_HEADER_BYTES = 10_000_000
_OWN = frozenset({wire.KEY, "shots", "sampler_seed", "qiskit_header", "user_agent"})
_NOT_KEPT = "IonQ gives no circuit back; the program shows how its qubits were read"


def entry(job: Mapping[str, Any]) -> Listed:
    """One job as a list shows it; its metadata serve as tags."""
    metadata = wire.mapping(job.get("metadata"))
    key = metadata.get(wire.KEY)
    labels = tuple(f"{name}={value}" for name, value in metadata.items() if name not in _OWN)
    return Listed(
        str(job["id"]),
        str(job.get("backend") or ""),
        wire.moment(job.get("submitted_at")),
        str(key) if key else None,
        labels,
    )


def foreign(job: Mapping[str, Any]) -> Foreign:
    """A job with what its metadata say. Raises Refused for a child, and for OpenQASM 3 jobs."""
    vendor_id = str(job["id"])
    if job.get("parent_job_id"):
        raise Refused(f"ionq job {vendor_id} is part of job {job['parent_job_id']}; import that one", provider="ionq")
    if job.get("type") == wire.QASM3:
        raise Refused(
            f"ionq job {vendor_id} is OpenQASM 3, and IonQ does not report its registers, so it is not imported",
            provider="ionq",
        )
    shown, metadata = entry(job), wire.mapping(job.get("metadata"))
    headers = _headers(metadata.get("qiskit_header"))
    children = job.get("child_job_ids")
    n_circuits = len(children) if isinstance(children, list) and children else 1
    stats = wire.mapping(job.get("stats"))
    width = stats["qubits"] if isinstance(stats.get("qubits"), int) else 1
    name = str(job.get("name") or "ionq-job")
    notes = [_NOT_KEPT]
    if len(headers) != n_circuits:
        if headers:
            notes.append(f"its header describes {len(headers)} circuits, but it has {n_circuits}")
        headers = [{}] * n_circuits
        notes.append("all qubits are shown, qubit i as bit i")
    programs = tuple(_program(header, width, name) for header in headers)
    noise = str(wire.mapping(job.get("noise")).get("model") or "ideal")
    options: dict[str, Any] = {"imported": {"sampler_seed": _whole(metadata.get("sampler_seed"))}}
    if shown.device_id == SIMULATOR:
        options["noise_model"] = noise
    shots = _whole(job.get("shots")) or _whole(metadata.get("shots"))
    if shots is None:
        notes.append("the number of shots is not known, so there are probabilities but no counts")
    spec = JobSpec(
        provider="ionq",
        device_id=shown.device_id,
        programs=programs,
        shots=shots,
        options=options,
        name=name[:255],
        tags=shown.tags,
        session_id=job.get("session_id"),
    )
    client = str(metadata.get("user_agent") or ("qiskit-ionq" if "qiskit_header" in metadata else ""))
    return Foreign(shown, spec, wire.observation(job), client=client, notes=tuple(notes))


def _headers(packed: Any) -> list[Mapping[str, Any]]:
    """The header of each circuit; empty if none can be read."""
    if not isinstance(packed, str) or not packed:
        return []
    try:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        text = stream.decompress(base64.b64decode(packed), _HEADER_BYTES)
        found = json.loads(text)
    except (ValueError, zlib.error, binascii.Error, RecursionError):
        return []
    headers = found if isinstance(found, list) else [found]
    return headers if all(isinstance(one, dict) for one in headers) else []


def _program(header: Mapping[str, Any], width: int, name: str) -> Program:
    mapped = header.get("meas_mapped")
    is_told = isinstance(mapped, list) and any(qubit is not None for qubit in mapped)
    places: Sequence[Any] = mapped if is_told and isinstance(mapped, list) else range(width)
    measured = [(int(qubit), clbit) for clbit, qubit in enumerate(places) if qubit is not None]
    label = str(header.get("name") or name)
    n_clbits = len(places)
    registers = _registers(header.get("clbit_labels"), n_clbits)
    return unknown_program(width, measured, n_clbits=n_clbits, registers=registers, name=label[:255])


def _registers(labels: Any, n_clbits: int) -> list[tuple[str, list[int]]] | None:
    """Registers from `clbit_labels`: [[name, bit], ...] in the order of the clbits."""
    if not isinstance(labels, list) or len(labels) != n_clbits:
        return None
    found: dict[str, dict[int, int]] = {}
    for clbit, label in enumerate(labels):
        if not isinstance(label, list) or len(label) != 2:
            return None
        found.setdefault(str(label[0]), {})[int(label[1])] = clbit
    if any(sorted(bits) != list(range(len(bits))) for bits in found.values()):
        return None
    return [(name, [bits[bit] for bit in sorted(bits)]) for name, bits in found.items()]


def _whole(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None


def as_its_client_drew(states: Any, program: Program, shots: int, seed: int) -> Counts | None:
    """Counts as qiskit-ionq 1.1.1 draws them from exact probabilities, `_build_counts`; None if that is impossible.

    The same seed gives the counts that the submitter saw.
    """
    import numpy as np

    from qflows.programs.readout import readout

    if not isinstance(states, dict) or seed >= 2**32:
        return None
    layout = readout(program)
    shares: dict[int, float] = {}
    for state, share in states.items():
        if not str(state).isdecimal() or not isinstance(share, int | float):
            return None
        value = sum((int(state) >> qubit & 1) << clbit for qubit, clbit in layout.measured)
        shares[value] = shares.get(value, 0.0) + share
    weights = np.array(list(shares.values()))
    if not weights.sum() > 0:
        return None
    drawn = np.random.RandomState(seed).choice(len(weights), shots, p=weights / weights.sum())
    numbers = np.bincount(drawn, minlength=len(weights))
    return Counts(sorted((layout.from_clbits(value), int(n)) for value, n in zip(shares, numbers, strict=True) if n))
