"""OpenQASM 3 text in the gate names a vendor understands.

Qiskit's own `qasm3.dumps` is not used: Braket knows no `stdgates.inc`, its gate names differ, and inlined gate
definitions gave silently wrong counts on Braket's simulator (4 of 60 random circuits, default-simulator 1.41.2).
Here every gate is one of the dialect's built-in gates; everything else is compiled to those first, at level 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs import Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


@dataclass(frozen=True)
class Dialect:
    """Gate names: qiskit's → the vendor's. `header` follows the version line; `identity` gates are left out."""

    name: str
    header: str
    gates: Mapping[str, str]


_compiling = Lock()  # passes keep state while they run
_SAME = ("h", "x", "y", "z", "s", "t", "rx", "ry", "rz", "cy", "cz", "swap")

# docs.aws.amazon.com/braket, "Supported gates"; names as in amazon-braket-default-simulator 1.41.2
BRAKET = Dialect(
    "braket",
    "",
    {name: name for name in _SAME}
    | {"sdg": "si", "tdg": "ti", "sx": "v", "sxdg": "vi", "id": "i", "p": "phaseshift", "cp": "cphaseshift"}
    | {"cx": "cnot", "ccx": "ccnot", "cswap": "cswap", "iswap": "iswap", "ecr": "ecr", "r": "prx", "csx": "cv"}
    | {"rxx": "xx", "ryy": "yy", "rzz": "zz"},
)

# stdgates.inc of the OpenQASM 3 specification; rxx and friends are not in it
STDGATES = Dialect(
    "stdgates",
    'include "stdgates.inc";\n',
    {name: name for name in (*_SAME, "sdg", "tdg", "sx", "id", "p", "cx", "cp", "crx", "cry", "crz", "ch")}
    | {"ccx": "ccx", "cswap": "cswap", "u3": "u3"},
)


def to_openqasm(program: Program, dialect: Dialect, *, mid_circuit: bool = False) -> str:
    """OpenQASM 3 source of `program`.

    Without `mid_circuit` the measurements come last, in ascending clbit order, into `bit[k] b`: outcome k belongs to
    `program.measured[k]`. With it they stay in place and write `bit[n_clbits] b`. Raises ProgramRejected for what
    the dialect cannot say.
    """
    if program.has_mid_circuit and not mid_circuit:
        raise ProgramRejected(f"{program.name}: {dialect.name} OpenQASM takes measurements at the end only")
    compiled = _compiled(program, dialect)
    width = program.n_clbits if mid_circuit else len(program.measured)
    lines = [f"OPENQASM 3.0;\n{dialect.header}bit[{max(width, 1)}] b;\nqubit[{max(program.n_qubits, 1)}] q;"]
    index = {bit: i for i, bit in enumerate(compiled.qubits)}
    clbit = {bit: i for i, bit in enumerate(compiled.clbits)}
    for step in compiled.data:
        name, on = step.operation.name, [index[q] for q in step.qubits]
        if name == "measure":
            if mid_circuit:
                lines.append(f"b[{clbit[step.clbits[0]]}] = measure q[{on[0]}];")
        elif name == "reset":
            lines.append(f"reset q[{on[0]}];")
        elif name not in ("barrier", "delay"):  # neither changes an ideal outcome, and Braket takes no delay
            lines.append(_gate(dialect, name, step.operation.params, on))
    if not mid_circuit:
        lines += [f"b[{k}] = measure q[{qubit}];" for k, (qubit, _) in enumerate(program.measured)]
    return "\n".join(lines) + "\n"


def _gate(dialect: Dialect, name: str, params: list[Any], on: list[int]) -> str:
    if name not in dialect.gates:
        raise ProgramRejected(f"gate {name} has no form in {dialect.name} OpenQASM; write it with standard gates")
    angles = f"({', '.join(repr(float(p)) for p in params)})" if params else ""
    return f"{dialect.gates[name]}{angles} {', '.join(f'q[{i}]' for i in on)};"


def _compiled(program: Program, dialect: Dialect) -> QuantumCircuit:
    used = {step.name for step in program.instructions} - {"measure", "reset", "delay"}
    circuit = program.circuit()
    if used <= dialect.gates.keys():
        return circuit
    opaque = sorted(name for name in used if name.startswith("opaque:"))
    if opaque:
        raise ProgramRejected(f"{program.name}: {opaque[0][7:]} is native to one vendor and has no OpenQASM form")
    with _compiling:
        return _compiler(tuple(dialect.gates)).run(circuit)


@lru_cache(maxsize=8)
def _compiler(gates: tuple[str, ...]) -> Any:
    """Pass manager into a dialect's gates; building one costs as much as compiling ten small circuits."""
    from qiskit.transpiler import generate_preset_pass_manager

    return generate_preset_pass_manager(optimization_level=0, basis_gates=[*gates, "measure", "reset", "delay"])
