"""What was compiled for a job, read back from IBM by a process that did not submit it. Imports the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit

from qflows.providers.ibm import compile as compiling
from qflows.providers.ibm.runtime import Runtime


def record(runtime: Runtime, vendor_id: str) -> Mapping[str, Any]:
    """`compiled` from the circuits that IBM stores; `target` is left out: today's calibration is not that day's."""
    job = runtime.read(f"the params of {vendor_id}", lambda client: client.job_get(vendor_id, exclude_params=False))
    params = job.get("params") if isinstance(job, dict) else None
    circuits = _circuits(params) if isinstance(params, dict) else []
    return {"compiled": [_as_compiled(circuit).summary for circuit in circuits], "target": None}


def _as_compiled(circuit: QuantumCircuit) -> compiling.Compiled:
    layout = circuit.layout.final_index_layout() if circuit.layout is not None else range(circuit.num_qubits)
    return compiling.Compiled(circuit, tuple(layout))


def _circuits(params: Mapping[str, Any]) -> list[QuantumCircuit]:
    """Circuits of PUBs, or of the quantum program that the client makes of an executor's params (0.51.0)."""
    pubs = params.get("pubs")
    if isinstance(pubs, list):
        found = [pub[0] for pub in pubs if isinstance(pub, list | tuple) and pub]
    else:
        items = getattr(params.get("quantum_program"), "items", None)
        found = [getattr(item, "circuit", None) for item in items] if isinstance(items, list) else []
    return [circuit for circuit in found if isinstance(circuit, QuantumCircuit)]
