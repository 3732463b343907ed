"""Runs Braket programs in the worker process: flat ones here, all others on Braket's own interpreter."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from qflows.sandbox.braket.gates import GATES, operation
from qflows.sandbox.errors import WorkError
from qflows.sandbox.noise import Rates, disturbed, drawn

_WORD = re.compile(r"(?:^|[;{}])\s*([A-Za-z_]\w*)")


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute the executables of one task. Returns `executables`: one outcome each, in order.

    An outcome is {measured, columns, histogram} (keys: decimal; column k of the result is bit `columns[k]` of a key),
    {document} (a whole result of Braket's simulator) or {error: {message, retryable}}.
    """
    outcomes = []
    for place, executable in enumerate(payload["executables"]):
        try:
            outcomes.append(_one(executable, payload, payload["seed"] + place))
        except WorkError as error:
            if not payload["is_set"]:
                raise
            outcomes.append({"error": {"message": error.message, "retryable": False}})
    return {"executables": outcomes}


def _one(executable: dict[str, Any], payload: dict[str, Any], seed: int) -> dict[str, Any]:
    rates = None if payload["rates"] is None else Rates(*payload["rates"])
    if "gates" not in executable:
        return _interpreted(executable, payload["shots"], payload["simulator"], rates, seed)
    ops = [operation(*gate) for gate in executable["gates"]]
    measured = executable["measured"]
    found = drawn(ops, rates, read=measured, limit=payload["limit"], shots=payload["shots"], seed=seed)
    return {"measured": measured, "columns": measured, "histogram": {str(key): found[key] for key in sorted(found)}}


def _interpreted(
    executable: dict[str, Any], shots: int, simulator: str, rates: Rates | None, seed: int
) -> dict[str, Any]:
    from braket.default_simulator import DensityMatrixSimulator, StateVectorSimulator
    from braket.ir.openqasm import Program

    device = DensityMatrixSimulator() if simulator == "dm1" else StateVectorSimulator()
    try:
        result = device.run(Program(source=executable["source"], inputs=executable["inputs"]), shots=shots)
    except Exception as error:  # noqa: BLE001  (interpreter boundary: unrelated types; a bad text fails only its task)
        raise WorkError("FAILED", f"{type(error).__name__}: {error}"[:2000]) from None
    document = json.loads(json.dumps(result.dict(), default=_plain))
    rows = document.get("measurements")
    if not rows:
        document.pop("measurements", None)
        document.pop("measuredQubits", None)
        return {"document": document}
    measured = [int(qubit) for qubit in document["measuredQubits"]]
    # by column and not by qubit, because a program may measure a qubit twice
    histogram = Counter(sum(int(bit) << column for column, bit in enumerate(row)) for row in rows)
    # result types are computed from the rows, and stay without noise as those do
    if rates is not None and not document.get("resultTypes"):
        lost = _lost(executable["source"], rates)
        histogram = Counter(disturbed(histogram, len(measured), lost=lost, readout=rates.readout, seed=seed))
    outcome = {
        "measured": measured,
        "columns": list(range(len(measured))),
        "histogram": {str(key): histogram[key] for key in sorted(histogram)},
    }
    if not document.get("resultTypes"):
        return outcome
    from braket.task_result import GateModelTaskResult
    from braket.tasks import GateModelQuantumTaskResult

    if not isinstance(result, GateModelTaskResult):
        raise WorkError("FAILED", "not a gate model result")
    # the simulator leaves the values of sampled result types to the client; the service does not
    values = GateModelQuantumTaskResult.from_object(result).result_types
    return outcome | {"result_types": json.loads(json.dumps([value.dict() for value in values], default=_plain))}


def _lost(source: str, rates: Rates) -> float:
    """Share of shots in which some gate of a text loses all information; those of every branch count."""
    kept = 1.0
    for name in _WORD.findall(re.sub(r"//[^\n]*", "", source)):
        if name in GATES or name == "cc_prx":
            kept *= 1 - (rates.more_qubits if name in GATES and GATES[name][0] > 1 else rates.one_qubit)
    return 1 - kept


def _plain(value: Any) -> Any:
    """JSON for what Braket's simulator leaves in its results: numpy, complex, enums."""
    if isinstance(value, complex):
        return [value.real, value.imag]
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "dict"):
        return value.dict()
    if hasattr(value, "value"):
        return value.value
    return str(value)
