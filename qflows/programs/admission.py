"""Refuses what a device cannot run before any money is spent, with the reason and the remedy in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qflows.errors import ProgramRejected
from qflows.programs.analysis import DYNAMIC
from qflows.programs.features import Feature
from qflows.programs.gates import NATIVE, OPAQUE
from qflows.programs.program import Program
from qflows.programs.steps import NOT_GATES, walk


def check_program(
    program: Program,
    *,
    max_qubits: int | None,
    gates: frozenset[str] | None,
    max_bytes: int | None,
    allow_mid_circuit: bool,
    device: str,
    require_measurement: bool = True,
    takes: frozenset[Feature] | None = None,
    labels: Collection[int] | None = None,
    terms: Mapping[Feature, str] | None = None,
) -> None:
    """Return if `device` can take `program`; otherwise raise ProgramRejected with the reason and the remedy.

    `gates`: the names the device takes (vendor-native gates by their bare name), None if everything with a known matrix
    is compiled there. `max_bytes` bounds the canonical text. None means no limit. Observable jobs pass
    `require_measurement=False`: their measurements are added per basis. `takes`: which features of a program the device
    takes; None leaves that to the adapter, beyond `allow_mid_circuit`. `labels`: the device's own numbers of its
    qubits, which a program on physical qubits must keep to. `terms`: the vendor's reason for each feature that the
    device does not take.
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
    _check_labels(program, max_qubits, labels, label)
    if takes is not None:
        is_told = not takes.isdisjoint(DYNAMIC)  # the device may have only one of them
        allowed = takes if is_told or not allow_mid_circuit else takes | (DYNAMIC - {Feature.FEED_FORWARD})
        _check_features(program, allowed, label, terms or {})
    elif program.has_mid_circuit and not allow_mid_circuit:
        raise ProgramRejected(
            f"{label}it resets a qubit, uses one after its measurement, or writes a clbit twice; "
            "measure each qubit once, at the end, or choose a device with mid-circuit measurement"
        )
    _check_gates(program, gates, label)


_REMEDIES = {
    Feature.BARRIER: "remove the barriers (the compiler may then merge what they kept apart)",
    Feature.DELAY: "remove the delays",
    Feature.RESET: "use a fresh qubit instead",
    Feature.MID_CIRCUIT: "measure each qubit once, at the end",
    Feature.FEED_FORWARD: "measure at the end and post-select",
    Feature.NATIVE: "write it with standard gates (circuit.decompose())",
    Feature.PHYSICAL: "give the circuit as it was before it was placed on qubits",
    Feature.VERBATIM: "give the circuit without a verbatim box",
}


def _check_features(program: Program, takes: frozenset[Feature], label: str, terms: Mapping[Feature, str]) -> None:
    missing = sorted(program.features - takes)
    if missing:
        why = "".join(f" ({said})" for said in dict.fromkeys(terms[one] for one in missing if one in terms))
        raise ProgramRejected(
            f"{label}the device does not take {', '.join(missing)}{why}; {_REMEDIES[Feature(missing[0])]}, or choose "
            "a device that does"
        )


def _check_labels(program: Program, width: int | None, labels: Collection[int] | None, label: str) -> None:
    if program.labels is None or (width is None and labels is None):
        return
    known = set(labels) if labels is not None else set(range(width or 0))
    if unknown := [one for one in program.labels if one not in known]:
        raise ProgramRejected(
            f"{label}it names qubit {', '.join(map(str, unknown[:8]))}, which the device does not have; its qubits are "
            f"{_span(sorted(known))}"
        )


def _span(numbers: list[int]) -> str:
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[:40])) + (" and more" if len(numbers) > 40 else "")


def _check_gates(program: Program, gates: frozenset[str] | None, label: str) -> None:
    used = {step.name for step in walk(program.instructions)} - NOT_GATES
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
            f"qiskit.transpile(circuit, basis_gates={sorted(gates - NATIVE.keys())}, optimization_level=1)"
        )
    if "delay" not in gates and any(step.name == "delay" for step in walk(program.instructions)):
        raise ProgramRejected(
            f"{label}it contains delays, which the device does not keep; remove them, or choose a device that does"
        )
