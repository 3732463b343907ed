"""Circuits of Cirq and pytket, through the OpenQASM 2 that these libraries write themselves.

Imports none of these libraries: an object can only be here if its library is already loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs.from_qasm import read_qasm
from qflows.programs.from_qiskit import read_circuit
from qflows.programs.program import Program

_DIGITS = 17  # so that every float reads back as itself
LIBRARIES = ("cirq", "pytket")


def library_of(obj: Any) -> str | None:
    """ "cirq" or "pytket" for their circuits, by the module of the type; None for anything else."""
    for base in type(obj).__mro__:
        name = base.__module__.partition(".")[0]
        if name in LIBRARIES and any(hasattr(obj, method) for method in ("to_qasm", "get_commands")):
            return name
    return None


def read_exported(obj: Any, values: Any, name: str | None) -> Program:
    """Program of a Cirq or pytket circuit; `values`: a mapping of its symbols to numbers, in the library's own units.

    Cirq: qubits in its sorted order; a measurement's first qubit is bit 0 of a register named after its key
    (Cirq itself reads it as the most significant). pytket: registers as they are; angles, hence values, in half turns.
    Raises ProgramRejected with the library's reason.
    """
    library = library_of(obj)
    try:
        text = _of_cirq(obj, values) if library == "cirq" else _of_pytket(obj, values)
    except ProgramRejected:
        raise
    except Exception as error:
        raise ProgramRejected(f"{library} cannot write this circuit as OpenQASM 2: {str(error)[:300]}") from error
    circuit, _ = read_qasm(text)
    return read_circuit(circuit, None, name or f"{library}-circuit")


def _of_cirq(obj: Any, values: Any) -> str:
    cirq = import_module("cirq")
    if values is not None:
        obj = cirq.resolve_parameters(obj, _mapping(values, "cirq"))
    if cirq.is_parameterized(obj):
        _refuse_symbols("cirq", cirq.parameter_names(obj))
    return obj.to_qasm(precision=_DIGITS)


def _of_pytket(obj: Any, values: Any) -> str:
    if values is not None:
        symbols = {str(symbol): symbol for symbol in obj.free_symbols()}
        given = {str(key): float(value) for key, value in _mapping(values, "pytket").items()}
        if unknown := sorted(set(given) - set(symbols)):
            raise ProgramRejected(
                f"pytket circuit: there is no symbol {unknown[0]!r}; its symbols are {sorted(symbols)}"
            )
        obj = obj.copy()
        obj.symbol_substitution({symbols[key]: value for key, value in given.items()})
    if obj.is_symbolic():
        _refuse_symbols("pytket", {str(symbol) for symbol in obj.free_symbols()})
    return import_module("pytket.qasm").circuit_to_qasm_str(obj)


def _mapping(values: Any, library: str) -> Mapping[Any, Any]:
    if not isinstance(values, Mapping):
        raise ProgramRejected(f"values of a {library} circuit must be a mapping of its symbols to numbers")
    return values


def _refuse_symbols(library: str, names: Any) -> None:
    shown = ", ".join(sorted(map(str, names))[:12])
    raise ProgramRejected(f"{library} circuit has symbols without values: {shown}; pass (circuit, {{symbol: number}})")
