"""The gate names a program text may use. Written out, so that a text can be checked and read without qiskit.

Names, arities and meanings are those of qiskit 2.x standard gates; a test compares this table with qiskit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# name -> (number of qubits, number of parameters). `global_phase` is absent: it is folded into the program's phase.
STANDARD: dict[str, tuple[int, int]] = {
    "h": (1, 0), "id": (1, 0), "x": (1, 0), "y": (1, 0), "z": (1, 0), "s": (1, 0), "sdg": (1, 0),
    "sx": (1, 0), "sxdg": (1, 0), "t": (1, 0), "tdg": (1, 0),
    "p": (1, 1), "rx": (1, 1), "ry": (1, 1), "rz": (1, 1), "r": (1, 2),
    "u": (1, 3), "u1": (1, 1), "u2": (1, 2), "u3": (1, 3),
    "ch": (2, 0), "cx": (2, 0), "cy": (2, 0), "cz": (2, 0), "cs": (2, 0), "csdg": (2, 0), "csx": (2, 0),
    "dcx": (2, 0), "ecr": (2, 0), "swap": (2, 0), "iswap": (2, 0),
    "cp": (2, 1), "crx": (2, 1), "cry": (2, 1), "crz": (2, 1), "cu1": (2, 1), "cu3": (2, 3), "cu": (2, 4),
    "rxx": (2, 1), "ryy": (2, 1), "rzz": (2, 1), "rzx": (2, 1), "xx_minus_yy": (2, 2), "xx_plus_yy": (2, 2),
    "ccx": (3, 0), "ccz": (3, 0), "cswap": (3, 0), "rccx": (3, 0),
    "mcx": (4, 0), "c3sx": (4, 0), "rcccx": (4, 0),
}  # fmt: skip

# Gates of a device's own set, name -> (number of qubits, number of parameters); matrices are in `native`.
NATIVE: dict[str, tuple[int, int]] = {
    "gpi": (1, 1), "gpi2": (1, 1), "ms": (2, 3), "zz": (2, 1),
    "xy": (2, 1), "pswap": (2, 1), "cphaseshift00": (2, 1), "cphaseshift01": (2, 1), "cphaseshift10": (2, 1),
}  # fmt: skip

IN_TURNS = frozenset({"gpi", "gpi2", "ms", "zz"})
"""Native gates whose parameters are turns (1 turn = 2 pi radians), as the vendor's documents give them (IonQ)."""


def in_radians(name: str, params: Sequence[float]) -> tuple[float, ...]:
    """The parameters of a gate of the text, in radians."""
    return tuple(2 * math.pi * value for value in params) if name in IN_TURNS else tuple(params)


def from_radians(name: str, angles: Sequence[float]) -> tuple[float, ...]:
    """The parameters of a gate as the text has them, from its angles in radians."""
    return tuple(value / (2 * math.pi) for value in angles) if name in IN_TURNS else tuple(angles)


OPAQUE = "opaque:"
"""Prefix of a gate that has only a name: its meaning belongs to the vendor that offers it."""

MAX_UNITARY_QUBITS = 6
"""Widest matrix kept as numbers; 6 qubits are 8,192 floats of text."""

DELAY_UNITS = frozenset({"dt", "s", "ms", "us", "ns", "ps"})
