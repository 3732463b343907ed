"""A reader for the flat OpenQASM 3 that Braket's clients write: declarations, built-in gates, measurements.

Anything beyond that (modifiers, gate definitions, loops, pragmas other than verbatim) is left to Braket's own
interpreter; `read` then returns None. Verified against that interpreter by a test.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.sandbox.braket.gates import GATES

_END = re.compile(r"[;{}#]")
_DECLARED = re.compile(r"^(bit|qubit)(?:\[(\d+)\])? (\w+)$")
_INPUT = re.compile(r"^input (?:float|angle)(?:\[\d+\])? (\w+)$")
_GATE = re.compile(r"^([A-Za-z_]\w*) ?(?:\((.*)\))? (.+)$", re.DOTALL)
_MEASURE = re.compile(r"^(?:(\w+)(?:\[(\d+)\])? ?= ?)?measure (.+)$")
_QUBIT = re.compile(r"^(?:\$(\d+)|(\w+)(?:\[(\d+)\])?)$")
_CONSTANTS = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e, "ℇ": math.e}
_BINARY: dict[type[ast.AST], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip
_FUNCTIONS = {name: getattr(math, name) for name in ("sin", "cos", "tan", "sqrt", "exp")}


class _NotFlat(Exception):
    """The text contains more than this reader knows."""


@dataclass
class Flat:
    """Gates as [name, angles, qubits] in order. `slots`: the qubit of each classical bit, by (register, element)."""

    gates: list[list[Any]] = field(default_factory=list)
    slots: dict[tuple[int, int], int] = field(default_factory=dict)
    n_qubits: int = 0
    qubit_arrays: int = 0
    bit_arrays: int = 0
    names: set[str] = field(default_factory=set)
    has_barrier: bool = False
    has_delay: bool = False
    has_physical: bool = False
    verbatim: list[int] = field(default_factory=list)  # positions in `gates` inside a verbatim box

    @property
    def measured(self) -> list[int]:
        """Measured qubits in the order of their classical bits, which is that of a result's columns.

        The interpreter of amazon-braket-default-simulator 1.41.2 and IQM's devices (qBraid issue 1304) go by the bit
        that a statement writes and not by the place of the statement.
        """
        return [self.slots[slot] for slot in sorted(self.slots)]

    @property
    def readout(self) -> list[int]:
        """Qubits of the result's columns; without a measure statement all used qubits, ascending."""
        return self.measured or sorted({qubit for _, _, qubits in self.gates for qubit in qubits})


def read(source: str, inputs: Mapping[str, Any]) -> Flat | None:
    """The program, or None if it needs the full interpreter."""
    try:
        return _Reader(inputs).read(source)
    except _NotFlat:
        return None


class _Reader:
    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs
        self.flat = Flat()
        self.registers: dict[str, tuple[int, int]] = {}
        self.bits: dict[str, tuple[int, int]] = {}  # name -> (place among the bit registers, size)
        self.box = ""  # "": outside, "pragma": announced, "open": inside

    def read(self, source: str) -> Flat:
        for statement in _statements(re.sub(r"//[^\n]*", "", source)):
            self._statement(" ".join(statement.split()))
        if self.box:
            raise _NotFlat
        return self.flat

    def _statement(self, text: str) -> None:
        if text.startswith("#pragma"):
            if text != "#pragma braket verbatim" or self.box:
                raise _NotFlat
            self.box = "pragma"
        elif text.endswith("{"):
            if text.removesuffix("{").strip() != "box" or self.box != "pragma":
                raise _NotFlat
            self.box = "open"
        elif text == "}":
            if self.box != "open":
                raise _NotFlat
            self.box = ""
        elif not text.endswith(";"):
            raise _NotFlat
        else:
            self._simple(text[:-1].strip())

    def _simple(self, text: str) -> None:
        if re.fullmatch(r"OPENQASM 3(\.\d+)?", text):
            return
        if declared := _DECLARED.match(text):
            kind, size, name = declared.groups()
            if kind == "qubit":
                self.registers[name] = (self.flat.n_qubits, int(size or 1))
                self.flat.n_qubits += int(size or 1)
                self.flat.qubit_arrays += 1
            else:
                self.bits[name] = (self.flat.bit_arrays, int(size or 1))
                self.flat.bit_arrays += 1
        elif given := _INPUT.match(text):
            if not isinstance(self.inputs.get(given[1]), int | float):
                raise _NotFlat
        elif measure := _MEASURE.match(text):
            self._measure(*measure.groups())
        elif text.startswith("barrier"):
            self.flat.has_barrier = True
        elif re.match(r"delay ?\[", text):
            self.flat.has_delay = True
        else:
            self._gate(text)

    def _measure(self, name: str | None, index: str | None, targets: str) -> None:
        qubits = self._qubits(targets)
        if set(qubits) & set(self.flat.slots.values()):
            raise _NotFlat
        register, elements = self._bits(name, index, len(qubits))
        slots = [(register, element) for element in elements]
        # the interpreter reports one register and says so itself
        if any(slot in self.flat.slots or other[0] != register for slot in slots for other in self.flat.slots):
            raise _NotFlat
        self.flat.slots |= dict(zip(slots, qubits, strict=True))

    def _bits(self, name: str | None, index: str | None, width: int) -> tuple[int, range]:
        """Where a measurement goes; without a destination, to a separate register."""
        if name is None:
            return -1, range(len(self.flat.slots), len(self.flat.slots) + width)
        if name not in self.bits:
            raise _NotFlat
        register, size = self.bits[name]
        elements = range(size) if index is None else range(int(index), int(index) + 1)
        if len(elements) != width or elements.stop > size:
            raise _NotFlat
        return register, elements

    def _gate(self, text: str) -> None:
        match = _GATE.match(text)
        if not match or match[1] not in GATES:
            raise _NotFlat
        name, angles, targets = match.groups()
        values = [self._value(part) for part in _split(angles)] if angles else []
        qubits = self._qubits(targets)
        wanted, n_angles, _ = GATES[name]
        fits = len(values) == n_angles or (name == "ms" and len(values) == 2)
        if (
            len(qubits) != wanted
            or not fits
            or len(set(qubits)) != wanted
            or set(qubits) & set(self.flat.slots.values())
        ):
            raise _NotFlat
        self.flat.names.add(name)
        if self.box:
            self.flat.verbatim.append(len(self.flat.gates))
        self.flat.gates.append([name, values, qubits])

    def _qubits(self, text: str) -> list[int]:
        found: list[int] = []
        for part in text.split(","):
            match = _QUBIT.match(part.strip())
            if not match:
                raise _NotFlat
            physical, name, index = match.groups()
            if physical is not None:
                self.flat.has_physical = True
                found.append(int(physical))
                continue
            start, size = self.registers.get(name, (0, 0))
            if not size or int(index or 0) >= size:
                raise _NotFlat
            found += [start + int(index)] if index is not None else list(range(start, start + size))
        return found

    def _value(self, text: str) -> float:
        try:
            return float(self._number(ast.parse(text.strip(), mode="eval").body))
        except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, TypeError, RecursionError):
            raise _NotFlat from None

    def _number(self, node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._number(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return _BINARY[type(node.op)](self._number(node.left), self._number(node.right))
        if isinstance(node, ast.Name):
            value = _CONSTANTS.get(node.id, self.inputs.get(node.id))
            if isinstance(value, int | float):
                return value
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            return _FUNCTIONS[node.func.id](self._number(node.args[0])) if node.func.id in _FUNCTIONS else _no()
        return _no()


def _statements(text: str) -> Iterator[str]:
    """Pieces that end in ; { or }, and pragma lines. One pass, because external text may have any size and shape."""
    position = 0
    while match := _END.search(text, position):
        if match[0] == "#":
            end = text.find("\n", match.start())
            end = len(text) if end < 0 else end
            if text[position : match.start()].strip():
                raise _NotFlat
            yield text[match.start() : end]
            position = end
        else:
            yield text[position : match.end()]
            position = match.end()
    if text[position:].strip():
        raise _NotFlat


def _no() -> float:
    raise _NotFlat


def _split(text: str) -> list[str]:
    """Comma-separated arguments, commas inside parentheses kept."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
