"""IBM's validation of a job's circuits after acceptance: gates and qubit pairs that the device has.

Codes are those seen on real jobs; each failure costs 2 seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ibm import catalog

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

NOT_IN_BRANCHES = frozenset({"measure", "measure_2", "reset", "reset_2", "measure_reset", "measure_reset_2"})
ALWAYS = frozenset({"measure", "barrier", "delay"})


def check(circuit: QuantumCircuit, backend: str) -> None:
    """Raise WorkError for what the device does not have."""
    device = catalog.configuration(backend)
    if circuit.num_qubits > device["n_qubits"]:
        raise WorkError(catalog.NOT_ISA, f"{circuit.num_qubits} qubits; the device has {device['n_qubits']}")
    known = {*device["basis_gates"], *device["supported_instructions"], *ALWAYS}
    pairs = {tuple(pair) for pair in device["coupling_map"]}
    _walk(circuit, tuple(range(circuit.num_qubits)), known, pairs)
    for step in circuit.data:
        for block in getattr(step.operation, "blocks", ()):
            _check_branch(block)


def _check_branch(block: QuantumCircuit) -> None:
    """Raise WorkError for what IBM's service does not run in a branch, whatever the device's own list says.

    Guide "Execute dynamic circuits", Qiskit Runtime limitations (IBM's documentation repository, 2026-04): "Nested
    conditionals are not allowed", "Having reset or measurements inside conditionals is not supported". It gives no
    code; that of other instructions that a device does not support is chosen.
    """
    for step in block.data:
        if step.operation.name in NOT_IN_BRANCHES or getattr(step.operation, "blocks", ()):
            said = f"The instruction {step.operation.name} inside of a conditional is not supported"
            raise WorkError(catalog.NOT_ISA, said)


def check_twirling(circuit: QuantumCircuit, params: dict[str, Any]) -> None:
    """Raise WorkError for fractional gates whose layers are to be twirled: by option, by PEC, or by resilience 2."""
    options = _member(params, "options")
    resilience, twirled = _member(options, "resilience"), _member(options, "twirling").get("enable_gates")
    by_level = params.get("resilience_level") == 2 and twirled is not False
    if (twirled or by_level or resilience.get("pec_mitigation")) and _names(circuit) & {*catalog.FRACTIONAL}:
        said = "Fractional gates cannot be used with gate twirling, PEC or PEA"
        raise WorkError(catalog.FRACTIONAL_AND_TWIRLED, said)


def check_angles(circuit: QuantumCircuit) -> None:
    """Raise WorkError for an rzz whose bound angle is outside 0 to pi/2; its real code is not known."""
    for step in circuit.data:
        if step.operation.name == "rzz" and not -1e-9 <= float(step.operation.params[0]) <= math.pi / 2 + 1e-9:
            raise WorkError(catalog.JOB_ERROR, f"rzz takes angles from 0 to pi/2, not {step.operation.params[0]}")


def check_observables(observables: Any, n_qubits: int) -> None:
    """Raise WorkError for a label of the wrong width, or with letters that are neither a Pauli nor a projector."""
    for terms in observables.ravel():
        for label in terms:
            if len(label) != n_qubits:
                said = f"The observable {label[:40]} has {len(label)} qubits, the circuit {n_qubits}"
                raise WorkError(catalog.BAD_OBSERVABLES, said)
            if wrong := set(label) - set("IXYZ01+-rl"):
                raise WorkError(catalog.BAD_OBSERVABLES, f"An observable has the letters {sorted(wrong)}")


def _member(body: dict[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _names(circuit: QuantumCircuit) -> set[str]:
    found = {step.operation.name for step in circuit.data}
    for step in circuit.data:
        for block in getattr(step.operation, "blocks", ()):
            found |= _names(block)
    return found


def _walk(circuit: QuantumCircuit, places: tuple[int, ...], known: set[str], pairs: set[tuple[int, ...]]) -> None:
    index = {qubit: places[i] for i, qubit in enumerate(circuit.qubits)}
    for step in circuit.data:
        name, on = step.operation.name, tuple(index[q] for q in step.qubits)
        is_pair = len(on) == 2 and name in ("cx", "cz", "ecr", "rzz")
        if name not in known or (is_pair and on not in pairs and on[::-1] not in pairs):
            raise WorkError(catalog.NOT_ISA, f"The instruction {name} on qubits {on} is not supported by the target")
        for block in getattr(step.operation, "blocks", ()):
            _walk(block, on, known, pairs)
