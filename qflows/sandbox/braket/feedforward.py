"""Which measured qubits each qubit of a program listens to, read from its OpenQASM.

On IQM's devices that is one: "all feedback qubits should only have one source", amazon-braket-examples, introduction to
dynamic circuits, 2025-06. The notebook only draws Garnet's two groups of qubits, which do not hear each other: they are
not checked.
"""

from __future__ import annotations

import re
from collections import defaultdict

_PIECE = re.compile(r"[^;{}]*[;{}]")
_MEASURED = re.compile(r"(?:(\w+(?:\[\d+\])?) ?= ?)?measure (.+)")
_KEPT = re.compile(r"measure_ff ?\( ?(\d+) ?\) ?(.+)")
_CONDITIONED = re.compile(r"cc_prx ?\(.*, ?(\d+) ?\) ?(.+)")
_BRANCH = re.compile(r"(else|if ?\((.*)\))")
_GATE = re.compile(r"[A-Za-z_]\w*(?: ?\(.*\))? (.+)")
_OPERAND = re.compile(r"\$\d+|\w+\[\d+\]|\b[A-Za-z_]\w*\b")
_DECLARED = re.compile(r"(bit|qubit|input|OPENQASM|include|barrier)\b")


def listeners(code: str) -> dict[str, set[str]]:
    """Measured qubits by the qubit that follows them, as the program spells both; comments and pragmas taken out."""
    found: dict[str, set[str]] = defaultdict(set)
    written: dict[str, str] = {}  # classical bit or feedback key: the qubit measured last into it
    blocks: list[set[str]] = []
    left: set[str] = set()  # sources of the block that ended last, for its else
    for piece in _PIECE.findall(code):
        text, end = " ".join(piece[:-1].split()), piece[-1]
        if end == "{":
            branch = _BRANCH.fullmatch(text)
            blocks.append(set() if not branch else left if branch[2] is None else _read(branch[2], written))
        elif end == "}":
            left = blocks.pop() if blocks else set()
        elif kept := _KEPT.fullmatch(text):
            written[f"key {kept[1]}"] = kept[2]
        elif measured := _MEASURED.fullmatch(text):
            written[measured[1] or ""] = measured[2]
        elif conditioned := _CONDITIONED.fullmatch(text):
            found[conditioned[2]] |= {written.get(f"key {conditioned[1]}", conditioned[2])}
        elif any(blocks) and not _DECLARED.match(text) and (gate := _GATE.fullmatch(text)):
            for qubit in _OPERAND.findall(gate[1]):
                found[qubit] |= set[str]().union(*blocks)
    return dict(found)


def _read(condition: str, written: dict[str, str]) -> set[str]:
    """Qubits behind the bits of a condition; of all bits for a register."""
    names = set(_OPERAND.findall(condition))
    return {qubit for bit, qubit in written.items() if bit in names or bit.partition("[")[0] in names}
