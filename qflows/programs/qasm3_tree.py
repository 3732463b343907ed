"""OpenQASM 3 trees simplified before they are built: constants substituted, loops over known numbers unrolled,
conditions in the forms that the builder reads. Nothing here is executed except arithmetic on literals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from openqasm3 import ast

MAX_STATEMENTS = 200_000
"""Statements after unrolling."""
Values = Mapping[str, int | float | bool]

_NAMED: Values = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e, "ℇ": math.e}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "log": math.log, "sqrt": math.sqrt,
    "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan, "floor": math.floor, "ceiling": math.ceil,
}  # fmt: skip
_MAX_POWER = 10_000.0


class _Open(Exception):
    """An expression that is not made of known numbers."""


def plain_tree(tree: ast.Program, refuse: Callable[..., Any]) -> ast.Program:
    """The tree without `const`, without `for`, and with conditions as `bit`, `!bit` or `register == number`.

    `refuse(node, why, remedy)` raises.
    """
    return ast.Program(statements=_Plain(refuse).block(tree.statements, dict[str, Any]()), version=tree.version)


class _Plain:
    def __init__(self, refuse: Callable[..., Any]) -> None:
        self.refuse = refuse
        self.bits: set[str] = set()  # single bits, which a condition may name without an index
        self.written = 0

    def block(self, statements: list[Any], known: dict[str, Any]) -> list[Any]:
        """The statements with the values of `known` substituted; constants declared here are added to it."""
        done: list[Any] = []
        for node in statements:
            self.written += 1
            if self.written > MAX_STATEMENTS:
                self.refuse(node, f"it expands to more than {MAX_STATEMENTS} statements", "split it")
            done += self.statement(node, known)
        return done

    def statement(self, node: Any, known: dict[str, Any]) -> list[Any]:
        if isinstance(node, ast.ConstantDeclaration):
            known[node.identifier.name] = self.constant(node, known)
            return []
        if isinstance(node, ast.ForInLoop):
            return [
                inner
                for value in self.range_of(node, known)
                for inner in self.block(node.block, {**known, node.identifier.name: value})
            ]
        if isinstance(node, ast.BranchingStatement):
            then, otherwise = self.block(node.if_block, dict(known)), self.block(node.else_block, dict(known))
            return [self.branch(node, put(node.condition, known), then, otherwise)]
        if isinstance(node, ast.QuantumGateDefinition):
            own = {one.name for one in (*node.arguments, *node.qubits)}
            return [put(node, {name: value for name, value in known.items() if name not in own})]
        kind = node.type if isinstance(node, ast.ClassicalDeclaration) else None
        if isinstance(kind, ast.BitType) and kind.size is None:
            self.bits.add(node.identifier.name)
        return [put(node, known)]

    def constant(self, node: Any, known: Values) -> int | float | bool:
        try:
            value = evaluate(node.init_expression, known)
        except _Open:
            self.refuse(node, f"the constant {node.identifier.name} is not made of known numbers", "write the number")
            raise
        is_whole = isinstance(node.type, ast.IntType | ast.UintType)
        return int(value) if is_whole else value

    def range_of(self, node: Any, known: Values) -> list[int]:
        """The numbers that a loop runs over; both ends of a range are included."""
        given = node.set_declaration
        try:
            if isinstance(given, ast.DiscreteSet):
                return [_whole(evaluate(value, known)) for value in given.values]
            if isinstance(given, ast.RangeDefinition) and given.start is not None and given.end is not None:
                step = _whole(evaluate(given.step, known)) if given.step is not None else 1
                start, end = (_whole(evaluate(one, known)) for one in (given.start, given.end))
                if step != 0 and abs(end - start) // abs(step) < MAX_STATEMENTS:
                    return list(range(start, end + (1 if step > 0 else -1), step))
        except _Open:
            pass
        self.refuse(node, "control flow: the loop does not run over known numbers", "write the numbers, or unroll it")
        raise AssertionError

    def branch(self, node: Any, condition: Any, then: list[Any], otherwise: list[Any]) -> Any:
        """An if whose condition the builder can read; `a && b` becomes nested ifs."""
        if isinstance(condition, ast.UnaryExpression) and condition.op.name == "!":
            if not self.is_bit(condition.expression):
                return self.branch(node, condition.expression, otherwise, then)
        elif isinstance(condition, ast.BinaryExpression):
            if condition.op.name in ("&&", "&"):
                inner = self.branch(node, condition.rhs, then, otherwise)
                return self.branch(node, condition.lhs, [inner], otherwise)
            if condition.op.name in ("==", "!="):
                return self.comparison(node, condition, then, otherwise)
        return _with(node, condition=condition, if_block=then, else_block=otherwise)

    def comparison(self, node: Any, condition: Any, then: list[Any], otherwise: list[Any]) -> Any:
        left, right = condition.lhs, condition.rhs
        if _is_literal(left):
            left, right = right, left
        if not _is_literal(right):
            self.refuse(node, "a condition compares with something unknown", "compare measured bits with numbers")
        is_negated = condition.op.name == "!="
        if self.is_bit(left):
            bit = ast.UnaryExpression(ast.UnaryOperator["!"], left) if not evaluate(right, {}) else left
            sides = (otherwise, then) if is_negated else (then, otherwise)
            return _with(node, condition=bit, if_block=sides[0], else_block=sides[1])
        equal = ast.BinaryExpression(ast.BinaryOperator["=="], left, ast.IntegerLiteral(_whole(evaluate(right, {}))))
        sides = (otherwise, then) if is_negated else (then, otherwise)
        return _with(node, condition=equal, if_block=sides[0], else_block=sides[1])

    def is_bit(self, node: Any) -> bool:
        return isinstance(node, ast.IndexExpression) or (isinstance(node, ast.Identifier) and node.name in self.bits)


def _is_literal(node: Any) -> bool:
    return isinstance(node, ast.IntegerLiteral | ast.BooleanLiteral | ast.BitstringLiteral)


def _whole(value: Any) -> int:
    if value != int(value):
        raise _Open
    return int(value)


def put(node: Any, known: Values) -> Any:
    """The node with known names as literals, and indices and sizes made of them evaluated."""
    if isinstance(node, list):
        return [put(one, known) for one in node]
    if isinstance(node, ast.Identifier):
        return _literal(known[node.name]) if node.name in known else node
    if not is_dataclass(node) or isinstance(node, type):
        return node
    changed = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if field.name in ("span", "name", "identifier") or not isinstance(value, list | ast.QASMNode):
            continue
        new = put(value, known)
        if field.name in ("indices", "index", "size"):
            new = _folded(new)
        if new is not value:
            changed[field.name] = new
    return _with(node, **changed) if changed else node


def _with(node: Any, **changed: Any) -> Any:
    """A shallow copy with other fields; not `dataclasses.replace`, which refuses the annotations of a statement."""
    new = copy(node)
    for name, value in changed.items():
        setattr(new, name, value)
    return new


def _folded(node: Any) -> Any:
    """Expressions of literals as one literal."""
    if isinstance(node, list):
        return [_folded(one) for one in node]
    if isinstance(node, ast.BinaryExpression | ast.UnaryExpression | ast.FunctionCall):
        try:
            value = evaluate(node, {})
        except _Open:
            return node
        return _literal(value) if value == int(value) and value >= 0 else node
    return node


def _literal(value: float) -> Any:
    if isinstance(value, bool):
        return ast.BooleanLiteral(value)
    negative = value < 0
    size = ast.IntegerLiteral(abs(value)) if isinstance(value, int) else ast.FloatLiteral(abs(value))
    return ast.UnaryExpression(ast.UnaryOperator["-"], size) if negative else size


def evaluate(node: Any, known: Values) -> Any:
    """The value of an expression of literals and known names. Raises _Open for any other."""
    if isinstance(node, ast.IntegerLiteral | ast.FloatLiteral | ast.BooleanLiteral):
        return node.value
    if isinstance(node, ast.BitstringLiteral):
        return node.value
    if isinstance(node, ast.Identifier):
        if node.name in known:
            return known[node.name]
        if node.name in _NAMED:
            return _NAMED[node.name]
        raise _Open
    try:
        if isinstance(node, ast.UnaryExpression):
            value = evaluate(node.expression, known)
            return {"-": lambda: -value, "!": lambda: not value}[node.op.name]()
        if isinstance(node, ast.BinaryExpression):
            return _computed(node.op.name, evaluate(node.lhs, known), evaluate(node.rhs, known))
        if isinstance(node, ast.FunctionCall) and len(node.arguments) == 1:
            return _FUNCTIONS[node.name.name](evaluate(node.arguments[0], known))
        if isinstance(node, ast.Cast):
            return evaluate(node.argument, known)
    except (KeyError, ValueError, ArithmeticError) as error:
        raise _Open from error
    raise _Open


def _computed(operator: str, left: Any, right: Any) -> Any:
    if operator == "**":
        if abs(right) > _MAX_POWER or abs(left) > _MAX_POWER:
            raise _Open
        return float(left) ** right if right < 0 or isinstance(left, float) else left**right
    if operator == "/":
        # whole numbers divide as in C
        return left // right if isinstance(left, int) and isinstance(right, int) else left / right
    return {
        "+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "%": lambda: left % right,
    }[operator]()  # fmt: skip
