"""Reading a stored program text back: everything is checked, because a ledger or a file may hold anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs.gates import DELAY_UNITS, MAX_UNITARY_QUBITS, NATIVE, OPAQUE, STANDARD
from qflows.programs.program import SCHEMA, SCHEMA_2, Program, seal

MAX_TEXT_BYTES = 64 * 1024 * 1024
MAX_BITS = 65_536
MAX_BRANCH_DEPTH = 16
KEYS = ["schema", "qubits", "clbits", "registers", "phase", "ops"]
OPTIONAL = ["labels", "verbatim"]  # schema 2, in this order, before ops


def read_text(text: str, name: str, metadata: Mapping[str, Any]) -> Program:
    """Program of a canonical text; the digest is recomputed. Raises ProgramRejected, saying what is wrong and where."""
    if len(text) > MAX_TEXT_BYTES:
        raise ProgramRejected(f"program text has {len(text)} characters, more than {MAX_TEXT_BYTES}; split the circuit")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProgramRejected(f"program text is not JSON ({error}); expected schema {SCHEMA}") from error
    if not isinstance(body, dict) or body.get("schema") not in (SCHEMA, SCHEMA_2):
        found = body.get("schema") if isinstance(body, dict) else type(body).__name__
        raise ProgramRejected(
            f"program text has schema {found!r:.80}, expected {SCHEMA!r} or {SCHEMA_2!r}; convert it with to_program"
        )
    optional = [key for key in OPTIONAL if key in body and body["schema"] == SCHEMA_2]
    keys = [*KEYS[:-1], *optional, KEYS[-1]]
    _require(list(body) == keys, f"the keys must be {keys}")
    n_qubits, n_clbits = body["qubits"], body["clbits"]
    _require(_is_count(n_qubits) and _is_count(n_clbits), f"qubits and clbits must be integers from 0 to {MAX_BITS}")
    _require(type(body["phase"]) is float and math.isfinite(body["phase"]), "phase must be a finite JSON float")
    _check_registers(body["registers"], n_clbits)
    labels: Any = body.get("labels")
    if "labels" in body:
        _require(_are_bits(labels, MAX_BITS) and labels == sorted(labels), "labels must be ascending qubit numbers")
        _require(len(labels) == n_qubits, "there must be one label for each qubit")
    _require(body.get("verbatim", True) is True, "verbatim must be true where it is given")
    _check_ops(body["ops"], n_qubits, n_clbits, "", 0)
    program = seal(
        n_qubits=n_qubits,
        n_clbits=n_clbits,
        registers=[(label, bits) for label, bits in body["registers"]],
        phase=body["phase"],
        ops=body["ops"],
        name=name,
        labels=labels,
        is_verbatim="verbatim" in body,
        metadata=metadata,
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


def _check_ops(ops: Any, n_qubits: int, n_clbits: int, where: str, depth: int) -> None:
    _require(isinstance(ops, list), "ops must be a list")
    _require(depth <= MAX_BRANCH_DEPTH, f"branches are nested more than {MAX_BRANCH_DEPTH} deep")
    for place, op in enumerate(ops):
        _check_op(op, n_qubits, n_clbits, f"step {where}{place}", depth)


def _check_op(op: Any, n_qubits: int, n_clbits: int, where: str, depth: int) -> None:
    """Raise unless `op` is a step of the schema."""
    _require(isinstance(op, list) and len(op) in (4, 5, 7) and isinstance(op[0], str), f"{where} is not a step")
    name, params, qubits, clbits = op[:4]
    _require(
        _are_bits(qubits, n_qubits) and _are_bits(clbits, n_clbits),
        f"{where} ({name:.40}) names bits that do not exist",
    )
    numeric = isinstance(params, list) and all(map(_is_parameter, params))
    _require(numeric, f"{where} ({name:.40}) needs a list of finite floats without -0.0")
    items = {"delay": 5, "if_else": 7}.get(name, 4)
    _require(len(op) == items, f"{where} ({name:.40}) has the wrong number of items")
    shape = (len(qubits), len(params), len(clbits))
    if name in STANDARD:
        fits = shape == (*STANDARD[name], 0)
    elif name in NATIVE:
        fits = shape == (*NATIVE[name], 0)
    elif name == "measure":
        fits = shape == (1, 0, 1)
    elif name == "reset":
        fits = shape == (1, 0, 0)
    elif name == "barrier":
        fits = bool(qubits) and shape[1:] == (0, 0) and qubits == sorted(qubits)
    elif name == "delay":
        fits = shape == (1, 1, 0) and isinstance(op[4], str) and op[4] in DELAY_UNITS
    elif name == "unitary":
        fits = 1 <= len(qubits) <= MAX_UNITARY_QUBITS and shape[1:] == (2 * 4 ** len(qubits), 0)
    elif name == "if_else":
        _check_branches(op, n_qubits, n_clbits, where, depth)
        fits = not params
    else:
        fits = name.startswith(OPAQUE) and len(name) > len(OPAQUE) and bool(qubits) and not clbits
    _require(fits, f"{where} ({name:.40}) is not a known gate of this shape")


def _check_branches(op: list[Any], n_qubits: int, n_clbits: int, where: str, depth: int) -> None:
    condition, then, otherwise = op[4:]
    is_pair = isinstance(condition, list) and len(condition) == 2 and _are_bits(condition[0], n_clbits)
    _require(is_pair and bool(condition[0]), f"{where} needs a condition [[clbit, ...], value]")
    bits, value = condition
    is_ascending = bits == sorted(bits)
    _require(is_ascending and type(value) is int and 0 <= value < 1 << len(bits), f"{where} has no such condition")
    for steps in (then, otherwise):
        _check_ops(steps, n_qubits, n_clbits, f"{where[5:]}.", depth + 1)
    _require(then or otherwise, f"{where} does nothing")
    inner = [*then, *otherwise]
    _require(op[2] == sorted({bit for step in inner for bit in step[2]}), f"{where} must name the qubits of its steps")
    touched = {bit for step in inner for bit in step[3]} | set(bits)
    _require(op[3] == sorted(touched), f"{where} must name the clbits of its condition and its steps")
