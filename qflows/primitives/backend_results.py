"""The stored results of a backend's call, as Qiskit's `Result`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qiskit import QuantumCircuit

from qflows.model import ItemResult
from qflows.primitives.bits import keys_of_shots
from qflows.programs import Program
from qflows.programs.readout import readout

KIND = "backend/1"


def experiment_note(circuit: QuantumCircuit, program: Program) -> dict[str, Any]:
    """What must be stored about a circuit to read its counts, as JSON. `columns`: the clbit of each character of a
    key."""
    return {
        "creg_sizes": [[register.name, register.size] for register in circuit.cregs],
        "memory_slots": circuit.num_clbits,
        "n_qubits": circuit.num_qubits,
        "columns": [clbit for group in readout(program).groups for clbit in group],
        "is_measured": bool(program.measured),
    }


def own_header(circuit: QuantumCircuit) -> dict[str, Any]:
    """The caller's own labels; a replay may use others, so they are not part of what is bought."""
    return {
        "name": circuit.name,
        "qreg_sizes": [[register.name, register.size] for register in circuit.qregs],
        "metadata": circuit.metadata,
    }


def read(
    note: Mapping[str, Any],
    items: Sequence[ItemResult | None],
    names: Sequence[str],
    errors: Mapping[int, Any],
    job_id: str,
    own: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One experiment of a `Result` for each circuit, in the order given.

    `items` and `names`: of the measured circuits; `own`: the caller's headers, empty if unknown.
    """
    experiments = []
    place = 0
    for one, header in zip(note["pubs"], own, strict=True):
        made = {"shots": note["shots"], "success": True, "status": "DONE", "meas_level": 2, "data": {}}
        known = {key: one[key] for key in ("creg_sizes", "memory_slots", "n_qubits")}
        known |= {"name": "", "qreg_sizes": [["q", one["n_qubits"]]], "metadata": {}}
        if one["is_measured"]:
            known["name"] = names[place]
            item = items[place]
            if item is None:
                made |= {"success": False, "status": str(errors[place].message)}
            else:
                made["data"] = _data(item, one["columns"], note, f"{job_id}/{place}")
            place += 1
        experiments.append(made | {"header": known | dict(header)})
    return experiments


def _data(item: ItemResult, columns: Sequence[int], note: Mapping[str, Any], seed: str) -> dict[str, Any]:
    """Count, and memory if requested: hexadecimal, bit k for clbit k."""
    counts: dict[str, int] = {}
    as_hex = {key: _hex(key, columns) for key in item.counts or {}}
    for key, n in (item.counts or {}).items():
        counts[as_hex[key]] = counts.get(as_hex[key], 0) + n
    found: dict[str, Any] = {"counts": counts}
    if note["memory"]:
        found["memory"] = [as_hex.get(key) or _hex(key, columns) for key in keys_of_shots(item, note["shots"], seed)]
    return found


def _hex(key: str, columns: Sequence[int]) -> str:
    bits = key.replace(" ", "")
    return hex(sum(1 << clbit for character, clbit in zip(bits, columns, strict=True) if character == "1"))
