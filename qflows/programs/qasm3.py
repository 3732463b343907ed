"""OpenQASM 3 text to a qiskit circuit: the syntax tree is measured before anything is built from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from qflows.errors import ProgramRejected
from qflows.programs.from_qasm import check_declared_bits
from qflows.programs.from_qiskit import BUILDER_ERRORS, MAX_BRANCHES, MAX_NESTING, MAX_STEPS

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

MAX_CONTROLS = 10
MAX_MODIFIED_QUBITS = 8
"""Widest gate under pow: the power is taken of its matrix, which has 4**n entries."""


def parse_3(text: str, label: str) -> QuantumCircuit:
    """Circuit of OpenQASM 3 text. Raises ProgramRejected with line and column where the parser knows them."""
    return build_3(parse_tree(text, label), label)


def parse_tree(text: str, label: str) -> Any:
    """Syntax tree of OpenQASM 3 text. Raises ProgramRejected."""
    import openqasm3
    from openqasm3.parser import QASM3ParsingError

    try:
        return openqasm3.parse(text)
    except QASM3ParsingError as error:
        raise ProgramRejected(f"program {label!r}: OpenQASM 3 {_place(error)}; correct the text") from error
    except BUILDER_ERRORS as error:
        raise _unbuildable(label, error) from error


def build_3(tree: Any, label: str) -> QuantumCircuit:
    """Circuit of a syntax tree. Raises ProgramRejected."""
    from qiskit.exceptions import QiskitError
    from qiskit_qasm3_import import ConversionError, convert

    from qflows.programs.qasm3_tree import plain_tree

    guard = _Guard(label)
    try:
        guard.refuse_flow(tree.statements)
        tree = plain_tree(tree, guard.refuse)
        guard.check(tree)
        return convert(tree)
    except ConversionError as error:
        why = re.sub(r"^(\d+),(\d+):", r"line \1, column \2:", error.message)
        remedy = "correct the text"
        if why.rstrip(".").endswith("is not defined") and not _includes(tree):
            remedy = (
                'add include "stdgates.inc"; after the version, or give Braket\'s program as braket.ir.openqasm.Program'
            )
        raise ProgramRejected(f"program {label!r}: OpenQASM 3 {why:.400}; {remedy}") from error
    except (QiskitError, *BUILDER_ERRORS) as error:
        raise _unbuildable(label, error) from error


def _includes(tree: Any) -> bool:
    from openqasm3 import ast

    return any(isinstance(node, ast.Include) for node in tree.statements)


def _unbuildable(label: str, error: Exception) -> ProgramRejected:
    return ProgramRejected(
        f"program {label!r}: OpenQASM 3 text cannot be built ({type(error).__name__}: {error!s:.300}); correct the text"
    )


def _place(error: Exception) -> str:
    """Line, column and reason of a syntax error; the bail-out of the parser keeps the token in its cause."""
    written = re.match(r"L(\d+):C(\d+): (.*)", str(error), re.DOTALL)
    if written:
        return f"line {written[1]}, column {written[2]}: {written[3]:.300}"
    cause: Any = error.__cause__
    while cause is not None:
        token = getattr(cause, "offendingToken", None)
        if token is not None:
            return f"line {token.line}, column {token.column}: unexpected {token.text!r:.60}"
        cause = cause.args[0] if cause.args and isinstance(cause.args[0], Exception) else cause.__cause__
    return f"text has a syntax error ({error!s:.200})"


class _Guard:
    """Bounds on the cost of building the tree: bits, controls, and the steps behind each gate name.

    Modifiers make the importer expand a definition at once, so the size of a definition is counted on the tree.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.sizes: list[int] = []
        self.steps: dict[str, int] = {}
        self.levels: dict[str, int] = {}
        self.registers: dict[str, int] = {}
        self.total = 0

    def refuse_flow(self, statements: list[Any], depth: int = 0) -> None:
        """Raise ProgramRejected for control flow that qflows has no form for."""
        from openqasm3 import ast

        if depth > MAX_BRANCHES:
            self.refuse(statements[0], f"branches and loops are nested more than {MAX_BRANCHES} deep", "flatten them")
        for node in statements:
            if isinstance(node, ast.WhileLoop | ast.SwitchStatement | ast.BreakStatement | ast.ContinueStatement):
                self.refuse(node, "it has control flow other than if/else and loops over known numbers", "rewrite it")
            if isinstance(node, ast.Box):
                self.refuse(node, "a box is not supported", "write its statements out, with barriers around them")
            if isinstance(node, ast.ForInLoop):
                self.refuse_flow(node.block, depth + 1)
            elif isinstance(node, ast.BranchingStatement):
                self.refuse_flow([*node.if_block, *node.else_block], depth + 1)

    def check(self, tree: Any) -> None:
        """Raise ProgramRejected for a tree that is too costly."""
        self.check_block(tree.statements)
        check_declared_bits(self.sizes, self.label)

    def check_block(self, statements: list[Any]) -> None:
        """Bits that the statements declare, and the steps that they expand to."""
        from openqasm3 import ast

        for node in statements:
            if isinstance(node, ast.QubitDeclaration):
                self.declare(node, node.size)
                self.registers[node.qubit.name] = self.sizes[-1]
                check_declared_bits(self.sizes, self.label)
            elif isinstance(node, ast.ClassicalDeclaration | ast.IODeclaration):
                self.declare(node, getattr(node.type, "size", None))
            elif isinstance(node, ast.QuantumGateDefinition):
                self.define(node)
            elif isinstance(node, ast.QuantumGate | ast.QuantumPhase):
                self.total += self.weigh(node) * self.spread(node)
            elif isinstance(node, ast.BranchingStatement):
                self.check_block([*node.if_block, *node.else_block])
            if self.total > MAX_STEPS:
                self.refuse(node, f"it expands to more than {MAX_STEPS} steps", "split it")

    def spread(self, node: Any) -> int:
        """How often a gate is applied: once, or once for each qubit of the registers it names."""
        from openqasm3 import ast

        whole = [self.registers.get(q.name, 1) for q in node.qubits if isinstance(q, ast.Identifier)]
        return max(whole, default=1)

    def declare(self, node: Any, size: Any) -> None:
        """Count declared bits; only a literal size can be bounded before evaluation."""
        from openqasm3 import ast

        if size is None:
            self.sizes.append(1)
        elif isinstance(size, ast.IntegerLiteral):
            self.sizes.append(size.value)
        else:
            self.refuse(node, "a size is not an integer literal", "write the number")

    def define(self, node: Any) -> None:
        """Remember how many steps a gate expands to and how deep its definitions nest."""
        from openqasm3 import ast

        steps, level = 1, 0
        for inner in node.body:
            if isinstance(inner, ast.QuantumGate | ast.QuantumPhase):
                steps += self.weigh(inner)
                level = max(level, self.levels.get(inner.name.name, 0) if isinstance(inner, ast.QuantumGate) else 0)
            else:
                self.refuse(inner, "a gate body may hold gates only", "move the statement out")
        if steps > MAX_STEPS:
            self.refuse(node, f"gate {node.name.name!r} expands to more than {MAX_STEPS} steps", "split it")
        if level >= MAX_NESTING:
            self.refuse(node, f"gate definitions are nested more than {MAX_NESTING} deep", "flatten them")
        self.steps[node.name.name], self.levels[node.name.name] = steps, level + 1

    def weigh(self, node: Any) -> int:
        """Steps of one gate call. Refuses modifiers whose expansion could not be bounded."""
        from openqasm3 import ast

        name = node.name.name if isinstance(node, ast.QuantumGate) else "gphase"
        steps = self.steps.get(name, 1)
        controls = 0
        for modifier in node.modifiers:
            if modifier.modifier is ast.GateModifierName.pow:
                if len(node.qubits) > MAX_MODIFIED_QUBITS:
                    self.refuse(node, f"pow acts on more than {MAX_MODIFIED_QUBITS} qubits", "write the gates out")
            elif modifier.modifier is not ast.GateModifierName.inv:
                controls += self.controls(modifier)
        if controls > MAX_CONTROLS or (node.modifiers and steps * 4**controls > MAX_STEPS):
            self.refuse(node, "modifiers expand to too many steps", "use fewer controls, or write the gates out")
        return steps * 4**controls if controls else steps

    def controls(self, modifier: Any) -> int:
        """Number of control qubits of a ctrl or negctrl modifier."""
        from openqasm3 import ast

        if modifier.argument is None:
            return 1
        if not isinstance(modifier.argument, ast.IntegerLiteral):
            self.refuse(modifier, "the number of controls is not an integer literal", "write the number")
        return min(modifier.argument.value, MAX_CONTROLS + 1)

    def refuse(self, node: Any, why: str, remedy: str) -> NoReturn:
        """Raise ProgramRejected with the place of `node`."""
        at = f"line {node.span.start_line}, column {node.span.start_column}: " if node.span is not None else ""
        raise ProgramRejected(f"program {self.label!r}: OpenQASM 3 {at}{why}; {remedy}")
