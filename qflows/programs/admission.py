"""What a device cannot run is refused here, before any money: the reason and the remedy in one sentence."""

from __future__ import annotations

from qflows.errors import ProgramRejected
from qflows.programs.gates import OPAQUE
from qflows.programs.program import NOT_GATES, Program


def check_program(
    program: Program,
    *,
    max_qubits: int | None,
    gates: frozenset[str] | None,
    max_bytes: int | None,
    allow_mid_circuit: bool,
    device: str,
    require_measurement: bool = True,
) -> None:
    """Return if `device` can take `program`, else raise ProgramRejected with the reason and the remedy.

    `gates` are the names the device takes (vendor-native gates by their bare name), None if everything with a known
    matrix is compiled there. `max_bytes` bounds the canonical text. None means no limit.
    Observable jobs pass `require_measurement=False`: their measurements are added per basis.
    """
    label = f"program {program.name!r} ({program.digest[:12]}) cannot run on {device!r}: "
    if max_bytes is not None and len(program.text) > max_bytes:
        raise ProgramRejected(
            f"{label}its text has {len(program.text)} bytes, the limit is {max_bytes}; split the circuit, or simplify "
            "it with qiskit.transpile(circuit, optimization_level=2)"
        )
    if max_qubits is not None and program.n_qubits > max_qubits:
        raise ProgramRejected(
            f"{label}it has {program.n_qubits} qubits, the device {max_qubits}; "
            "remove idle qubits or choose a wider device"
        )
    if require_measurement and not program.measured:
        raise ProgramRejected(f"{label}it measures nothing; call circuit.measure_all() or add measure(qubit, clbit)")
    if program.has_mid_circuit and not allow_mid_circuit:
        raise ProgramRejected(
            f"{label}it resets a qubit, uses one after its measurement, or writes a clbit twice; "
            "measure each qubit once, at the end, or choose a device with mid-circuit measurement"
        )
    _check_gates(program, gates, label)


def _check_gates(program: Program, gates: frozenset[str] | None, label: str) -> None:
    used = {step.name for step in program.instructions} - NOT_GATES
    opaque = {name for name in used if name.startswith(OPAQUE)}
    allowed = gates or frozenset()
    unknown = sorted(name.removeprefix(OPAQUE) for name in opaque if name.removeprefix(OPAQUE) not in allowed)
    if unknown:
        raise ProgramRejected(
            f"{label}gate {', '.join(unknown)} is known by name only and is not native there; "
            "write it with standard gates (circuit.decompose()) or choose the device it is native to"
        )
    if gates is None:
        return
    foreign = sorted(used - opaque - gates)
    if foreign:
        raise ProgramRejected(
            f"{label}it uses {', '.join(foreign)}; compile it first: "
            f"qiskit.transpile(circuit, basis_gates={sorted(gates)}, optimization_level=1)"
        )
    if "delay" not in gates and any(step.name == "delay" for step in program.instructions):
        raise ProgramRejected(f"{label}it contains delays, which the device does not keep; remove them")
