"""Conditions on measured bits, as qiskit writes them, and branches in canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Wanted = dict[int, int]  # clbit -> 0 or 1, all of which must hold


class Unreadable(Exception):
    """What is wrong with a condition, as the end of a sentence."""


def read(condition: Any, clbits: Mapping[Any, int]) -> tuple[Wanted, bool]:
    """(bits and the values they must have, whether the condition is the opposite of that). Raises Unreadable."""
    from qiskit.circuit import Clbit

    if isinstance(condition, tuple):
        target, value = condition
        if isinstance(target, Clbit):
            return {_place(target, clbits): int(value)}, False
        return _register(target, int(value), clbits), False
    return _expression(condition, clbits)


def _place(bit: Any, clbits: Mapping[Any, int]) -> int:
    if bit not in clbits:
        raise Unreadable("reads a bit that is not in the circuit")
    return clbits[bit]


def _register(register: Any, value: int, clbits: Mapping[Any, int]) -> Wanted:
    if not 0 <= value < 1 << len(register):
        raise Unreadable(f"compares {len(register)} bits with {value}, which they cannot hold")
    return {_place(bit, clbits): value >> place & 1 for place, bit in enumerate(register)}


def _expression(node: Any, clbits: Mapping[Any, int]) -> tuple[Wanted, bool]:
    from qiskit.circuit.classical import expr, types

    if isinstance(node, expr.Var | expr.Index):
        return {_place(_bit(node), clbits): 1}, False
    if isinstance(node, expr.Cast):
        if isinstance(node.operand, expr.Var) and isinstance(node.operand.type, types.Uint):
            return _register(node.operand.var, 0, clbits), True
        return _expression(node.operand, clbits)
    if isinstance(node, expr.Unary) and isinstance(node.operand.type, types.Bool):
        wanted, is_negated = _expression(node.operand, clbits)
        if len(wanted) == 1:
            return {bit: 1 - value for bit, value in wanted.items()}, is_negated
        return wanted, not is_negated
    if isinstance(node, expr.Binary):
        if node.op in (expr.Binary.Op.EQUAL, expr.Binary.Op.NOT_EQUAL):
            wanted, is_negated = _comparison(node, clbits)
            return wanted, is_negated != (node.op is expr.Binary.Op.NOT_EQUAL)
        if node.op in (expr.Binary.Op.LOGIC_AND, expr.Binary.Op.BIT_AND) and isinstance(node.type, types.Bool):
            sides = [_positive(_expression(side, clbits)) for side in (node.left, node.right)]
            return joined(*sides), False
    raise Unreadable("is not a comparison of measured bits with known values")


def _positive(read_condition: tuple[Wanted, bool]) -> Wanted:
    wanted, is_negated = read_condition
    if not is_negated:
        return wanted
    if len(wanted) == 1:
        return {bit: 1 - value for bit, value in wanted.items()}
    raise Unreadable("joins comparisons one of which is negated")


def joined(one: Wanted, other: Wanted) -> Wanted:
    """Both conditions at once. Raises Unreadable if that can never hold."""
    if any(other.get(bit, value) != value for bit, value in one.items()):
        raise Unreadable("asks one bit for both values")
    return one | other


def _comparison(node: Any, clbits: Mapping[Any, int]) -> tuple[Wanted, bool]:
    from qiskit.circuit.classical import expr, types

    left, right = (side.operand if isinstance(side, expr.Cast) else side for side in (node.left, node.right))
    if isinstance(left, expr.Value):
        left, right = right, left
    if not isinstance(right, expr.Value):
        raise Unreadable("compares measured bits with each other")
    if isinstance(left.type, types.Bool):
        wanted, is_negated = _expression(left, clbits)
        return wanted, is_negated != (not right.value)
    if not isinstance(left, expr.Var):
        raise Unreadable("computes with measured bits")
    return _register(left.var, int(right.value), clbits), False


def _bit(node: Any) -> Any:
    """The bit that a variable or an element of a register refers to."""
    from qiskit.circuit import Clbit
    from qiskit.circuit.classical import expr

    if isinstance(node, expr.Var) and isinstance(node.var, Clbit):
        return node.var
    is_element = isinstance(node, expr.Index) and isinstance(node.target, expr.Var)
    if is_element and isinstance(node.index, expr.Value):
        return node.target.var[int(node.index.value)]
    raise Unreadable("reads something other than measured bits")


def branch(wanted: Wanted, then: list[Any], otherwise: list[Any]) -> list[Any]:
    """The steps of a branch, none if it does nothing; an if that holds only another if becomes one if."""
    if not then and not otherwise:
        return []
    if not otherwise and len(then) == 1 and then[0][0] == "if_else" and not then[0][6]:
        (bits, value), steps = then[0][4], then[0][5]
        inner = {bit: value >> place & 1 for place, bit in enumerate(bits)}
        return branch(wanted | inner, steps, []) if all(inner.get(b, v) == v for b, v in wanted.items()) else []
    bits = sorted(wanted)
    value = sum(wanted[bit] << place for place, bit in enumerate(bits))
    if len(bits) == 1 and not then:
        value, then, otherwise = 1 - value, otherwise, []
    inside = [*then, *otherwise]
    qubits = sorted({qubit for op in inside for qubit in op[2]})
    clbits = sorted({clbit for op in inside for clbit in op[3]} | set(bits))
    return [["if_else", [], qubits, clbits, [bits, value], then, otherwise]]
