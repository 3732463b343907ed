"""Reading a stored program text back: everything is checked, because a ledger or a file may hold anything."""

from __future__ import annotations

import json
import math
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs.gates import DELAY_UNITS, MAX_UNITARY_QUBITS, OPAQUE, STANDARD
from qflows.programs.program import SCHEMA, Program, seal

MAX_TEXT_BYTES = 64 * 1024 * 1024
MAX_BITS = 65_536
KEYS = ["schema", "qubits", "clbits", "registers", "phase", "ops"]


def read_text(text: str, name: str) -> Program:
    """Program of a canonical text; the digest is computed anew. Raises ProgramRejected, saying what is wrong where."""
    if len(text) > MAX_TEXT_BYTES:
        raise ProgramRejected(f"program text has {len(text)} characters, more than {MAX_TEXT_BYTES}; split the circuit")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProgramRejected(f"program text is not JSON ({error}); expected schema {SCHEMA}") from error
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        found = body.get("schema") if isinstance(body, dict) else type(body).__name__
        raise ProgramRejected(f"program text has schema {found!r:.80}, expected {SCHEMA!r}; convert it with to_program")
    _require(list(body) == KEYS, f"the keys must be {KEYS}")
    n_qubits, n_clbits = body["qubits"], body["clbits"]
    _require(_is_count(n_qubits) and _is_count(n_clbits), f"qubits and clbits must be integers from 0 to {MAX_BITS}")
    _require(type(body["phase"]) is float and math.isfinite(body["phase"]), "phase must be a finite JSON float")
    _check_registers(body["registers"], n_clbits)
    _require(isinstance(body["ops"], list), "ops must be a list")
    for place, op in enumerate(body["ops"]):
        _check_op(op, n_qubits, n_clbits, f"step {place}")
    program = seal(
        n_qubits=n_qubits,
        n_clbits=n_clbits,
        registers=[(label, bits) for label, bits in body["registers"]],
        phase=body["phase"],
        ops=body["ops"],
        name=name,
    )
    # one content, one text: spaces, 1e0 for 1.0, -0.0 or a doubled key would give a second digest to the same program
    _require(program.text == text, "it is not in canonical form")
    return program


def _require(fact: object, what: str) -> None:
    if not fact:
        raise ProgramRejected(f"program text refused: {what}; make program texts with to_program(...).text only")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_BITS


def _is_parameter(value: Any) -> bool:
    # -0.0 reads and prints back unchanged, so it would be a second text for the same angle
    return type(value) is float and math.isfinite(value) and (value != 0 or math.copysign(1, value) > 0)


def _are_bits(value: Any, size: int) -> bool:
    return (
        isinstance(value, list)
        and all(type(bit) is int and 0 <= bit < size for bit in value)
        and len(set(value)) == len(value)
    )


def _check_registers(registers: Any, n_clbits: int) -> None:
    seen: set[int] = set()
    names: set[str] = set()
    _require(isinstance(registers, list), "registers must be a list")
    for entry in registers:
        fits = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and bool(entry[0])
        _require(fits and _are_bits(entry[1], n_clbits), "a register must be [name, [clbit, ...]] within clbits")
        _require(entry[0] not in names and seen.isdisjoint(entry[1]), "registers must differ in name and share no bit")
        names.add(entry[0])
        seen.update(entry[1])


def _check_op(op: Any, n_qubits: int, n_clbits: int, where: str) -> None:
    """Raise unless `op` is a step of the schema."""
    _require(isinstance(op, list) and len(op) in (4, 5) and isinstance(op[0], str), f"{where} is not a step")
    name, params, qubits, clbits = op[:4]
    _require(_are_bits(qubits, n_qubits) and _are_bits(clbits, n_clbits), f"{where} ({name:.40}) names wrong bits")
    numeric = isinstance(params, list) and all(map(_is_parameter, params))
    _require(numeric, f"{where} ({name:.40}) needs a list of finite floats without -0.0")
    _require((len(op) == 5) == (name == "delay"), f"{where} ({name:.40}) has a wrong number of items")
    shape = (len(qubits), len(params), len(clbits))
    if name in STANDARD:
        fits = shape == (*STANDARD[name], 0)
    elif name == "measure":
        fits = shape == (1, 0, 1)
    elif name == "reset":
        fits = shape == (1, 0, 0)
    elif name == "delay":
        fits = shape == (1, 1, 0) and isinstance(op[4], str) and op[4] in DELAY_UNITS
    elif name == "unitary":
        fits = 1 <= len(qubits) <= MAX_UNITARY_QUBITS and shape[1:] == (2 * 4 ** len(qubits), 0)
    else:
        fits = name.startswith(OPAQUE) and len(name) > len(OPAQUE) and bool(qubits) and not clbits
    _require(fits, f"{where} ({name:.40}) is not a known gate of this shape")
